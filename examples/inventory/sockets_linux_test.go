package main_test

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// A client that closes its connection before it has its replies makes the
// embedded Redis write to a broken socket. Only Linux shows where that Redis
// listens: in the environment of the replicas.
func TestBrokenSocketsDoNotEndTheShow(t *testing.T) {
	t.Parallel()
	s := start(t, inventory, nil)
	s.out.waitFor(t, "is stopped there")
	addr := redisOf(t, s)
	pings := bytes.Repeat([]byte("*1\r\n$4\r\nPING\r\n"), 1000)
	for range 200 {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(pings); err != nil {
			t.Fatal(err)
		}
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
		_ = conn.Close() // resets it, with replies unread
	}
	s.kept(100)
}

// redisOf returns the address of the Redis that the replicas of a show use.
func redisOf(t *testing.T, s *show) string {
	t.Helper()
	for _, pid := range processesOf(t, s.binary) {
		env, err := os.ReadFile("/proc/" + pid + "/environ")
		if err != nil {
			t.Fatal(err)
		}
		for variable := range strings.SplitSeq(string(env), "\x00") {
			var part struct{ Redis string }
			if script, ok := strings.CutPrefix(variable, "INVENTORY_REPLICA="); ok && json.Unmarshal([]byte(script), &part) == nil {
				return part.Redis
			}
		}
	}
	t.Fatal("no replica runs")
	return ""
}
