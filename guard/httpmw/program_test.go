package httpmw_test

import (
	"fmt"
	"log"
	"net/http"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/httpmw"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
)

// Example_program is the program of the package documentation.
func Example_program() {
	g, err := guard.New(redisstore.New(redis.NewClient(&redis.Options{Addr: "localhost:6379"})))
	if err != nil {
		log.Fatal(err)
	}
	once := httpmw.New(g, httpmw.PathValue("sku"))
	http.Handle("POST /stock/{sku}", once(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := guard.Fence(r.Context()) // for what the handler writes to
		fmt.Fprintln(w, "sold", r.PathValue("sku"), "under", token)
	})))
	log.Fatal(http.ListenAndServe(":8080", nil))
}
