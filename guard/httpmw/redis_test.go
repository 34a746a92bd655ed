package httpmw_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/httpmw"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
	"github.com/jobguard/jobguard/internal/redistest"
)

// onRedis serves h as one process of a fleet does, and returns its URL.
func onRedis(t *testing.T, addr string, h http.HandlerFunc, opts ...guard.Option) string {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: addr})
	g, err := guard.New(redisstore.New(client), opts...)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/stock/{sku}", httpmw.New(g, httpmw.PathValue("sku"))(h))
	srv := httptest.NewServer(mux)
	t.Cleanup(func() {
		srv.Close()
		if err := g.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		_ = client.Close()
	})
	return srv.URL + path
}

func fetch(t *testing.T, url string) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), requestLimit)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return answer{err: err}
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return answer{err: err}
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return answer{res, string(b), err}
}

func TestRedisKeyBusyInAnotherProcessIs409(t *testing.T) {
	s := redistest.Start(t)
	running, end := make(chan struct{}), make(chan struct{})
	release := sync.OnceFunc(func() { close(end) })
	defer release() // the server's Close waits for the handler
	a := onRedis(t, s.Addr(), func(w http.ResponseWriter, r *http.Request) {
		close(running)
		<-end
		ok(w, r)
	})
	b := onRedis(t, s.Addr(), never(t), guard.Wait(0))
	done := make(chan answer)
	go func() { done <- fetch(t, a) }()
	begun(t, running, done)
	busy := fetch(t, b)
	seconds, _ := strconv.Atoi(busy.Header.Get("Retry-After"))
	if seconds < 1 || seconds > 10 { // the TTL
		t.Errorf("Retry-After %d", seconds)
	}
	isProblem(t, busy, http.StatusConflict, strconv.Itoa(seconds))
	release()
	if first := <-done; !first.whole() || first.body != "done" {
		t.Errorf("got %+v", first)
	}
}

// Two processes that know nothing of each other's clients. The lease lasts 10 s: when its
// end was the hint, all came back then.
func TestRedisClientsThatObeyRetryAfterAreServedOneAfterTheOther(t *testing.T) {
	s := redistest.Start(t)
	const clients, run = 8, time.Second
	work := func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(run)
		ok(w, r)
	}
	urls := []string{onRedis(t, s.Addr(), work), onRedis(t, s.Addr(), work)}
	var all sync.WaitGroup
	var tries atomic.Int32
	start := time.Now()
	for i := range clients {
		all.Go(func() {
			for try := i; ; try++ {
				tries.Add(1)
				a := fetch(t, urls[try%len(urls)])
				if a.whole() && a.StatusCode == http.StatusOK {
					return
				}
				seconds, err := strconv.Atoi(a.Header.Get("Retry-After"))
				if err != nil || a.StatusCode != http.StatusConflict {
					t.Errorf("got %+v", a)
					return
				}
				time.Sleep(time.Duration(seconds) * time.Second)
			}
		})
	}
	all.Wait()
	took := time.Since(start)
	t.Logf("the last of %d was served after %v, with %d requests", clients, took, tries.Load())
	if took > 2*clients*run {
		t.Errorf("the last of %d was served after %v", clients, took)
	}
}

func TestRedisLossBreaksTheResponse(t *testing.T) {
	s := redistest.Start(t)
	admin := s.Client(t)
	url := onRedis(t, s.Addr(), func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("half"))
		w.(http.Flusher).Flush()
		admin.Del(r.Context(), "guard:"+key)
		_ = guard.Ensure(r.Context(), 9*time.Second) // more than is left, so it asks Redis now
		<-r.Context().Done()
	})
	if a := fetch(t, url); a.whole() || a.Response == nil || a.body != "half" {
		t.Errorf("got %+v", a)
	}
}

func TestRedisDownIs503(t *testing.T) {
	s := redistest.Start(t)
	url := onRedis(t, s.Addr(), never(t), guard.Wait(0))
	s.Kill()
	isProblem(t, fetch(t, url), http.StatusServiceUnavailable, "1")
	s.Restart()
}
