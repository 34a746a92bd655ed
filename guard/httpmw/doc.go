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
// To stop in peace have an http.Server of your own and call g.Shutdown, then its Shutdown.
//
// Which routes and methods are guarded is the router's business: wrap those, each
// by itself (TestMethodThatIsNotWrappedIsNotGuarded). The handler finds the run in its
// context: guard.Fence, Holding and Ensure work, and the context ends with cause
// guard.ErrLost when the lease is lost. Pass r.Context() on.
//
// # What happens when
//
//	busy                   409, Retry-After: when the holder's lease ends, in        TestBusyIs409WithRetryAfter
//	                       whole seconds, rounded up, at least 1                     TestRetryAfterIsInWholeSecondsRoundedUp
//	store down             503, Retry-After: 1                                       TestStoreDownIs503WithRetryAfter
//	lost, nothing sent     503, without Retry-After; also if the handler took no     TestLossBeforeHeadersIs503
//	                       notice and returned. What it had put into the header      TestCopyOfNothingSendsNothing
//	                       is dropped
//	lost, header sent      writes fail with guard.ErrLost, also those under way;     TestLossAfterHeadersBreaksTheResponse
//	                       then the connection is aborted, in HTTP/2 the stream.     TestLossInterruptsAWriteUnderWay
//	                       No error handler
//	lost, hijacked         the context ends; the connection belongs to the handler   TestLossAfterHijackEndsOnlyTheContext
//	                                                                                 TestLossLeavesAHijackedConnectionAlone
//	MaxHold passed         as lost                                                   TestMaxHoldIsAnsweredLikeALoss
//	panic                  passes through, http.ErrAbortHandler too, after the       TestPanicsPassThroughAfterTheRelease
//	                       release. A framework that recovers can answer             TestFrameworkThatRecoversAnswersThroughTheGate
//	shutdown               503, Retry-After: 1, Connection: close                    TestShutdownIs503OnAConnectionThatCloses
//	shutdown, running      the handler goes on; if it must end its context does,     TestHandlerCancelledByShutdownStillAnswers
//	                       and it can still answer
//	client gone, waiting   leaves the line at once, if net/http can tell: see below  TestClientGoneWhileWaitingLeavesTheQueueAtOnce
//	                                                                                 TestClientOfHTTP2GoneWhileWaitingLeavesTheQueueAtOnce
//	context ended, waiting 409 if the key was held, else 503, Retry-After: 1: a      TestContextEndedWhileWaitingIsAnswered
//	                       middleware's timeout, say. net/http would answer 200
//	client gone, running   the context ends, the lease is kept until the handler     TestClientGoneWhileRunningKeepsTheKeyUntilTheHandlerReturns
//	                       has returned
//	bad key                400: a component is empty, the KeyFunc failed, or the     TestEmptyComponentIs400, TestKeyThatCannotBeUsedIs400
//	                       key cannot be used
//
// Bodies are application/problem+json (RFC 9457). They name neither the key nor
// its holder. [WithErrorHandler] replaces [Problem], which writes them, except where the
// handler of your own writes nothing
// (TestErrorHandlerThatWritesNothingLeavesItToProblem). Nothing further out may write
// to the response before the middleware is called: with a 200 sent, a refusal is only
// more of its body.
//
// "Shutdown" is Guard.Shutdown; call it before or beside http.Server.Shutdown, which stops
// nothing that waits. A write that is stuck under TLS and HTTP/1.1 can fail up to 5 s after
// the loss: crypto/tls first tries to say goodbye.
//
// # When a response is whole
//
// No client takes a response with a body for whole unless the lease lasted until the
// handler had returned and the key was given back: before, the end mark of the
// body has not been sent, or of a body with Content-Length the last byte. So a handler that
// answers first and works on afterwards lets its client wait for the end. Flush
// sends what there is, as ever. Proved by
// TestNoResponseIsWholeBeforeTheKeyIsGivenBack. The exceptions:
//
//   - A response without a body (HEAD, 204, 304, Content-Length: 0) that the handler
//     flushes is whole with its header. To HEAD over HTTP/2 that is so too when the
//     handler writes more than buffers hold.
//   - With the connection a handler that hijacks it takes over when a response is whole
//     that it has written before (TestHijackLetsTheLastByteOut).
//   - A handler panics, somebody further out recovers and returns, and the loss
//     is found only at the release. Without Content-Length, what had been sent is
//     then taken for whole.
//   - A ResponseWriter put in front by a middleware further out lacks Unwrap: then
//     what lies behind it cannot be told to break off. If somebody recovers from
//     the panic with http.ErrAbortHandler besides, or the client speaks HTTP/1.0,
//     half a response is taken for whole.
//   - To a client of HTTP/1.0, where the end of the connection ends the body, a
//     response is broken off by a TCP reset
//     (TestEndOfTheConnectionIsNotTheEndOfALostResponse). There is none on a Unix
//     socket, nor on a connection of a net.Listener of your own that has neither
//     SetLinger nor NetConn: then what was sent is taken for whole. The same goes for
//     HTTP/1.1 if the handler asks for Transfer-Encoding: identity.
//
// To abort is to panic with http.ErrAbortHandler, from which net/http's server recovers.
// net/http/fcgi does not: there the process ends, unless a middleware further out
// recovers, and then half a response is taken for whole.
//
// Informational headers (1xx) are not a header sent:
// TestInformationalHeadersLeaveTheStatusOpen. Nor is a copy (io.Copy) whose source has
// not yielded anything yet.
//
// The ResponseWriter has exactly the optional interfaces of net/http and io it had,
// and Unwrap: TestResponseWriterKeepsExactlyItsInterfaces. (What net/http keeps to
// itself is not among them: http.MaxBytesReader does not close the connection.) Only of one that unwraps to a
// Flush or Hijack that it lacks itself, no other than Flush and Hijack are kept. An
// http.ResponseController works on all of them (TestResponseControllerWorks), and its
// Flush and Hijack stay behind the gate that the loss closes:
// TestResponseControllerNeverPassesByTheGate. Its SetWriteDeadline does not where the
// ResponseWriter has Flush, Hijack and Unwrap, but no SetWriteDeadline: a handler that
// moves the deadline after a loss can then prolong a write under way. The response is
// broken off all the same: TestDeadlineThatPassesByTheGateSavesNoResponse.
//
// http.TimeoutHandler belongs outside the middleware. Inside it returns before its
// handler does, and the key is free while that still runs.
//
// # How long a request waits
//
// As the guard says: Wait, Forever. If it says nothing, 2 s
// (TestDefaultWaitIsTwoSeconds). The WriteTimeout of the http.Server runs meanwhile:
// it must be longer than the wait and the handler together, or no answer arrives.
//
// With HTTP/1 net/http notices that a client went away only when the handler has
// read the request's body to its end. The middleware does not read it: a request
// with a body whose client has gone stands in line until the wait is over, and then
// its handler may even run. Keep the wait bounded for such routes
// (TestUnreadBodyHidesThatTheClientIsGoneUntilTheWaitIsOver).
//
// # Keys
//
// A key names the thing and not the way it was found: Header("sku") and
// PathValue("sku") make the same key of the same value, on purpose. [Join] makes
// guard.Key of the finished keys of its parts, so a Join of one part is not the
// key of that part.
//
// A run may be nested in one that holds the same key, and middlewares may. But
// where the outer one holds it with guard.Shared and the inner one wants it alone,
// every request is answered with 409: a mistake in the program.
//
// # What observers are told
//
// The group's name is the pattern that routed the request ("POST /stock/{sku}"),
// unless the guard has a guard.Name. Where the router sets no pattern it is "http".
//
// # Routers
//
// With net/http's ServeMux wrap the handler, as above. A middleware around the
// whole mux knows no path values: with PathValue every request is answered with 400.
// The module guard/httpmw/routers runs what follows, with chi 5.5, gin 1.12 and
// echo 4.16.
//
// chi sets path values and pattern; use With, not Use:
//
//	r.With(httpmw.New(g, httpmw.PathValue("sku"))).Post("/stock/{sku}", sell)
//
// Use inside r.Route("/stock/{sku}", …) works too. It guards every request below that
// path, also those that then get a 404 or 405.
//
// gin has a ResponseWriter of its own and must put a new one around the guarded one,
// for which it offers only CreateTestContextOnly:
//
//	func once(e *gin.Engine, mw func(http.Handler) http.Handler, h gin.HandlerFunc) gin.HandlerFunc {
//		return func(c *gin.Context) {
//			w, r := c.Writer, c.Request
//			defer func() { c.Writer, c.Request = w, r }()
//			for _, p := range c.Params {
//				r.SetPathValue(p.Key, p.Value)
//			}
//			r.Pattern = c.FullPath()
//			mw(http.HandlerFunc(func(gated http.ResponseWriter, held *http.Request) {
//				c.Writer, c.Request = gin.CreateTestContextOnly(gated, e).Writer, held
//				c.Status(w.Status())
//				h(c)
//				w.WriteHeader(c.Writer.Status()) // middlewares further out look at it,
//				if c.Writer.Written() {          // and at Written
//					gated.Write(nil)
//				}
//			})).ServeHTTP(w, r)
//		}
//	}
//
//	e.POST("/stock/:sku", once(e, httpmw.New(g, httpmw.PathValue("sku")), sell))
//
// It wraps the last handler of a route. One that followed would run even if the
// request was refused.
//
// echo (v4) comes with an adapter. It has to be told the path values, and gets its
// response and request back for middlewares further out:
//
//	func route(next echo.HandlerFunc) echo.HandlerFunc {
//		return func(c echo.Context) error {
//			w, r := c.Response(), c.Request()
//			defer func() { c.SetResponse(w); c.SetRequest(r) }()
//			for _, name := range c.ParamNames() {
//				r.SetPathValue(name, c.Param(name))
//			}
//			r.Pattern = c.Path()
//			return next(c)
//		}
//	}
//
//	e.POST("/stock/:sku", sell, route, echo.WrapMiddleware(httpmw.New(g, httpmw.PathValue("sku"))))
//
// chi and echo leave path values percent-encoded if the client has encoded more than
// it must: a%3Ab is not a:b then, neither to the handler nor in the key, and a
// worker's key is another. Where that can matter set r.URL.RawPath to "" in a
// middleware before the routing (chi: Use, echo: Pre): values are decoded then. A
// slash, %2F, is one in the path then.
//
// # What it is not
//
// It does not make a request idempotent: one that is sent twice runs twice, one after
// the other. Storing and replaying responses under an Idempotency-Key is another
// thing.
package httpmw
