package quorum

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/jobguard/jobguard/guard/lease"
)

// RevokeHolder implements [lease.HolderOperator], as [Store.Revoke]. The error matches
// [lease.ErrOtherHolder] if so many nodes have other holders that the order is not carried out.
func (s *Store) RevokeHolder(ctx context.Context, o lease.Order) (lease.Outcome, error) {
	return s.commandTo(ctx, "revoke", o, lease.HolderOperator.RevokeHolder, s.majority)
}

// BreakHolder implements [lease.HolderOperator], as [Store.Break]. On each node the leases that
// o names end, and no others: with an error on some of them too. No holder is told: it
// notices at its next renewal.
func (s *Store) BreakHolder(ctx context.Context, o lease.Order) (lease.Outcome, error) {
	return s.commandTo(ctx, "break", o, lease.HolderOperator.BreakHolder, len(s.nodes))
}

// commandTo is command with an outcome: that of all nodes which carried it out. When so many as are
// enough have reached a holder, the others are broken off; one that finds nobody is no reason
// to: a holder that was told by another node lets go at once.
func (s *Store) commandTo(ctx context.Context, op string, o lease.Order,
	call func(lease.HolderOperator, context.Context, lease.Order) (lease.Outcome, error), enough int,
) (lease.Outcome, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var reached atomic.Int32
	outcomes, errs := make([]lease.Outcome, len(s.nodes)), make([]error, len(s.nodes))
	err := s.command(ctx, op, func(ctx context.Context, i int, of lease.Operator) error {
		able, ok := of.(lease.HolderOperator)
		if !ok {
			return fmt.Errorf("store %d, a %T, %w: it is no lease.HolderOperator", i+1, of, errors.ErrUnsupported)
		}
		orders, err := ordersOn(ctx, able, o)
		for n := 0; err == nil && n < len(orders); n++ {
			var one lease.Outcome
			one, err = call(able, ctx, orders[n])
			outcomes[i].Told = append(outcomes[i].Told, one.Told...)
			outcomes[i].Silent = append(outcomes[i].Silent, one.Silent...)
		}
		errs[i] = err
		if found := len(outcomes[i].Told)+len(outcomes[i].Silent) > 0; err == nil && found && int(reached.Add(1)) == enough {
			cancel()
		}
		return err
	}, len(s.nodes))
	for i := range outcomes {
		if err == nil && errs[i] != nil { // done without it: what it has left is nobody's lease
			outcomes[i].Silent = nil
		}
	}
	return joined(outcomes), err
}

// ordersOn are o with the ids that a node knows its holders by.
func ordersOn(ctx context.Context, of lease.HolderOperator, o lease.Order) ([]lease.Order, error) {
	if o.Holder == "" {
		return []lease.Order{o}, nil
	}
	found, err := of.Inspect(ctx, o.Key)
	if err != nil {
		return nil, err
	}
	var orders []lease.Order
	for _, h := range found.Holders {
		if asAllKnow(h).Named(o.Holder) {
			orders = append(orders, lease.Order{Key: o.Key, Holder: h.ID, Reason: o.Reason})
		}
	}
	if orders == nil { // the node says that it has another, or none
		orders = []lease.Order{o}
	}
	return orders, nil
}

// joined is the outcome of all nodes: who was told on one was told.
func joined(outcomes []lease.Outcome) (all lease.Outcome) {
	seen := make(map[string]bool)
	add := func(to *[]lease.Holder, some []lease.Holder) {
		for _, h := range some {
			if h = asAllKnow(h); !seen[h.ID] {
				seen[h.ID] = true
				*to = append(*to, h)
			}
		}
	}
	for _, o := range outcomes {
		add(&all.Told, o.Told)
	}
	for _, o := range outcomes {
		add(&all.Silent, o.Silent)
	}
	return all
}
