// Package guardtest is an in-memory [lease.Store] for tests, with switches
// that make it fail the way a real one does. Keys are the keys that the code
// under test uses.
//
// The store starts no goroutine and no timer of its own, and reads the time
// with time.Now: it works inside a [testing/synctest] bubble, where a TTL of
// ten seconds passes in no time and a test can be exact about it.
//
// # Testing that your function notices a lost lease
//
// A lease can be lost while a function runs: the server restarts empty, an
// operator deletes the key, the network is down for longer than the TTL. The
// function's context is then cancelled, and the function should stop writing.
// To prove that yours does, take the lease away under its feet:
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
//			if rows < 60 || rows > 70 { // told by the next renewal, within the TTL
//				t.Errorf("imported %d rows, want to stop soon after the loss at 60", rows)
//			}
//		})
//	}
//
// The other faults of the field:
//
//	store.Expire(key)                     // lost; whoever asks next gets it
//	store.Hold(key, "ops")                // stolen, or held by somebody else from the start
//	store.Fail(errors.New("down"))        // every call fails, until Fail(nil)
//	store.Delay(200 * time.Millisecond)   // a slow network
//	store.Inject(guardtest.Fault{...})    // only some calls fail, or only their replies are lost
//
// and what to look at afterwards: [Store.Holder], [Store.Remaining],
// [Store.Waiting], [Store.Calls], and [Store.Keys], which is empty once every
// lease was given back.
//
// Under guard.Limit and guard.Shared several hold a key at once. Expire and Hold
// then take it from all of them; to take it from one:
//
//	store.HoldFor(key, store.Holders(key)[0], 0)
//
// # How far it agrees with a server
//
// It passes the same conformance suite as every other store
// (guard/lease/storetest). Like Redis it judges expiry when it is asked: a key
// that has expired, or was taken away by [Store.Expire], goes to the next in
// line when somebody asks for it, and nobody is woken before. An owner that
// was watched when it last asked, and no longer is, counts as gone and is
// passed over; one that was never watched polls, and is granted the key for
// its reservation like anybody else.
//
// All processes of a fleet are one Store: give the same one to several guards.
package guardtest
