package main_test

import (
	"testing"
	"time"
)

// Only Linux ends a stopped process together with its parent.
func TestReplicasDieWithTheStage(t *testing.T) {
	t.Parallel()
	s := start(t, inventory, nil)
	s.out.waitFor(t, "is stopped there")
	if n := len(processesOf(t, s.binary)); n != 5 {
		t.Errorf("%d processes, want the stage and four replicas", n)
	}
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = s.cmd.Wait() // killed, as we know
	for deadline := time.Now().Add(5 * time.Second); len(processesOf(t, s.binary)) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still there: %v", processesOf(t, s.binary))
		}
	}
}
