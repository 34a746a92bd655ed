package httpmw_test

import (
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/httpmw"
)

func ExampleWithErrorHandler() {
	store := guardtest.NewStore()
	g, err := guard.New(store, guard.Wait(0))
	if err != nil {
		log.Fatal(err)
	}
	once := httpmw.New(g, httpmw.PathValue("sku"),
		httpmw.WithErrorHandler(func(w http.ResponseWriter, r *http.Request, err error) {
			fmt.Println("log:", err) // with the key and the holder: not for clients
			if errors.Is(err, guard.ErrBusy) {
				http.Error(w, "this article is being imported", http.StatusConflict)
				return
			}
			httpmw.Problem(w, r, err)
		}))
	mux := http.NewServeMux()
	mux.Handle("POST /import/{sku}", once(http.NotFoundHandler()))

	store.Hold(guard.Key("sku", "a42"), "a worker")
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/import/a42", http.NoBody))
	fmt.Print(w.Code, " ", w.Body)
	// Output:
	// log: guard: do "sku:a42": busy: the key is held (held by a worker)
	// 409 this article is being imported
}
