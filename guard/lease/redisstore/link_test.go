package redisstore

import (
	"testing"
	"time"
)

func TestLinkLearnsTheRoundTripDespiteConnectionsMadeMeanwhile(t *testing.T) {
	var l link
	if l.near() || l.doubt() != firstDoubt || l.setup() != longest {
		t.Errorf("of an unknown link: near %v, doubt %v, setup %v", l.near(), l.doubt(), l.setup())
	}
	const trip = 700 * time.Millisecond
	for _, d := range []time.Duration{6 * trip, trip, trip, trip, trip} {
		l.observe(d)
	}
	if d := l.doubt(); d < trip || d > 3*trip {
		t.Errorf("on a link of %v an answer is overdue after %v", trip, d)
	}
	if d := l.setup(); d < 6*trip || d > longest {
		t.Errorf("on a link of %v a connection has %v", trip, d)
	}
	for range 100 {
		l.observe(time.Millisecond)
	}
	if !l.near() || l.doubt() != leastDoubt {
		t.Errorf("of a near link: near %v, doubt %v", l.near(), l.doubt())
	}
	l.answered(400 * time.Millisecond) // the machine was busy
	if d := l.doubt(); d != 800*time.Millisecond {
		t.Errorf("after a late answer the next is overdue after %v", d)
	}
	for range 20 {
		l.answered(time.Millisecond)
	}
	if d := l.doubt(); d != leastDoubt {
		t.Errorf("after many in time one is overdue after %v", d)
	}
	for range 20 {
		l.observe(trip)
	}
	if l.near() || l.doubt() < trip {
		t.Errorf("of a link that became slow: near %v, doubt %v", l.near(), l.doubt())
	}
}
