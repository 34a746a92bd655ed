package redisstore

import (
	"math"
	"testing"
	"time"
)

func TestNotAfterNeverLiesBeyondTheDeadlineOnTheServer(t *testing.T) {
	c := newClock()
	const ahead = 5_000_000 // the server's true lead in µs
	server := func() int64 { return c.now() + ahead }
	for range 1000 {
		sent := c.now()
		time.Sleep(10 * time.Microsecond)
		at := server()
		time.Sleep(10 * time.Microsecond)
		c.learn(0, at, sent, false)
		deadline := time.Now().Add(time.Second)
		left := time.Until(deadline).Microseconds() // read first: then it is no less than at the sum
		there := server() + left + 1
		if got := c.notAfter(0, deadline, true); got > there {
			t.Fatalf("not after is %d µs beyond the deadline", got-there)
		} else if there-got > 100_000 {
			t.Fatalf("not after is %d µs before the deadline", there-got)
		}
	}
}

func TestClockFollowsAServerThatSteppedBack(t *testing.T) {
	c := newClock()
	c.learn(0, c.now()+5_000_000, c.now(), false)
	sent := c.now()
	c.learn(0, c.now()-5_000_000, sent, false)
	if got, now := c.notAfter(0, time.Now(), true), c.now(); got > now-4_900_000 {
		t.Errorf("the old bound was kept: %d µs ahead", got-now)
	}
}

func TestClockKeepsTheBestBound(t *testing.T) {
	c := newClock()
	sent := c.now()
	c.learn(0, c.now()+1_000_000, sent, false)
	c.learn(0, c.now()+900_000, sent-200_000, false) // a slow reply: says less
	if got, now := c.notAfter(0, time.Now(), true), c.now(); got < now+990_000 {
		t.Errorf("a slow reply lowered the bound to %d", got-now)
	}
}

func TestBoundDecaysWithAge(t *testing.T) {
	b := bound{offset: 1000, taken: 0}
	if got := b.at(1_000_000); got != 0 { // 1000 ppm of a second are 1000 µs
		t.Errorf("after a second the bound is %d", got)
	}
}

func TestUnknownClockAndUnboundedContext(t *testing.T) {
	c := newClock()
	if got := c.notAfter(7, time.Now().Add(time.Hour), true); got != 0 {
		t.Errorf("unknown clock: %d", got)
	}
	c.learn(7, 1, c.now(), false)
	if got := c.notAfter(7, time.Time{}, false); got < 1<<52 || float64(got) > math.Pow(2, 53) {
		t.Errorf("no deadline: %d", got)
	}
	if got := c.notAfter(8, time.Now(), true); got != 0 {
		t.Errorf("another slot's clock was taken: %d", got)
	}
}
