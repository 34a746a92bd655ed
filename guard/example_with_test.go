package guard_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func ExampleGuard_With() {
	nothing := func(context.Context) error { return nil }
	base, err := guard.New(guardtest.NewStore(), guard.TTL(15*time.Second))
	if err != nil {
		log.Fatal(err)
	}
	requests := base.With(guard.Wait(2*time.Second), guard.Name("checkout"))
	imports := base.With(guard.Wait(0), guard.MaxHold(time.Hour), guard.Name("import"))

	fmt.Println(requests.Do(context.Background(), "cart:7", nothing), imports.Do(context.Background(), "import", nothing))
	// Output: <nil> <nil>
}
