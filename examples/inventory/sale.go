package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/journal"
	"github.com/jobguard/jobguard/guard/journal/sqllog"
)

var errDeclined = errors.New("the card was declined")

const (
	declines = 25                    // one card in so many is declined
	charging = 30 * time.Millisecond // what it takes the bank to say so
)

// charge asks the buyer's bank.
func charge(ctx context.Context, buyer int) error {
	if err := pause(ctx, charging); err != nil {
		return err
	}
	if buyer%declines == 0 {
		return errDeclined
	}
	return nil
}

// sell sells a ticket on record: the journal knows of it before the ticket is taken out
// of the stock, and until it is paid. Whatever happens in between, to the card, the
// lease or this process, putBack is called for it, here or in another replica.
func (b *branch) sell(ctx context.Context, o order) error {
	payload, err := json.Marshal(o)
	if err != nil {
		return err
	}
	var nothing error // was done, so there is nothing to put back
	err = b.journal.Do(ctx, keyOf(o.SKU), journal.Op{Kind: "sale", Payload: payload}, func(ctx context.Context) error {
		err := b.shop.buy(ctx, o.SKU, o.Buyer)
		if errors.Is(err, errSoldOut) || errors.Is(err, sql.ErrNoRows) {
			nothing = err
			return nil
		}
		if err != nil {
			return err
		}
		if err := charge(ctx, o.Buyer); err != nil {
			return err
		}
		return b.shop.pay(ctx, o.SKU, o.Buyer, sqllog.Done)
	})
	if err := errors.Join(nothing, err); err != nil {
		return err
	}
	return b.shipLater(ctx, o)
}

// sellUnguarded is the same without a lease, a token and a journal.
func (b *branch) sellUnguarded(ctx context.Context, o order) error {
	if err := b.shop.buy(ctx, o.SKU, o.Buyer); err != nil {
		return err
	}
	if err := charge(ctx, o.Buyer); err != nil {
		return err
	}
	if err := b.shop.pay(ctx, o.SKU, o.Buyer, nil); err != nil {
		return err
	}
	return b.shipLater(ctx, o)
}

// putBack compensates a sale that did not end well, under the SKU's key.
func (b *branch) putBack(ctx context.Context, r journal.Record) error {
	var o order
	if err := json.Unmarshal(r.Payload, &o); err != nil {
		return fmt.Errorf("the record of a sale: %w", err)
	}
	token, _ := guard.Fence(ctx)
	left := b.enter(o.SKU, token, true)
	defer left()
	tickets, err := b.shop.putBack(ctx, o.SKU, o.Buyer)
	if err != nil {
		return err
	}
	b.log.InfoContext(ctx, "compensated", "sku", o.SKU, "buyer", o.Buyer, "reason", r.Reason, "put_back", tickets)
	b.say(message{Kind: compensated, SKU: o.SKU, Token: token, Reason: string(r.Reason), Tickets: tickets})
	return nil
}
