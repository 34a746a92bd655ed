// Package cronwrap runs the jobs of github.com/robfig/cron/v3 once per tick across
// all replicas of a fleet.
//
//	package main
//
//	import (
//		"context"
//		"log"
//		"os/signal"
//		"syscall"
//		"time"
//
//		"github.com/redis/go-redis/v9"
//		"github.com/robfig/cron/v3"
//
//		"github.com/jobguard/jobguard/guard"
//		"github.com/jobguard/jobguard/guard/cronwrap"
//		"github.com/jobguard/jobguard/guard/lease/redisstore"
//	)
//
//	func main() {
//		g, err := guard.New(redisstore.New(redis.NewClient(&redis.Options{Addr: "localhost:6379"})))
//		if err != nil {
//			log.Fatal(err)
//		}
//		c := cron.New()
//		jobs := cronwrap.New(c, g)
//		if _, err := jobs.Add("0 2 * * *", "invoices", func(ctx context.Context) error {
//			log.Print("invoices of ", cronwrap.Tick(ctx))
//			return nil
//		}); err != nil {
//			log.Fatal(err)
//		}
//		c.Start()
//		stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
//		defer cancel()
//		<-stop.Done()
//		last, cancel := context.WithTimeout(context.Background(), 20*time.Second)
//		defer cancel()
//		log.Print(jobs.Shutdown(last), g.Shutdown(last))
//	}
//
// Every replica runs this program. [Tick] tells the job its scheduled time.
//
// # How a tick runs once
//
// A tick is known by its scheduled time ([Tick]), which all replicas compute alike,
// whatever their clocks say. When it comes due a replica looks at the last tick
// that the store remembers; if it is not that one or a later one, it takes the key,
// the job's name, and claims the tick in one atomic step that grants only what is
// later than the last. fn runs after that, under the key. So a mutex keeps runs from
// overlapping, and the claim keeps a tick from running again on a replica whose
// clock is behind, when the first is long done.
//
// The claim comes before fn: a tick runs at most once, and not at all if its runner
// dies in between. With [Retry] a tick is also marked when its run is over, and one
// that is not is run again by the next that holds the key, whatever tick that came
// for and before that: at least once. A runner that has lost the key and does not know
// yet is refused by its fencing token once the next holder has claimed a tick, and
// with Retry no tick is claimed over one that others have not done.
//
// # What happens when
//
//	what                                 then                                            shown by
//	the key is held by other code, or    asked for again for 250 ms, then the tick is    TestTickIsSkippedWhileTheKeyIsHeld,
//	by a runner that died                dropped, with a warning to log/slog, and        TestTickThatIsDroppedForOtherCodeIsLoggedAsAWarning,
//	                                     CatchUp makes up for it with the next one;      TestKeyThatIsHeldBrieflyCostsNoTick,
//	                                     with Retry or Overlap(Wait) it stands in line   TestTickThatWasDroppedForOtherCodeIsBackfilledWithTheNext,
//	                                                                                     TestTickThatWasDroppedForADeadRunIsBackfilledWithTheNext
//	the same, with MutualExclusion       dropped at once, whoever has it, or stands in   TestTickIsDroppedAtOnceUnderMutualExclusion,
//	                                     line with Overlap(Wait)                         TestRunsUnderMutualExclusionDoNotOverlap
//	an earlier tick's run is not over    Skip: dropped, unless it ends within 250 ms,    TestOverlapSkipDropsTicksDuringARun,
//	                                     also if that is a tick made up for. Wait:       TestOverlapWaitRunsTheLatestTickThatWaits
//	                                     stands in line, one tick in each process
//	                                     (Retry: two)
//	the store fails for a moment, or     it is asked again for 2 s                       TestHiccupOfTheStoreCostsNoTick,
//	a failover is under way                                                              TestFailoverAtATickCostsNoTickOnRedis
//	the store is down at a tick          handler gets guard.ErrUnavailable; the tick     TestStoreDownAtATickReachesTheHandlerAndTheTickIsLost,
//	                                     is lost, unless CatchUp makes up for it, with   TestTicksMissedInAnOutageAreBackfilled,
//	                                     the next tick or when the store is back         TestRareTickMissedInAnOutageIsBackfilledSoon
//	the store is down during a run, for  the lease is lost; with Retry the tick is run   TestRetryOutlastsAnOutageOfTheStore
//	longer than the guard's TTL          again when the store is back
//	the lease is lost                    ctx ends with cause guard.ErrLost; handler      TestLossCancelsTheJob,
//	                                     gets it; with Retry another replica runs it     TestFleetUnderFaultsRunsTicksAtMostOnceWithRetryAtLeastOnce
//	the process is stopped in mid-run,   likewise, when it goes on                       TestRunOfAStoppedProcessIsTakenOverWithRetryOnRedis
//	for longer than the TTL
//	the lease was lost, and its holder   its claim is refused: handler gets ErrLost      TestTicksAreNotClaimedOverTheRunOfTheNextHolder,
//	goes on to the next tick                                                             TestTickThatIsRefusedAfterALossIsReported,
//	                                                                                     TestTickClaimedAfterTheNextHolderLookedIsNotPassedOver
//	fn returns an error                  handler gets it; the tick is over, also         TestErrorOfTheJobReachesTheHandlerUnchanged,
//	                                     with Retry                                      TestFailedRunIsOverAlsoWithRetry
//	fn panics                            handler gets a *PanicError; likewise; cron      TestPanicReachesTheHandlerAndFreesTheKey
//	                                     goes on, the key is given back
//	Shutdown                             no tick begins; runs are awaited, then          TestShutdownWaitsForTheRunUnderWay,
//	                                     cancelled with cause guard.ErrClosed            TestShutdownCancelsTheRunWhenItsContextEnds
//	Shutdown cancels a run, and fn       with Retry another replica runs the tick        TestRunThatShutdownBrokeOffIsTakenOverWithRetry
//	returns an error
//	Shutdown cancels between a claim     handler is told; with Retry another replica     TestTickThatWasClaimedAndNotRunIsReported
//	and its run                          runs the tick
//	the runner died                      with Retry another replica runs the tick        TestTickWhoseRunnerWasKilledIsTakenOverWithRetryOnly,
//	                                     when the lease has expired, or with the next    TestLaterTickRunsAfterOneThatIsNotDone,
//	                                     tick, before that, or when the fleet is back;   TestTickThatIsNotDoneIsRunAgainHoweverLate
//	                                     else nobody does
//	a tick that is made up for fails,    handler gets it with that tick's time; after a  TestFailureOfABackfilledTickIsReportedOnceWithThatTick,
//	or loses the lease                   loss the rest is made up for soon, and the      TestRestIsBackfilledAfterALoss,
//	                                     tick that was due, if any, is reported too      TestLossBeforeTheTickThatIsDueIsReportedForBoth
//	the job's entry is removed from      catching up ends, with the runs under way; a    TestNothingIsBackfilledOnceTheEntryIsRemoved,
//	cron                                 tick that stands in line still runs             TestTickThatWaitsWhenItsEntryIsRemovedRuns
//	clocks differ                        each tick runs once                             TestEachTickRunsOnceAcrossSkewedReplicasOnRedis
//	a clock is ahead of the store's      its ticks are refused: handler gets ErrSkew     TestTickFarAheadOfTheStoresClockIsRefused
//	by more than MaxSkew
//	the fleet was down                   CatchUp makes up for what was missed, before    TestMissedTicksAreBackfilledWhenTheFleetIsBack,
//	                                     any later tick                                  TestNoTickOvertakesABackfill
//	cron was stopped and started again,  likewise, with the next tick                    TestTicksWhileCronWasStoppedAreBackfilled
//	or the machine slept
//	the job is called by hand            the latest tick, if that has not run; before    TestJobCalledByHandBeforeItsFirstTickDoesNotRun
//	                                     the first one nothing, and handler is told so
//	the schedule panics                  in Tick, or in Next outside of cron's own       TestPanicOfTheScheduleReachesTheHandler
//	                                     goroutine: handler gets a *PanicError
//	the job is one of Wrap               mutual exclusion only: dropped while the key    TestWrapKeepsRunsOfAnExistingChainApart,
//	                                     is held; errors and panics are logged           TestWrapSurvivesAPanicAndFreesTheKey,
//	                                                                                     TestWrapLogsThatTheStoreIsDown
//	clocks are set back (DST)            a repeated local time runs twice, as with       TestDST
//	                                     cron; with DST(Once) once
//	clocks are set forward               a skipped local time does not run, as with      TestDST
//	                                     cron
//
// # What is not guaranteed
//
//   - What the store forgets: a failover to a replica that lacks the last claim can
//     let a tick run again. Claims are acknowledged as the store's leases are.
//   - Retry is for ticks that were begun. A tick at which no replica was running, or
//     the store was down, is a matter of CatchUp.
//   - CatchUp knows the last tick that ran, the run's end and the schedule, and no
//     more. So it also makes up for ticks that Skip dropped because other code had
//     the key, or for a run whose runner died, unless Retry took that over. Under Wait it
//     then also makes up for ticks that lost their place in line. And after the spec
//     was changed it makes up for ticks of the new one, back to the last that ran.
//   - Ticks that are made up for together have one lease, and so one MaxHold: the run
//     in which that is over ends with ErrMaxHold, however short it is itself.
//   - Where clocks differ by more than the time between two ticks, the one that is
//     ahead claims them, and the ticks of the others come too late. When a replica
//     with such a clock joins, ticks of that difference may not run at all; but none
//     runs twice for that.
//   - The Runner cannot be used with a cron whose chain delays jobs, as
//     cron.DelayIfStillRunning does: a job that starts late is taken for the tick
//     that is the latest by then. Use Overlap(Wait).
//   - fn can be run again in part: under Retry, give what it writes the name of its
//     [Tick], or check [guard.Fence].
//   - cron runs nothing while the process or the machine is stopped, and one late
//     tick of each job after that. CatchUp makes up for the others.
//   - A guard with a Limit or Shared runs each tick once too, but Retry takes nothing
//     over then: the key does not tell whether the runner is alive.
//
// # Goroutines
//
// fn runs on the goroutine that cron starts for each tick. A Runner has one of its own
// for each job with CatchUp or Retry, from the start of cron, or a failure of the
// store, until nothing is missing; there fn runs for ticks that are made up for. It asks
// a store that is down again after 2 s, and then less and less often, down to once a
// minute. [Runner.Shutdown] ends them.
package cronwrap
