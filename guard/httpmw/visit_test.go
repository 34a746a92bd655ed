package httpmw

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestKeyIsForgottenWhenItHasNoRequestsAndNoTimesToCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := visits{most: 2, keys: make(map[string]*atKey)}
		p := newPace()
		enter := func(key string) *visit {
			v, ok := all.enter(key, p, false)
			if !ok {
				t.Errorf("too many wait for %s", key)
			}
			return v
		}
		known := func() int {
			all.mu.Lock()
			defer all.mu.Unlock()
			return len(all.keys)
		}
		served := enter("served")
		served.begin()
		time.Sleep(3 * time.Second)
		served.end()
		served.end()
		if n := known(); n != 0 {
			t.Errorf("%d keys after a run", n)
		}
		for i := range 1000 {
			enter(fmt.Sprint(i)).refuse(0, false)
		}
		first, second := enter("full"), enter("full")
		for range 3 {
			v, ok := all.enter("full", p, false)
			if ok {
				t.Error("three wait")
			}
			v.refuse(0, false)
		}
		first.end()
		second.end()
		if n := known(); n != 1001 {
			t.Errorf("%d keys whose times are to come", n)
		}
		time.Sleep(8 * time.Second) // 0 to 3 s of a run elsewhere, a run, and a second
		synctest.Wait()
		if n := known(); n != 1 {
			t.Errorf("%d keys have times to come", n)
		}
		time.Sleep(longestRetry)
		synctest.Wait()
		if n := known(); n != 0 {
			t.Errorf("%d keys are kept", n)
		}
	})
}
