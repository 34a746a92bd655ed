package main

import (
	"errors"
	"fmt"
	"strings"
)

// table sets the outcomes side by side.
func table(unguarded, guarded outcome) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-10s %6s %9s %15s %12s\n", "", "sold", "oversold", "refused writes", "lost leases")
	fmt.Fprintf(&b, "%-10s %6d %9d %15s %12s\n", "unguarded", unguarded.sold, unguarded.oversold, "-", "-")
	fmt.Fprintf(&b, "%-10s %6d %9d %15d %12d\n", "guarded", guarded.sold, guarded.oversold, guarded.refused, guarded.lost)
	return b.String()
}

// verdict names everything that did not come out as promised.
func verdict(items int, unguarded, guarded outcome) error {
	var errs []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	want(unguarded.oversold > 0, "the unguarded sale did not oversell: it showed nothing")
	want(guarded.oversold == 0, "the guarded sale oversold %d", guarded.oversold)
	want(guarded.sold >= items, "the guarded sale sold %d of %d", guarded.sold, items)
	want(guarded.books.left == items-guarded.sold, "the guarded sale's stock says %d left, after %d of %d were sold",
		guarded.books.left, guarded.sold, items)
	want(guarded.books.inverse == 0, "%d writes were accepted after one with a higher token", guarded.books.inverse)

	st := guarded.stall
	want(st.phase == over, "no replica stalled")
	want(st.token > 0, "the stalled replica had no fencing token")
	want(st.taken > st.token, "no other replica went on while one was stalled")
	want(st.noticed, "the stalled replica's context did not say that its lease was lost")
	want(st.refused, "the stalled replica's late write was not refused")
	want(guarded.lost > 0, "no lease was lost")
	return errors.Join(errs...)
}
