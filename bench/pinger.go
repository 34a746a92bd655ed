package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/redis/go-redis/v9"
)

// pingEnv makes a child process of this command a pinger of the server at that address.
const pingEnv = "BENCH_PING"

// pinger is a process that asks a server something all the time: what others on the
// same Redis feel.
type pinger struct {
	cmd   *exec.Cmd
	input io.Closer // its end ends the process
	out   bytes.Buffer
}

// pings is what a pinger found.
type pings struct {
	N        int
	P99, Max time.Duration
}

// startPinger returns when the process has had its first answer.
func startPinger(addr string) (*pinger, error) {
	p := &pinger{cmd: exec.Command(os.Args[0])} //nolint:gosec // this command itself
	p.cmd.Env = append(os.Environ(), pingEnv+"="+addr)
	p.cmd.SysProcAttr = dieWithParent()
	ready, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, fmt.Errorf("start a pinger: %w", err)
	}
	p.cmd.Stdout = &p.out
	if p.input, err = p.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start a pinger: %w", err)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a pinger: %w", err)
	}
	if _, err := ready.Read(make([]byte, 1)); err != nil {
		_ = p.input.Close()
		_ = p.cmd.Wait()
		return nil, fmt.Errorf("a pinger that did not begin: %w", err)
	}
	return p, nil
}

// stop ends the process and returns what it found.
func (p *pinger) stop() (found pings, _ error) {
	_ = p.input.Close()
	if err := p.cmd.Wait(); err != nil {
		return found, fmt.Errorf("pinger: %w", err)
	}
	if err := json.Unmarshal(p.out.Bytes(), &found); err != nil {
		return found, fmt.Errorf("pinger: %w", err)
	}
	return found, nil
}

// ping is the child's part.
func ping(addr string, in io.Reader, out, ready io.Writer) error {
	client := redis.NewClient(&redis.Options{Addr: addr, PoolSize: 1, MaxRetries: -1})
	defer func() { _ = client.Close() }() // only asked questions
	end := make(chan struct{})
	go func() { // ends with in
		_, _ = io.Copy(io.Discard, in)
		close(end)
	}()
	var h histogram
	for {
		began := time.Now()
		if err := client.Ping(context.Background()).Err(); err != nil {
			return fmt.Errorf("ping: %w", err)
		}
		h.add(time.Since(began))
		if h.n == 1 {
			_, _ = ready.Write([]byte("."))
		}
		select {
		case <-end:
			return json.NewEncoder(out).Encode(pings{N: h.n, P99: h.quantile(0.99), Max: h.max})
		case <-time.After(time.Millisecond):
		}
	}
}
