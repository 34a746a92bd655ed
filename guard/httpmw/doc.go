// Package httpmw runs HTTP handlers once at a time across a fleet: a middleware
// that holds a key, made from the request, while its handler runs.
//
//	package main
//
//	import (
//		"fmt"
//		"log"
//		"net/http"
//
//		"github.com/redis/go-redis/v9"
//
//		"github.com/jobguard/jobguard/guard"
//		"github.com/jobguard/jobguard/guard/httpmw"
//		"github.com/jobguard/jobguard/guard/lease/redisstore"
//	)
//
//	func main() {
//		g, err := guard.New(redisstore.New(redis.NewClient(&redis.Options{Addr: "localhost:6379"})))
//		if err != nil {
//			log.Fatal(err)
//		}
//		once := httpmw.New(g, httpmw.PathValue("sku"))
//		http.Handle("POST /stock/{sku}", once(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
//			token, _ := guard.Fence(r.Context()) // for what the handler writes to
//			fmt.Fprintln(w, "sold", r.PathValue("sku"), "under", token)
//		})))
//		log.Fatal(http.ListenAndServe(":8080", nil))
//	}
//
// # Use
//
// Wrap each route and method that is to be guarded, inside the router, so that path
// values and the pattern are known. [PathValue], [Header] and [Join] make keys, of which
// the name is a part. In the handler guard.Fence, Holding and Ensure work on r.Context(),
// which ends with cause guard.ErrLost when its lease is lost. A request waits as the
// guard's Wait says; without one, for 2 s; [MaxWaiting] bounds how many do. To stop,
// call http.Server's Shutdown and then the guard's: package stop does. What a handler
// reads of the body it reads under the key: read it before, in a handler around the
// middleware, lest a client that sends slowly holds up all others. COMMIT belongs
// into the handler: outside of it the next request is at work before the transaction
// ends.
//
// # Guarantees
//
// No client takes a response with a body for complete unless the lease lasted until
// the handler returned. The key is held until then, also if the client goes away.
// It is not idempotency: a request that is sent twice runs twice, one after the
// other. The exceptions are listed in docs/behaviour/httpmw.md.
//
// # Failures
//
// [Problem], or [WithErrorHandler], answers a request whose handler did not run or
// lost its lease before it sent anything: 409 if the key is busy, 400 if there is no
// valid key, else 503. Retry-After of a 409 follows from how long handlers take, and
// clients that obey it come back one after the other. After a header was sent, a loss
// makes writes fail and aborts the connection. Panics pass through after the release.
//
// Every case with its test, other routers (chi, gin, echo) and limits:
// https://github.com/jobguard/jobguard/blob/main/docs/behaviour/httpmw.md
package httpmw
