package redistest

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

func TestStreamIsCutIntoWholeReplies(t *testing.T) {
	replies := []string{
		"+OK\r\n",
		"-ERR no\r\n",
		":42\r\n",
		"$-1\r\n",
		"$0\r\n\r\n",
		"$4\r\n\r\n+x\r\n",
		"*-1\r\n",
		"*0\r\n",
		"*2\r\n*1\r\n:1\r\n$1\r\na\r\n",
		"%1\r\n+k\r\n*1\r\n:1\r\n",
		"~2\r\n:1\r\n:2\r\n",
		">3\r\n+message\r\n+c\r\n+m\r\n",
		"=7\r\ntxt:abc\r\n",
		"!3\r\nERR\r\n",
		"|1\r\n+k\r\n+v\r\n:7\r\n",
		"_\r\n", "#t\r\n", ",1.5\r\n", "(123\r\n",
	}
	in := newRESPReader(strings.NewReader(strings.Join(replies, "")))
	for _, want := range replies {
		if got, err := in.reply(); string(got) != want || err != nil {
			t.Fatalf("got %q, %v, want %q", got, err, want)
		}
	}
	if _, err := in.reply(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last one: %v", err)
	}
}

func TestStreamIsCutIntoWholeCommands(t *testing.T) {
	in := newRESPReader(strings.NewReader("*2\r\n$3\r\nGET\r\n$3\r\na\r\n\r\nPING x\r\n*1\r\n$1"))
	for _, want := range []struct {
		raw  string
		args []string
	}{
		{"*2\r\n$3\r\nGET\r\n$3\r\na\r\n\r\n", []string{"GET", "a\r\n"}},
		{"PING x\r\n", []string{"PING", "x"}},
	} {
		raw, args, err := in.command()
		if string(raw) != want.raw || !slices.Equal(args, want.args) || err != nil {
			t.Errorf("got %q %q, %v, want %+v", raw, args, err, want)
		}
	}
	if raw, _, err := in.command(); err == nil {
		t.Errorf("half a command passes for one: %q", raw)
	}
}
