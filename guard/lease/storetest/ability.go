package storetest

import (
	"slices"

	"github.com/jobguard/jobguard/guard/lease"
)

// ability is something that a store or its fixture can do, and others cannot. A check
// runs for a store that has all that the check names; for one that declares in the
// [Fixture] that it does not, the checks that are about the lack run instead.
type ability string

// What stores can do.
const (
	queue   ability = "a queue"
	noQueue ability = "no queue"
	limit   ability = "limits above one"
	noLimit ability = "no limits above one"
	grants  ability = "wake-ups that carry a token"
	watch   ability = "lease.Watcher"
	ticks   ability = "lease.TickStore"
	finder  ability = "lease.HolderFinder"
)

// What fixtures can do.
const (
	vanish     ability = "Fixture.Vanish"
	flush      ability = "Fixture.Flush"
	vanishing  ability = "Fixture.Vanish or Flush"
	foreign    ability = "Fixture.Foreign"
	tryForeign ability = "Fixture.TryForeign"
	kept       ability = "Fixture.Kept"
	stall      ability = "Fixture.Stall"
	revoke     ability = "lease.Stopper, and Fixture.Revoke"
)

func with(needed ...ability) []ability { return needed }

// always marks a check for every store.
var always []ability

// abilities are those of the store under test and of its fixture.
func (f Fixture) abilities() (all []ability) {
	_, isWatcher := f.A.(lease.Watcher)
	_, isTickStore := f.A.(lease.TickStore)
	_, isFinder := f.A.(lease.HolderFinder)
	_, isStopper := f.A.(lease.Stopper)
	for _, a := range []struct {
		has bool
		ability
	}{
		{!f.NoQueue, queue}, {f.NoQueue, noQueue}, {!f.NoLimit, limit}, {f.NoLimit, noLimit}, {!f.NoGrants, grants},
		{isWatcher, watch}, {isTickStore, ticks}, {isFinder, finder},
		{f.Vanish != nil, vanish}, {f.Flush != nil, flush}, {f.Vanish != nil || f.Flush != nil, vanishing},
		{f.Foreign != nil, foreign}, {f.TryForeign != nil, tryForeign}, {f.Kept != nil, kept}, {f.Stall != nil, stall},
		{isStopper && f.Revoke != nil, revoke},
	} {
		if a.has {
			all = append(all, a.ability)
		}
	}
	return all
}

// suits reports whether a store with these abilities must pass the check, and if not
// what it lacks.
func (c check) suits(abilities []ability) (lack ability, _ bool) {
	i := slices.IndexFunc(c.needs, func(a ability) bool { return !slices.Contains(abilities, a) })
	if i < 0 {
		return "", true
	}
	return c.needs[i], false
}
