package guard_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func ExampleError() {
	nothing := func(context.Context) error { return nil }
	store := guardtest.NewStore()
	store.HoldFor("k", "deploy-script", time.Minute)
	g, err := guard.New(store, guard.Wait(0), guard.Observe(guard.LogObserver(slog.New(slog.DiscardHandler))))
	if err != nil {
		log.Fatal(err)
	}
	err = g.Do(context.Background(), "k", nothing)

	var e *guard.Error
	if errors.Is(err, guard.ErrBusy) && errors.As(err, &e) {
		fmt.Println(http.StatusConflict, "held by", e.Holder, "for at most", e.RetryAfter.Round(time.Minute))
	}
	// Output: 409 held by deploy-script for at most 1m0s
}
