package lease_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/jobguard/jobguard/guard/lease"
)

// Whatever another program wrote, what is shown of it can be logged and sent.
func FuzzNamesAndMetadataArePrintable(f *testing.F) {
	for _, s := range []string{
		"", "worker-7", "a|b", "p:1|host:7|trace", lease.ClosedMarker("p:1|host:7|trace"), "closed|x",
		"\x00\xff\x10raw bytes of a lock", "x:y|\xff\xfe|\x1b[31m", strings.Repeat("é", 400), "line\nbreak|a\tb|c",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, shown := range []string{lease.OwnerName(s), lease.Metadata(s)} {
			if !utf8.ValidString(shown) || strings.ContainsFunc(shown, unicode.IsControl) || len(shown) > 4*255+5 {
				t.Errorf("%q is shown as %q", s, shown)
			}
		}
	})
}

func TestPartsOfAnOwnerID(t *testing.T) {
	owner := lease.OwnerID("process", 1, "host:7", "trace")
	marker := lease.ClosedMarker(owner)
	for _, c := range []struct{ what, got, want string }{
		{"name", lease.OwnerName(owner), "host:7"},
		{"process", lease.OwnerProcess(owner), "process"},
		{"metadata", lease.Metadata(owner), "trace"},
		{"name in a closed marker", lease.OwnerName(marker), "host:7"},
		{"process in a closed marker", lease.OwnerProcess(marker), ""},
		{"metadata in a closed marker", lease.Metadata(marker), "trace"},
		{"name of raw bytes", lease.OwnerName("\xff\x00"), `"\xff\x00"`},
		{"name of a foreign value", lease.OwnerName("worker-7"), "worker-7"},
		{"process of a foreign value", lease.OwnerProcess("a:b"), ""},
	} {
		if c.got != c.want {
			t.Errorf("%s: %q, want %q", c.what, c.got, c.want)
		}
	}
	if !lease.KeptClosed(marker) || lease.KeptClosed(owner) || marker == lease.ClosedMarker(lease.OwnerID("process", 2, "host:7", "trace")) {
		t.Errorf("markers: %q of %q", marker, owner)
	}
}
