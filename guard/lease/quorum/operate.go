package quorum

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

var _ lease.HolderOperator = (*Store)(nil)

// orderFor is how long an operator's question or order to a node may take.
const orderFor = 5 * time.Second

// Nodes is what each node of a quorum knows of a key.
type Nodes struct {
	Key   string
	Nodes []Node // in the order of the stores that New was given
	Agree int    // how many of them say Verdict

	// Verdict is what most nodes say: how the key is held, by whom, and how long each has
	// it yet on a majority. It is that of the quorum if [Nodes.Agreed]. Its queue
	// is the longest: waiters have no common one.
	Verdict lease.Inspection
}

// Node is one node's answer.
type Node struct {
	lease.Inspection
	Err error // it did not answer, or refused; then the Inspection is empty
}

// Agreed reports whether a majority of all nodes says the same. If not, nobody holds the key:
// it is being acquired or released, several compete for it, or too few nodes answer.
func (n Nodes) Agreed() bool { return n.Agree > len(n.Nodes)/2 }

// ErrDisagree is that no majority of the nodes says the same of a key.
var ErrDisagree = errors.New("no majority of the nodes agrees")

// InspectNodes asks each node what it knows of key, side by side, for up to 5 s. It only reads. A node's
// failure is in its answer. The error is that a store is no [lease.Operator], which
// redisstore's is, or that ctx has ended.
func (s *Store) InspectNodes(ctx context.Context, key string) (Nodes, error) {
	operators, err := s.operators("inspect")
	if err != nil {
		return Nodes{}, err
	}
	n := Nodes{Key: key, Nodes: make([]Node, len(operators))}
	s.order(ctx, operators, func(ctx context.Context, i int, of lease.Operator) error {
		found, err := of.Inspect(ctx, key)
		for h := range found.Holders {
			found.Holders[h] = asAllKnow(found.Holders[h])
		}
		n.Nodes[i] = Node{found, err}
		return nil
	}, len(operators))
	if err := ctx.Err(); err != nil {
		return Nodes{}, fmt.Errorf("quorum: inspect: %w", context.Cause(ctx))
	}
	n.judge(s.majority)
	return n, nil
}

// Inspect implements [lease.Operator]: what a majority of nodes says of key. The
// error is [ErrDisagree] if there is none, with what the nodes say.
func (s *Store) Inspect(ctx context.Context, key string) (lease.Inspection, error) {
	n, err := s.InspectNodes(ctx, key)
	if err != nil {
		return lease.Inspection{}, err
	}
	if !n.Agreed() {
		return lease.Inspection{}, fmt.Errorf("quorum: inspect: %w: %s", ErrDisagree, n.says())
	}
	return n.Verdict, nil
}

// judge finds what most nodes say.
func (n *Nodes) judge(majority int) {
	votes := make(map[string][]int)
	for i, node := range n.Nodes {
		if node.Err == nil {
			votes[said(node.Inspection)] = append(votes[said(node.Inspection)], i)
		}
	}
	var most []int
	for i := range n.Nodes { // in order, so that the same answers give the same verdict
		if same := votes[said(n.Nodes[i].Inspection)]; n.Nodes[i].Err == nil && len(same) > len(most) {
			most = same
		}
	}
	if n.Agree = len(most); n.Agree == 0 {
		return
	}
	v := n.Nodes[most[0]].Inspection
	v.Key, v.Holders = n.Key, slices.Clone(v.Holders)
	for h := range v.Holders {
		v.Holders[h].Remaining = n.lasts(v.Holders[h].ID, most, majority)
	}
	for _, i := range most {
		other := n.Nodes[i]
		v.LastToken = max(v.LastToken, other.LastToken)
		if other.Waiting > v.Waiting {
			v.Queue, v.Waiting = other.Queue, other.Waiting
		}
	}
	n.Verdict = v
}

// lasts is until when a majority has the holder, or all that have it.
func (n *Nodes) lasts(id string, on []int, majority int) time.Duration {
	var lives []time.Duration
	for _, i := range on {
		for _, h := range n.Nodes[i].Holders {
			if h.ID == id {
				lives = append(lives, h.Remaining)
			}
		}
	}
	slices.SortFunc(lives, longestFirst)
	return lives[min(majority, len(lives))-1]
}

// said is what a node says of a key, without the times.
func said(i lease.Inspection) string {
	ids := make([]string, len(i.Holders))
	for n, h := range i.Holders {
		ids[n] = h.ID
	}
	slices.Sort(ids)
	return fmt.Sprintf("%s %d %q", i.Mode, i.Limit, ids)
}

// says is each node's answer in a few words.
func (n Nodes) says() string {
	var b strings.Builder
	for i, node := range n.Nodes {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "node %d: ", i+1)
		if node.Err != nil {
			b.WriteString(node.Err.Error())
			continue
		}
		b.WriteString(string(node.Mode))
		for _, h := range node.Holders {
			b.WriteString(" " + h.Owner)
		}
	}
	return b.String()
}

// Revoke implements [lease.Operator]: each node is asked to tell the holders of key to stop,
// for up to 5 s. One that hears of it on any node ends its context, and keeps its lease until fn has
// returned. nil means that each holder has been told, or holds the key no more: a majority of
// nodes says so, and no holder can do without them.
func (s *Store) Revoke(ctx context.Context, key, reason string) error {
	return s.command(ctx, "revoke", func(ctx context.Context, _ int, of lease.Operator) error {
		return of.Revoke(ctx, key, reason)
	}, s.majority)
}

// Break implements [lease.Operator]: the leases of key end on each node at once. nil means
// that a majority of nodes did so, which leaves nobody a lease. A holder that is alive hears of
// it at its next renewal, and may run beside the next one until then: only its fencing
// token protects. A node that was not reached keeps what it has until it expires.
func (s *Store) Break(ctx context.Context, key string) error {
	return s.command(ctx, "break", func(ctx context.Context, _ int, of lease.Operator) error {
		return of.Break(ctx, key)
	}, len(s.nodes))
}

// command gives all nodes an order. A majority must carry it out.
func (s *Store) command(ctx context.Context, op string, call func(context.Context, int, lease.Operator) error, enough int) error {
	operators, err := s.operators(op)
	if err != nil {
		return err
	}
	errs := s.order(ctx, operators, call, enough)
	answers := make([]answer[struct{}], len(errs))
	for i, err := range errs {
		answers[i] = answer[struct{}]{done: true, err: err}
	}
	if count(answers, (*answer[struct{}]).ok) >= s.majority {
		return nil
	}
	return failed(s, op, answers)
}

// order calls all nodes, each on a goroutine of its own, and returns when all have ended, after
// orderFor at the latest. When so many as are enough have done it, the others are broken off.
func (s *Store) order(ctx context.Context, operators []lease.Operator, call func(context.Context, int, lease.Operator) error, enough int) []error {
	ctx, cancel := context.WithTimeout(ctx, orderFor)
	defer cancel()
	errs := make([]error, len(operators))
	var done atomic.Int32
	var all sync.WaitGroup
	for i, of := range operators {
		all.Go(func() {
			if errs[i] = call(ctx, i, of); errs[i] == nil && int(done.Add(1)) == enough {
				cancel()
			}
		})
	}
	all.Wait()
	return errs
}

func (s *Store) operators(op string) ([]lease.Operator, error) {
	operators := make([]lease.Operator, len(s.nodes))
	for i, n := range s.nodes {
		of, ok := n.Store.(lease.Operator)
		if !ok {
			return nil, fmt.Errorf("quorum: %s: store %d, a %T, %w: it is no lease.Operator", op, i+1, n.Store, errors.ErrUnsupported)
		}
		operators[i] = of
	}
	return operators, nil
}
