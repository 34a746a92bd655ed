package lease

import "strings"

// An owner id is one opaque string, compared whole:
//
//	<process id>:<sequence>|<owner name>|<carrier>
//
// It is the value of the lease key and the entry in the line, so whoever is
// refused learns from one reply who is in the way. Values that other programs
// wrote need not have this form; the functions below then find nothing.
//
// A key that a release leaves shut (ReleaseRequest.Close) has the value
//
//	closed|<owner name>|<carrier>
//
// which reads like an owner id of no process.

// shut begins the value of a key that was left shut.
const shut = "closed|"

// Shut reports whether owner is no owner: a release left the key shut, and its run
// is over.
func Shut(owner string) bool { return strings.HasPrefix(owner, shut) }

// OwnerID joins the parts of an owner id.
func OwnerID(process, sequence, name, carrier string) string {
	return process + ":" + sequence + "|" + name + "|" + carrier
}

// OwnerProcess returns the process id in an owner id, or "".
func OwnerProcess(owner string) string {
	id, _, ok := strings.Cut(owner, "|")
	if !ok {
		return ""
	}
	process, _, ok := strings.Cut(id, ":")
	if !ok {
		return ""
	}
	return process
}

// OwnerName returns the name in an owner id, host:pid unless configured
// otherwise. A value of another form is returned whole.
func OwnerName(owner string) string {
	_, rest, ok := strings.Cut(owner, "|")
	if !ok {
		return owner
	}
	name, _, ok := strings.Cut(rest, "|")
	if !ok {
		return owner
	}
	return name
}

// Carrier returns the text that the owner's observer sent along, or "".
func Carrier(owner string) string {
	_, rest, ok := strings.Cut(owner, "|")
	if !ok {
		return ""
	}
	_, carrier, _ := strings.Cut(rest, "|")
	return carrier
}
