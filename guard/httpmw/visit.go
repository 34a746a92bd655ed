package httpmw

import (
	"sync"
	"time"
)

// visits are the requests of one middleware in this process, by key.
type visits struct {
	most int // how many may wait for one key

	mu   sync.Mutex // guards all below, and paces; never held during Do
	keys map[string]*atKey
}

// atKey is what is known of a key: its requests, and the times to come back at that
// refused ones were told.
type atKey struct {
	waiting int       // requests between the call of Do and the start of the handler
	running int       // handlers
	newest  time.Time // when the last request came
	began   time.Time // when the last handler started

	next time.Time // the first time that no request was told
	told time.Time // when the last one that was told a time comes back
	kept bool      // a timer will forget the key
}

// visit is one request. It is used by the request's goroutine alone.
type visit struct {
	all   *visits
	at    *atKey
	pace  *pace
	key   string
	came  time.Time
	began time.Time // zero: it waits
	over  bool      // or does not count
}

// enter begins a visit. It returns false if as many wait for key as may: then the visit
// is over. A request that holds key does not count: it need not wait.
func (a *visits) enter(key string, p *pace, holds bool) (*visit, bool) {
	v := &visit{all: a, pace: p, key: key, came: time.Now(), over: holds}
	if holds {
		return v, true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	v.at = a.atLocked(key)
	if v.at.waiting >= a.most {
		v.over = true
		return v, false
	}
	v.at.waiting++
	v.at.newest = v.came
	return v, true
}

func (a *visits) atLocked(key string) *atKey {
	at := a.keys[key]
	if at == nil {
		at = &atKey{}
		a.keys[key] = at
	}
	return at
}

// begin is called when the handler starts.
func (v *visit) begin() {
	v.all.mu.Lock()
	defer v.all.mu.Unlock()
	if v.over {
		return
	}
	v.began = time.Now()
	v.at.waiting--
	v.at.running++
	v.at.began = v.began
	v.pace.begun(v.at.running)
}

// end ends the visit, unless it is over.
func (v *visit) end() {
	v.all.mu.Lock()
	defer v.all.mu.Unlock()
	if !v.over {
		v.endLocked()
		v.all.dropLocked(v.key, v.at)
	}
}

func (v *visit) endLocked() {
	v.over = true
	if v.began.IsZero() {
		v.at.waiting--
		return
	}
	v.at.running--
	v.pace.ended(time.Since(v.began))
}

// dropLocked forgets a key without requests when the last time that was told has
// passed. A timer sees to it; its goroutine ends by itself.
func (a *visits) dropLocked(key string, at *atKey) {
	if at.waiting+at.running > 0 || at.kept {
		return
	}
	left := time.Until(at.next)
	if left <= 0 {
		delete(a.keys, key)
		return
	}
	at.kept = true
	time.AfterFunc(left, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		at.kept = false
		a.dropLocked(key, at)
	})
}
