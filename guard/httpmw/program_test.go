package httpmw_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/httpmw"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
)

// Example_program is the program of the package documentation.
func Example_program() {
	client := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
	g, err := guard.New(redisstore.New(client))
	if err != nil {
		log.Fatal(err)
	}
	once := httpmw.New(g, httpmw.PathValue("sku"))
	http.Handle("POST /stock/{sku}", once(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := guard.Fence(r.Context()) // for what the handler writes to
		fmt.Fprintln(w, "sold", r.PathValue("sku"), "under", token)
	})))

	srv := &http.Server{Addr: ":8080"}
	stopped := make(chan error)
	go func() {
		interrupt, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		<-interrupt.Done()
		stop() // the next one kills
		ctx := context.Background()
		stopped <- errors.Join(g.Shutdown(ctx), srv.Shutdown(ctx)) // in that order
	}()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
	if err := <-stopped; err != nil {
		log.Fatal(err)
	}
}
