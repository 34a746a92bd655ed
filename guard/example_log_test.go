package guard_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

// At level Info a Guard writes what went wrong, and nothing about runs that did not.
func ExampleLogObserver() {
	nothing := func(context.Context) error { return nil }
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		Level: slog.LevelInfo,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "waited" { // differ each time
				return slog.Attr{}
			}
			return a
		},
	}))
	store := guardtest.NewStore()
	g, err := guard.New(store, guard.Wait(0), guard.Name("imports"), guard.Observe(guard.LogObserver(logger)))
	if err != nil {
		log.Fatal(err)
	}
	store.Hold("import:7", "ops")
	err = g.Do(context.Background(), "import:7", nothing)
	fmt.Println(errors.Is(err, guard.ErrBusy), g.Do(context.Background(), "import:8", nothing))
	// Output:
	// level=INFO msg="guard: not acquired" name=imports key=import:7 attempts=1 holder=ops error="guard: do \"import:7\": busy: the key is held (held by ops)"
	// true <nil>
}
