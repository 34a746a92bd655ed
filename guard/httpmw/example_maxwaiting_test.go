package httpmw_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/httpmw"
)

// While a worker holds the key one request waits, and the next is refused at once.
func ExampleMaxWaiting() {
	store := guardtest.NewStore()
	worker, err := guard.New(store)
	if err != nil {
		log.Fatal(err)
	}
	g, err := guard.New(store, guard.Wait(time.Minute))
	if err != nil {
		log.Fatal(err)
	}
	once := httpmw.New(g, httpmw.PathValue("sku"), httpmw.MaxWaiting(1))
	mux := http.NewServeMux()
	mux.Handle("POST /stock/{sku}", once(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "sold")
	})))
	post := func() string {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/stock/a42", http.NoBody))
		return fmt.Sprint(w.Code, " ", w.Body)
	}

	first := make(chan string)
	key := guard.Key("sku", "a42")
	err = worker.Do(context.Background(), key, func(context.Context) error {
		go func() { first <- post() }()
		for store.Waiting(key) == 0 {
			time.Sleep(time.Millisecond)
		}
		fmt.Println("second:", post())
		return nil
	})
	fmt.Println("first:", <-first)
	fmt.Println(err)
	// Output:
	// second: 409 {"type":"about:blank","title":"Conflict","status":409,"detail":"Too many requests wait for what this one is about. Nothing was done."}
	// first: 200 sold
	// <nil>
}
