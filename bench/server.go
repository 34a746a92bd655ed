package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// server is a redis-server process of ours, without persistence.
type server struct {
	addr   string
	client *redis.Client // for questions about the server
	cmd    *exec.Cmd
	log    bytes.Buffer  // what it printed; to be read when exited is closed
	exited chan struct{} // closed when the process is gone
}

// startServer starts a redis-server on a free port of 127.0.0.1 and returns
// when it answers.
func startServer(ctx context.Context) (*server, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, fmt.Errorf("redis-server is needed: %w", err)
	}
	// Another program may take the port between our look and the server's.
	for try := 1; ; try++ {
		s, err := launch(ctx, path)
		if err == nil || try == 5 || ctx.Err() != nil {
			return s, err
		}
	}
}

func launch(ctx context.Context, path string) (*server, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	s := &server{addr: net.JoinHostPort("127.0.0.1", port), exited: make(chan struct{})}
	s.cmd = exec.Command(path, "--bind", "127.0.0.1", "--port", port,
		"--save", "", "--appendonly", "no", "--dir", os.TempDir(), "--loglevel", "warning")
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	s.cmd.SysProcAttr = dieWithParent()
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start redis-server: %w", err)
	}
	go func() { // ends with the process, which stop kills
		_ = s.cmd.Wait() // killed on purpose, or noticed by await
		close(s.exited)
	}()
	s.client = redis.NewClient(&redis.Options{Addr: s.addr, PoolSize: 1, MaxRetries: -1})
	if err := s.await(ctx); err != nil {
		s.stop()
		return nil, fmt.Errorf("redis-server on %s: %w\n%s", s.addr, err, s.log.Bytes())
	}
	return s, nil
}

// servers are independent of each other.
type servers []*server

// startServers starts n, or one if n is 0.
func startServers(ctx context.Context, n int) (all servers, err error) {
	for range max(1, n) {
		s, err := startServer(ctx)
		if err != nil {
			all.stop()
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

func (all servers) stop() {
	for _, s := range all {
		s.stop()
	}
}

func (all servers) addrs() (addrs []string) {
	for _, s := range all {
		addrs = append(addrs, s.addr)
	}
	return addrs
}

// hold has the server answer nobody any more. Connections stay, and can be made.
func (s *server) hold(ctx context.Context) error {
	if err := s.client.Do(ctx, "CLIENT", "PAUSE", "3600000", "ALL").Err(); err != nil {
		return fmt.Errorf("hold the server: %w", err)
	}
	return nil
}

// await returns when the server answers, and that it is ours that does.
func (s *server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		info, err := s.info(ctx)
		if err == nil && info["process_id"] != strconv.Itoa(s.cmd.Process.Pid) {
			return errors.New("another server answers on this port")
		}
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-s.exited:
			return errors.New("it exited")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// stop kills the process and waits until it is gone.
func (s *server) stop() {
	_ = s.client.Close()     // only asked questions
	_ = s.cmd.Process.Kill() // it may be gone already
	<-s.exited
}

// info is what INFO says, by field.
func (s *server) info(ctx context.Context) (map[string]string, error) {
	text, err := s.client.Info(ctx).Result()
	if err != nil {
		return nil, fmt.Errorf("ask the server for INFO: %w", err)
	}
	fields := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	return fields, nil
}

// usage is what the server has done since it was started.
type usage struct {
	commands float64 // processed, those that scripts call included
	cpu      float64 // seconds, user and system
	memory   float64 // bytes in use
}

func (s *server) usage(ctx context.Context) (usage, error) {
	fields, err := s.info(ctx)
	if err != nil {
		return usage{}, err
	}
	number := func(field string) float64 {
		v, e := strconv.ParseFloat(fields[field], 64)
		if e != nil {
			err = errors.Join(err, fmt.Errorf("INFO's %s: %w", field, e))
		}
		return v
	}
	u := usage{
		commands: number("total_commands_processed"),
		cpu:      number("used_cpu_sys") + number("used_cpu_user"),
		memory:   number("used_memory"),
	}
	return u, err
}

// since is what was done after before; memory is the growth.
func (u usage) since(before usage) usage {
	return usage{commands: u.commands - before.commands, cpu: u.cpu - before.cpu, memory: u.memory - before.memory}
}

func freePort() (string, error) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	_, port, err := net.SplitHostPort(ln.Addr().String())
	return port, errors.Join(err, ln.Close())
}
