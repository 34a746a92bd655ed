package keep

import "iter"

// Listener is called for what happens to the lease of a hold.
type Listener interface {
	// Lost is called if the lease is lost, or the run asked to stop, on another
	// goroutine or inside Live. It must not block: others wait for their own.
	Lost(h *Hold, why *Lost)

	// Happened is called for each event, of one listener per hold; see Bind. It
	// must not block for long: renewals wait for it.
	Happened(h *Hold, ev Event)
}

// bindings are several listeners bound to a hold. They are never changed.
type bindings struct {
	Listener
	before Listener // that was bound before it; several are a *bindings
}

// without returns bound less l; nil if nothing is left.
func without(bound, l Listener) Listener {
	if bound == l {
		return nil
	}
	several, ok := bound.(*bindings)
	switch {
	case !ok:
		return bound
	case several.Listener == l:
		return several.before
	}
	before := without(several.before, l)
	if before == nil {
		return several.Listener
	}
	return &bindings{several.Listener, before}
}

// listeners are those of bound, the latest first.
func listeners(bound Listener) iter.Seq[Listener] {
	return func(yield func(Listener) bool) {
		for bound != nil {
			several, ok := bound.(*bindings)
			if !ok {
				yield(bound)
				return
			}
			if !yield(several.Listener) {
				return
			}
			bound = several.before
		}
	}
}
