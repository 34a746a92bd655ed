package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"
)

// crew are the replicas of one sale: child processes of this program.
type crew struct {
	members []*member
	reports chan report // from the members' goroutines
	alive   int         // whose end has not been reported
	command func() *exec.Cmd
	kill    context.CancelFunc
}

// member is the stage's end of one replica.
type member struct {
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser
}

// report is a message from a replica, or with exited set, its end.
type report struct {
	from *member
	message
	exited bool
	err    error // why it exited, nil if it was done
}

// startCrew starts a process for each part. They are killed when ctx ends; close
// must be called.
func startCrew(ctx context.Context, parts []part) (*crew, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	ctx, kill := context.WithCancel(ctx)
	c := &crew{reports: make(chan report), kill: kill, command: func() *exec.Cmd { return exec.CommandContext(ctx, self) }}
	for _, p := range parts {
		m, err := c.start(p)
		if err != nil {
			c.close()
			return nil, fmt.Errorf("start %s: %w", p.Name, err)
		}
		c.members = append(c.members, m)
	}
	return c, nil
}

// start starts one process, and the goroutine that listens to it and ends with it.
func (c *crew) start(p part) (*member, error) {
	script, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	var stderr tail
	cmd := c.command()
	cmd.Env = append(os.Environ(), replicaEnv+"="+string(script))
	cmd.SysProcAttr = dieWithParent()
	cmd.Stderr = &stderr
	if p.Verbose {
		cmd.Stderr = os.Stderr
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	m := &member{name: p.Name, cmd: cmd, in: in}

	started := make(chan error)
	go func() {
		// Linux ends the child when the thread that started it ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		for lines := json.NewDecoder(out); ; {
			var msg message
			if err = lines.Decode(&msg); err != nil {
				break
			}
			c.reports <- report{from: m, message: msg}
		}
		if errors.Is(err, io.EOF) {
			err = nil
		} else {
			_ = cmd.Process.Kill() // makes no sense, or is dead
		}
		err = errors.Join(err, cmd.Wait())
		if err != nil {
			err = fmt.Errorf("%s: %w\n%s", m.name, err, strings.TrimSpace(stderr.String()))
		}
		c.reports <- report{from: m, exited: true, err: err}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	c.alive++
	return m, nil
}

// tail keeps the end of what is written to it.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	const most = 4 << 10
	t.b = append(t.b, p...)
	t.b = t.b[max(0, len(t.b)-most):]
	return len(p), nil
}

func (t *tail) String() string { return string(t.b) }

// next waits for the next report, until ctx ends or tick ticks, when there is none.
// Errors are ctx's cause, and that with which a replica exited.
func (c *crew) next(ctx context.Context, tick <-chan time.Time) (r report, ok bool, err error) {
	select {
	case r = <-c.reports:
	case <-tick:
		return report{}, false, nil
	case <-ctx.Done():
		return report{}, false, context.Cause(ctx)
	}
	if r.exited {
		c.alive--
	}
	if ctx.Err() != nil {
		return r, true, context.Cause(ctx) // why it was killed
	}
	return r, true, r.err
}

// order tells a replica to go on, or to stall.
func (m *member) order(what string) error {
	if _, err := io.WriteString(m.in, what+"\n"); err != nil {
		return fmt.Errorf("order %s: %w", m.name, err)
	}
	return nil
}

// dismiss lets members that run end by themselves, for at most grace, and tells them
// so by the end of their standard input. Errors are of those that did not end well.
func (c *crew) dismiss(members []*member, grace time.Duration) (err error) {
	defer c.close()
	for _, m := range members {
		_ = m.in.Close() // if it is gone, all the better
	}
	late := time.After(grace)
	for c.alive > 0 {
		select {
		case r := <-c.reports:
			if r.exited {
				c.alive--
			}
			if slices.Contains(members, r.from) {
				err = errors.Join(err, r.err)
			}
		case <-late:
			return errors.Join(err, fmt.Errorf("%d replicas have not ended after %v: they are killed", c.alive, grace))
		}
	}
	return err
}

// close kills the members that still run, stopped or not, and returns when all are
// gone.
func (c *crew) close() {
	c.kill()
	for c.alive > 0 {
		if r := <-c.reports; r.exited {
			c.alive--
		}
	}
}
