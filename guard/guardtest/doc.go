// Package guardtest is an in-memory [lease.Store] for tests, with switches
// that make it fail the way a real one does. Keys are the keys that the code
// under test uses. All processes of a fleet are one Store: give the same one to
// several guards. The store starts no goroutine and no timer, and reads the time with time.Now: it
// works inside a [testing/synctest] bubble, where a TTL of ten seconds takes no time
// and is exact.
//
// # Test that a function stops when its lease is lost
//
// The loss of a lease ends the function's context; the function should then stop
// writing. The test ends the lease while the function runs:
//
//	func TestImportStopsWhenLeaseIsLost(t *testing.T) {
//		synctest.Test(t, func(t *testing.T) {
//			store := guardtest.NewStore()
//			g, err := guard.New(store)
//			if err != nil {
//				t.Fatal(err)
//			}
//			rows := 0
//			err = g.Do(t.Context(), "import", func(ctx context.Context) error {
//				time.AfterFunc(time.Minute, func() { store.Expire("import") })
//				for ctx.Err() == nil { // your function; here one row a second
//					rows++
//					time.Sleep(time.Second)
//				}
//				return ctx.Err()
//			})
//			if !errors.Is(err, guard.ErrLost) {
//				t.Errorf("Do() = %v, want ErrLost", err)
//			}
//			if rows < 60 || rows > 70 { // the next renewal finds out, within the TTL
//				t.Errorf("imported %d rows, want to stop soon after the loss at 60", rows)
//			}
//		})
//	}
//
// Other faults:
//
//	store.Expire(key)                     // lost; granted at the next request
//	store.Hold(key, "ops")                // taken by another program
//	store.Revoke(key, "by Ada")           // the holder is told to stop
//	store.Break(key)                      // lost, and granted to the next
//	store.Fail(errors.New("down"))        // every call fails, until Fail(nil)
//	store.Delay(200 * time.Millisecond)   // a slow network
//	store.Inject(guardtest.Fault{...})    // only some calls fail, or only their replies are lost
//
// If several owners hold the key, under guard.Limit or guard.Shared, Expire and Hold
// take it from all of them; store.HoldFor(key, store.Holders(key)[0], 0) from one.
// [Store.Holder], [Store.Remaining], [Store.Waiting], [Store.Calls] and [Store.Keys],
// which is empty once every lease was released, show the state.
//
// # Test what a journal compensates
//
// [NewLog] is a log in memory for journal.New. Have fn fail, or end its lease, run the
// sweeper and look at [Log.State] of journal.ID: "open", "done", "compensated" or "dead".
// [Log.Fail] is an outage of the log. The example of Log has it all.
//
// # Agreement with a server
//
// It passes the conformance suite of all stores (guard/lease/storetest). As on Redis,
// the end of a lease wakes no waiter: the head of the queue is granted the key at the
// next request. A waiter that was watched at its last request, and no longer is, is
// skipped.
package guardtest
