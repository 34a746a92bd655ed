package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jobguard/jobguard/guard/lease"
	"github.com/jobguard/jobguard/guard/lease/quorum"
	"github.com/jobguard/jobguard/guard/lease/redisstore"
)

// order is revoke or break: what it asks, what it does, and what it says of the outcome.
type order struct {
	lease.Order
	question string
	do       func(lease.HolderOperator, context.Context, lease.Order) (lease.Outcome, error)
	say      func(lease.Outcome) string
	needs    bool // it has failed if a holder did not hear
}

func (a *app) revoke() *cobra.Command {
	o := order{question: "Tell %s to stop?", do: lease.HolderOperator.RevokeHolder, say: saidRevoked, needs: true}
	c := &cobra.Command{
		Use:   "revoke KEY --reason TEXT",
		Short: "Tell the holders of a key to stop",
		Long: "Tell the holders of a key to stop. The context of their function ends at once, with the reason; the key stays held\n" +
			"until the function has returned, and then goes to the next in line. With several --redis, of a quorum.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.order(c, args[0], o)
		},
	}
	c.Flags().StringVar(&o.Reason, "reason", "", "why, for the holder's log (required)")
	a.orderFlags(c, &o)
	_ = c.MarkFlagRequired("reason") // the flag exists
	return c
}

func (a *app) breakKey() *cobra.Command {
	o := order{question: "Take the key from %s? If it is alive, it may run beside the next one until it notices.",
		do: lease.HolderOperator.BreakHolder, say: saidBroken}
	c := &cobra.Command{
		Use:   "break KEY",
		Short: "End the leases of a key at once",
		Long: "End the leases of a key at once, and let the next in line begin. For holders that are gone or deaf: one that is alive may\n" +
			"go on beside the next, and only the fencing token protects what both write to. Try revoke first. With several --redis, of a quorum.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.order(c, args[0], o)
		},
	}
	a.orderFlags(c, &o)
	return c
}

func (a *app) orderFlags(c *cobra.Command, o *order) {
	c.Flags().StringVar(&o.Holder, "holder", "", "do nothing unless this one holds the key: ID of a lease, or a process, as show prints them")
	c.Flags().BoolVar(&a.yes, "yes", false, "do not ask")
}

// order shows the key, asks, and does it, unless the key has another holder by then.
func (a *app) order(c *cobra.Command, key string, o order) error {
	t, end, err := a.connectTo()
	if err != nil {
		return err
	}
	defer end()
	o.Key = key
	chosen := o.Holder != ""
	if !a.yes {
		if err := a.question(c, t, &o); err != nil {
			return err
		}
	}
	outcome, err := o.do(t, c.Context(), o.Order)
	if errors.Is(err, lease.ErrOtherHolder) && !chosen {
		return errChanged
	}
	if err != nil {
		return err
	}
	if len(outcome.Told)+len(outcome.Silent) == 0 {
		return a.nobody(key)
	}
	after, err := look(c, t, key)
	if err != nil {
		return err
	}
	if err := a.said(c, key, o.say(outcome), outcome, after); err != nil {
		return err
	}
	if o.needs && len(outcome.Silent) > 0 {
		return fmt.Errorf("%w: %s: its lease has ended, its run may not know", redisstore.ErrNoAnswer, nameAll(outcome.Silent))
	}
	return nil
}

// question shows the key and asks. The order is then for the holder that the question named.
func (a *app) question(c *cobra.Command, t target, o *order) error {
	before, err := look(c, t, o.Key)
	switch {
	case err != nil:
		return err
	case before.free():
		return a.nobody(o.Key)
	}
	if err := before.describe(c.ErrOrStderr(), t); err != nil {
		return err
	}
	who := before.names()
	if o.Holder != "" {
		meant := slices.DeleteFunc(slices.Clone(before.Holders), func(h redisstore.Holder) bool { return !h.Named(o.Holder) })
		if len(meant) == 0 {
			return fmt.Errorf("not done: %w: %s", lease.ErrOtherHolder, who)
		}
		who = nameAll(meant)
	}
	if !confirmed(c, fmt.Sprintf(o.question, who)) {
		return errDeclined
	}
	now, err := look(c, t, o.Key)
	switch {
	case err != nil:
		return err
	case now.free():
		return a.nobody(o.Key)
	case now.anotherThan(before):
		return errChanged
	}
	// The server compares once more. Servers of a quorum that disagree have several to break.
	if o.Holder == "" && before.Mode == redisstore.ModeExclusive && (before.nodes == nil || before.nodes.Agreed()) {
		o.Holder = before.Holders[0].ID
	}
	return nil
}

// nobody is that an order reached no holder, as with a mistyped key or prefix.
func (a *app) nobody(key string) error {
	return fmt.Errorf("%w: nobody holds %s under the prefix %q", errNobody, shown(key), a.prefix)
}

// orderJSON is what came of an order, for programs.
type orderJSON struct {
	keyJSON              // afterwards
	Told    []holderJSON `json:"told"`
	Silent  []holderJSON `json:"silent"`
}

func (a *app) said(c *cobra.Command, key, done string, o lease.Outcome, after sight) error {
	if a.json {
		return printJSON(c.OutOrStdout(), orderJSON{*forPrograms(after.Inspection), holdersForPrograms(o.Told), holdersForPrograms(o.Silent)})
	}
	next := stateOf(after.Inspection)
	if after.nodes != nil && !after.nodes.Agreed() {
		next = quorum.ErrDisagree.Error()
	} else if h := another(after.Inspection, o); h != nil {
		next = fmt.Sprintf("another run, %s: %s", visible(h.ShortID()), next)
	}
	_, err := fmt.Fprintf(c.OutOrStdout(), "%s: %s; now %s\n", shown(key), done, next)
	return err
}

// another is the lease that has the key alone after an order that it was not meant for: often
// of the same process, so that its name does not tell it from the one that was.
func another(after redisstore.Inspection, o lease.Outcome) *lease.Holder {
	if after.Mode != redisstore.ModeExclusive || len(after.Holders) != 1 {
		return nil
	}
	h := &after.Holders[0]
	if slices.ContainsFunc(slices.Concat(o.Told, o.Silent), func(meant lease.Holder) bool { return meant.ShortID() == h.ShortID() }) {
		return nil
	}
	return h
}

func saidRevoked(o lease.Outcome) string {
	var parts []string
	if len(o.Told) > 0 {
		parts = append(parts, "told to stop: "+nameAll(o.Told))
	}
	if len(o.Silent) > 0 {
		parts = append(parts, "not told, the lease ended without an answer: "+nameAll(o.Silent))
	}
	return strings.Join(parts, "; ")
}

func saidBroken(o lease.Outcome) string {
	var parts []string
	if len(o.Told) > 0 {
		parts = append(parts, "taken from "+nameAll(o.Told)+", which was told")
	}
	if len(o.Silent) > 0 {
		parts = append(parts, "taken from "+nameAll(o.Silent)+", without an answer")
	}
	return strings.Join(parts, "; ")
}

// sight is what was seen of a key: on one server, or of a quorum what most say.
type sight struct {
	redisstore.Inspection
	nodes *quorum.Nodes // nil: one server
}

// look is no failure if the servers of a quorum disagree: then there is something to break.
func look(c *cobra.Command, t target, key string) (sight, error) {
	if t.quorum == nil {
		i, err := t.Inspect(c.Context(), key)
		return sight{i, nil}, err
	}
	n, err := t.quorum.InspectNodes(c.Context(), key)
	if err == nil && n.Agree == 0 {
		err = n.Nodes[0].Err
	}
	return sight{n.Verdict, &n}, err
}

// free: of a quorum, on each server that answers.
func (s sight) free() bool {
	if s.nodes == nil {
		return s.Mode == redisstore.ModeFree
	}
	return !slices.ContainsFunc(s.nodes.Nodes, func(n quorum.Node) bool { return n.Err == nil && n.Mode != redisstore.ModeFree })
}

func (s sight) describe(w io.Writer, t target) error {
	if s.nodes != nil {
		return describeNodes(w, t, *s.nodes)
	}
	return describe(w, s.Inspection)
}

// anotherThan reports whether the one holder that a question named is another by now. Holders
// that share a key come and go.
func (s sight) anotherThan(before sight) bool {
	return before.Mode == redisstore.ModeExclusive &&
		(s.Mode != before.Mode || s.Holders[0].ID != before.Holders[0].ID)
}

// few is how many holders are named.
const few = 5

// names are those of the first few holders.
func (s sight) names() string {
	if s.Holding == 0 {
		return "whoever has a part of it"
	}
	return nameSome(s.Holders, s.Holding)
}

func nameAll(holders []lease.Holder) string { return nameSome(holders, len(holders)) }

// nameSome names the first few of so many.
func nameSome(holders []lease.Holder, n int) string {
	var all []string
	for _, h := range holders[:min(few, len(holders))] {
		all = append(all, visible(h.Owner))
	}
	if more := n - len(all); more > 0 {
		all = append(all, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(all, ", ")
}

// confirmed asks, and reports whether the answer is yes. An interrupt is no. What reads the answer
// is a goroutine that ends with the input, or the program.
func confirmed(c *cobra.Command, question string) bool {
	_, _ = fmt.Fprintf(c.ErrOrStderr(), "%s [yes/no] ", question)
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(c.InOrStdin()).ReadString('\n') // the end of the input is no
		answer <- line
	}()
	select {
	case line := <-answer:
		return c.Context().Err() == nil && strings.TrimSpace(line) == "yes"
	case <-c.Context().Done():
		_, _ = fmt.Fprintln(c.ErrOrStderr())
		return false
	}
}
