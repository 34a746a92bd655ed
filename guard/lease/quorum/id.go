package quorum

import (
	"strconv"
	"strings"

	"github.com/jobguard/jobguard/guard/lease"
)

// An owner id of a quorum names the process ids of all nodes' stores:
//
//	<process of node 1>+<process of node 2>+…:<sequence>|<owner name>|<metadata>
//
// On node i it stands behind that node's process id, so that the node can wake the
// owner, and any process that finds it there knows the owner it belongs to:
//
//	<process of node i>:<owner id>
//
// With an epoch, "~1" behind the sequence, it is another id for the node: see part.
const (
	joint     = "+"
	epochMark = "~"
)

// NewOwner implements [lease.Store]. The first store gives the id its sequence and name.
func (s *Store) NewOwner(metadata string) string {
	first := s.nodes[0]
	return s.process + strings.TrimPrefix(first.NewOwner(metadata), first.process)
}

// idOn is owner's id on node i. Of another Store's owner the processes are taken from
// its id.
func (s *Store) idOn(i, epoch int, owner string) string {
	process := s.nodes[i].process
	if rest, own := strings.CutPrefix(owner, s.process); !own || !strings.HasPrefix(rest, ":") {
		if all := strings.Split(lease.OwnerProcess(owner), joint); len(all) == len(s.nodes) {
			process = all[i]
		}
	}
	id := process + ":" + owner
	if epoch == 0 {
		return id
	}
	end := strings.IndexByte(id, '|')
	if end < 0 {
		end = len(id)
	}
	return id[:end] + epochMark + strconv.Itoa(epoch) + id[end:]
}

// ownerOf is the owner id, or closed marker, of a value found on a node; the value
// itself if it is of no quorum.
func ownerOf(value string) string {
	if lease.KeptClosed(value) {
		if at := strings.LastIndexByte(value, '|'); at >= 0 {
			if id, ok := withoutNode(value[at+1:]); ok {
				return value[:at+1] + id
			}
		}
		return value
	}
	id, rest, found := strings.Cut(value, "|")
	if !found {
		return value
	}
	if id, ok := withoutNode(id); ok {
		return id + "|" + rest
	}
	return value
}

// withoutNode takes the node's process id and the epoch off the first part of an id.
func withoutNode(id string) (string, bool) {
	node, id, found := strings.Cut(id, ":")
	processes, _, isOwner := strings.Cut(id, ":")
	if !found || !isOwner || !strings.Contains(joint+processes+joint, joint+node+joint) {
		return "", false
	}
	id, _, _ = strings.Cut(id, epochMark)
	return id, true
}
