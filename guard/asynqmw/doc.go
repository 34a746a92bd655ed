// Package asynqmw runs asynq tasks once at a time per key: a middleware that
// puts a task whose key is busy back into its queue, without a retry used up or
// a failure counted. It works with github.com/hibiken/asynq v0.26.
//
//	package main
//
//	import (
//		"context"
//		"log"
//
//		"github.com/hibiken/asynq"
//		"github.com/redis/go-redis/v9"
//
//		"github.com/jobguard/jobguard/guard"
//		"github.com/jobguard/jobguard/guard/asynqmw"
//		"github.com/jobguard/jobguard/guard/lease/redisstore"
//	)
//
//	func main() {
//		addr := "localhost:6379"
//		g, err := guard.New(redisstore.New(redis.NewClient(&redis.Options{Addr: addr})))
//		if err != nil {
//			log.Fatal(err)
//		}
//		conn := asynq.RedisClientOpt{Addr: addr}
//		mux := asynq.NewServeMux()
//		mux.Use(asynqmw.New(g, asynqmw.PayloadField("order_id"), asynqmw.WithClient(asynq.NewClient(conn))))
//		mux.HandleFunc("order:ship", func(ctx context.Context, task *asynq.Task) error {
//			log.Printf("shipping %s, and nobody else does", task.Payload())
//			return nil
//		})
//		log.Print(asynq.NewServer(conn, asynqmw.Configure(asynq.Config{})).Run(mux))
//	}
//
// # What happens when
//
// Rows hold for OnBusy([Defer]), and for the others where they say so.
//
//	when                               what happens                                            proved by
//	the key is busy                    deferred: tried again soon, at a random moment;         TestBusyUsesUpNoRetryAndCountsNoFailure
//	                                   no retry, no failure, ErrorHandler not told
//	the same, OnBusy(Skip)             the task is done                                        TestSkipEndsABusyTaskAsDone
//	the same, OnBusy(Discard)          the task is deleted                                     TestDiscardDeletesABusyTask
//	the same, and it is its own earlier Skip and Discard drop the task                          TestSkipDropsATaskThatItsOwnAbandonedAttemptKeepsBusy
//	attempt, given up, that is running
//	busy on the last attempt           a clone takes the task's place                          TestBusyLastAttemptMakesWayForAClone
//	the same, without WithClient       the task waits in place                                 TestWithoutAClientTheLastAttemptWaitsInPlace
//	the same, no clone can be enqueued the task waits in place, and tries beside that, once    TestWhileNoCloneCanBeEnqueuedTheLastAttemptWaitsInPlace,
//	                                   a second, to be cloned                                  TestCloneIsEnqueuedDuringTheWaitOnceItCanBe,
//	                                                                                           TestRequestsForACloneAreASecondApart
//	a clone finds the key busy         it rests like a task that is deferred, and then its own TestClonesOfABusyTaskRestBetweenTheirAttempts
//	                                   clone does
//	busy a few seconds before its      the task waits in place, whatever retries it has;       TestTaskWaitsInPlaceNearItsDeadlineAndNamesTheHolder
//	Deadline                           in vain: archived, with who held the key; without
//	                                   WithInspector that holds for the last attempt
//	busy, with Unique                  deferred, it stays unique until its TTL; cloned, it     TestDeferredTaskStaysUniqueUntilItsTTL,
//	                                   can be enqueued again                                   TestUniqueTaskCanBeEnqueuedAgainAlongsideItsClone
//	busy, with a TaskID                cloned, its TaskID can be used again                    TestReusedTaskIDIsNotDroppedForACloneOfTheEarlierTask
//	busy, with Timeout and Deadline    WithInspector: both count as what they are, and a       TestInspectorDefersAShortTimeoutWithADeadline,
//	                                   clone keeps them                                        TestInspectorGivesACloneAllLimitsOfItsTask
//	the same, without WithInspector    deferred, at the end of the attempt at the latest;      TestTimeoutWithADeadlineIsNotTheEndOfATaskWithRetries,
//	                                   on the last attempt that end counts as the Deadline,    TestTimeoutWithADeadlineEndsALastAttemptWithoutAnInspector
//	                                   and the task or its clone is archived then
//	in place until its Timeout         archived, with who held the key as its last error;      TestLastAttemptThatWaitsInVainIsArchivedAsBusy
//	                                   ErrorHandler told
//	g has a Wait beyond the Timeout    deferred shortly before the Timeout; on the last        TestWaitBeyondTheTimeoutEndsInDeferral,
//	                                   attempt a clone, a little earlier                       TestWaitEndsASecondBeforeTheTimeoutOrWithAQuarterOfItLeft,
//	                                                                                           TestLongWaitOfALastAttemptLeavesTimeForItsClone
//	your IsFailure takes ErrBusy for a it is not asked of deferrals; of an ErrBusy that the    TestIsFailureThatTakesBusyForAFailureIsNotAskedOfDeferrals
//	failure                            handler returns it is
//	the store is down                  deferred, whatever the policy; on the last attempt      TestStoreDownDefersAndHeals,
//	                                   a clone, or the task waits in place until its Timeout   TestPolicyCountsOnceTheStoreIsBack
//	the lease is lost, or MaxHold      the handler's ctx ends; a failure like any other,       TestLostLeaseIsAFailureAndRetried,
//	passed                             retried, whatever the handler returned                  TestHeldTooLongIsAFailureAndRetried
//	the handler ignores its Timeout    asynq counts a failure and retries, but the key is      TestHandlerThatIgnoresItsTimeoutNeverRunsTwiceAtOnce
//	                                   held until the handler returns: the retry is deferred
//	asynq takes a task back just       the handler does not start                              TestHandlerDoesNotStartOnceAsynqHasTakenTheTaskBack
//	before its handler starts
//	the handler panics                 the key is released; asynq recovers it, a failure       TestPanicReleasesTheKeyAndIsAFailure
//	the guard is shut down             deferred; on the last attempt a clone, or the task      TestGuardShutDownLosesNoTask,
//	                                   waits until the server puts it back                     TestGuardShutDownPutsACloneOfALastAttemptBack
//	its Shutdown cancels a handler     the handler's error, a failure like any other, and no   TestHandlerCancelledByTheGuardsShutdownDecidesTheOutcome
//	                                   error means done
//	the server is shut down            a task that waits in place goes back into its queue     TestServerShutdownPutsAWaitingLastAttemptBack
//	the key is invalid                 archived at once                                        TestInvalidKeyIsArchivedAtOnce
//	the KeyFunc fails, or panics       a failure like the handler's                            TestKeyFuncThatFailsIsRetried,
//	                                                                                           TestKeyFuncThatPanicsIsRetried
//	no handler for the type            asynq's own error: not guarded. Another middleware      TestUnknownTypeIsNotFoundEvenWithoutAKey,
//	                                   inside hides that: then it is guarded like the others,  TestUnknownTypeBehindAnotherMiddlewareIsGuardedLikeTheOthers
//	                                   and archived if it has no key
//	Configure was forgotten            archived at once with ErrNotConfigured                  TestForgottenConfigureIsAClearErrorAndBurnsNoRetry
//
// SkipRetry and RevokeTask from a handler, and all its other errors, pass through
// unchanged. Middleware further out must wrap errors with %w, or Configure does
// not recognise a deferral; IsFailure, RetryDelayFunc, ErrorHandler or BaseContext
// set on the config after Configure undo what it did. Shut the server down first
// and the guard after it.
//
// With Skip and Discard a task can be lost: when a Timeout passes or the server
// shuts down, asynq gives up on a handler that may go on and keep the key. If that
// fails in the end, its task, tried again meanwhile, has been skipped or discarded
// as busy.
//
// Put this middleware outermost if it has a client: a clone is made of the task as
// it was handed in, and seconds that others take before it are missing in the
// clone's Timeout. Do not chain two of them for two keys: a last attempt waits for the
// inner key while it holds the outer one, and two such tasks can wait for each
// other. Use one key, or guard.DoAll in the handler.
//
// Observers may see a run, and MinHold may keep the key, although the handler did
// not start: the wait was over, or a clone was there, just as the key was had.
//
// # Waiting
//
// A task tries its key once; guard.Wait makes it stand in line, first come first
// served, and take up one of the server's workers meanwhile:
//
//	asynqmw.New(g.With(guard.Wait(2*time.Second)), key)
//
// The time it waits counts towards its Timeout. It stops waiting a second before
// the Timeout, or when a quarter of it is left, whichever is later, because a
// Timeout is a failure to asynq. A last attempt with a client stops up to two
// seconds before that, for its clone to arrive.
//
// A deferred task costs a few Redis commands every second or two. Thousands of
// tasks on one busy key want a queue of their own, or a longer [DeferFor].
//
// # The last attempt
//
// asynq archives a task that has no retry left, whatever error comes back, and
// never mind that it was only busy. With MaxRetry(0) every attempt is the last.
//
// With [WithClient] the middleware enqueues a clone instead and has the task
// revoked. The clone has the task's type, payload, headers and queue, and the
// retries it had left: none. Its id is the task's with "~busy1-" and a random part
// added, then "~busy2-": [TaskID] makes the same key of all of them, and a TaskID
// that is used again never meets them. Not everything is as it was:
//
//   - The handler sees retry 0 of 0, and the clone's id. LastErr is empty.
//   - asynq's statistics count a task that makes way as processed, and its log says
//     that it was revoked.
//   - The Unique lock is released: the task can be enqueued again beside the
//     clone. asynq gives that lock only to a task that is being enqueued, and
//     while the clone is, the task still holds it.
//   - Timeout and Deadline are recovered from the end of the attempt. A task with
//     both has a clone whose Deadline is the end of this attempt, so that it is
//     archived then if it is still busy: it needs [WithInspector]. Retention is not
//     recovered: the clone is deleted when it is done. WithInspector keeps all
//     three.
//   - TaskID and Retention no longer keep duplicates out either: the task is gone,
//     and its TaskID is free at once. Where that matters, have no client.
//
// A task waits for the first request, a second at most or half the time that it
// has left, before it stands in line for its key: one that is cloned at once is in
// nobody's way. While no clone can be enqueued it stands there, and another request
// is made every second. If a request seemed to fail and got through later, or the
// server dies or shuts down before the task is revoked, the task can run twice,
// though not at once; or it is archived although it has a clone.
//
// # Deadlines
//
// Once a Deadline has passed asynq fails a task without asking anybody. So a busy
// task rests less than [DeferFor] says where it would come back too late, and if
// there is no time to rest it waits in place, with or without a client, whatever
// retries it has. A second before the Deadline it is archived; its last error says
// who held the key. If it has retries left and no Inspector told that this is its
// Deadline, it is deferred instead, and asynq fails it. The reckoning allows for DelayedTaskCheckInterval and 3
// seconds, not for a queue that is backed up for longer.
//
// A task with both Timeout and Deadline has attempts that end at whole seconds,
// like those of one with a Deadline alone, and without WithInspector it is taken
// for such: if its Timeout is no longer than DelayedTaskCheckInterval and 4 seconds,
// or g's Wait takes up most of it, the task waits in place until shortly before the
// Timeout. It is deferred then if it has retries left, and archived if it has none.
//
// # Waiting in place
//
// Without a client a last attempt waits in place and takes up a worker. At the end of
// its Timeout or Deadline asynq archives it, and nothing that a middleware can
// return prevents that: it is there to be run again, and its last error says who
// held the key. Give such tasks a Timeout that is longer than the work of those
// before them.
//
// The same becomes of it, with "asynq: task lease expired" as its last error, if
// asynq's Redis was gone for longer than the 30 seconds of asynq's own lease, the
// server was killed, or the connection broke in the moment in which asynq took the
// task from its queue: it then counts as running, until asynq looks for such tasks
// a minute or two later.
//
// # Guarantees of asynq and of guard
//
// asynq runs a task at least once. Timeout, Deadline, cancellation, a shutdown
// that takes too long and an outage of its Redis make asynq give up on a handler
// that is still running, and start the task again elsewhere. The guard keeps the
// key until the handler really returns, so that the two do not overlap, unless the
// lease is lost: to MaxHold, or because the guard's Redis, which may be the same
// server, was gone for longer than the TTL. What
// the handler did before still happened: it must be idempotent, and pass
// guard.Fence to what it writes to.
//
// asynq's Redis and the guard's may be the same server or different ones.
//
// # Schedulers
//
// [RunScheduler] and [RunPeriodicTaskManager] keep one asynq Scheduler or
// PeriodicTaskManager active in the fleet.
//
//	when                               what happens                                            proved by
//	the leader's context ends          it is shut down, and then another takes over at once    TestOnePeriodicTaskManagerIsActiveAndHandsOverWhenItEnds
//	the leader's process dies          another takes over within the TTL                       TestSchedulerIsTakenOverWithinTheTTLWhenItsProcessDies
//	the leader is cut off from the     it is shut down, another takes over; it campaigns again TestOneSchedulerIsActiveAndAnotherTakesOverWhenItDies,
//	store                                                                                      TestAnotherPeriodicTaskManagerTakesOverWhenTheLeaderDies
//	a PeriodicTaskManager does not     it steps down for another, and tries again after a      TestManagerThatCannotStartStepsDownForAnotherAndTriesAgain,
//	start                              pause that grows                                        TestPausesOfAManagerThatCannotStartGrowToHalfAMinute,
//	                                                                                           TestManagerThatStartedCountsItsFailuresAnew
//	its context ends in that pause     it returns at once                                      TestPauseAfterAManagerThatCannotStartEndsWithItsContext
//	the function that makes one fails  an error, returned; nothing runs                        TestFactoriesThatCannotWorkReturnErrors,
//	or returns nil or a used one                                                               TestManagerOfAnEarlierTermIsAnError,
//	                                                                                           TestManagerThatOthersStartedIsAnError
//	it panics                          the panic passes through, and the key is free           TestPanicOfAFactoryPassesThroughAndFreesTheKey
//	g has a Limit, or Shared           an error, returned; nothing runs                        TestGuardThatLetsSeveralLeadIsAnError
//
// # Goroutines
//
// The handler runs on asynq's goroutine. A last attempt with a client has a
// goroutine that enqueues the clone, and one that asks the Inspector can have
// another; they end with the attempt, or when a request ends that hangs then.
// RunScheduler and RunPeriodicTaskManager work on the calling goroutine; what asynq
// starts for them ends before they return, but for the Redis connections of a
// PeriodicTaskManager that never started, with the goroutines of their client.
package asynqmw
