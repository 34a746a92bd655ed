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

// The key is in the query.
func ExampleKeyFunc() {
	store := guardtest.NewStore()
	g, err := guard.New(store)
	if err != nil {
		log.Fatal(err)
	}
	once := httpmw.New(g, func(r *http.Request) (string, error) {
		month := r.URL.Query().Get("month")
		if month == "" {
			return "", errors.New("no month")
		}
		return guard.Key("report", month), nil
	})
	report := once(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		fmt.Println("held:", store.Keys())
	}))
	for _, target := range []string{"/report?month=2026-11", "/report"} {
		w := httptest.NewRecorder()
		report.ServeHTTP(w, httptest.NewRequest(http.MethodPost, target, http.NoBody))
		fmt.Println(w.Code)
	}
	// Output:
	// held: [report:2026-11]
	// 200
	// 400
}
