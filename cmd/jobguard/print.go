package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/jobguard/jobguard/guard/lease/redisstore"
)

// keyJSON is an inspection for programs. Times are in ms; Remaining is negative for ever. Holding
// and Waiting count those beyond the ones that are named.
type keyJSON struct {
	Key       string       `json:"key"`
	KeyBytes  []byte       `json:"key_base64,omitempty"` // of a key that is no UTF-8, which JSON cannot have
	Mode      string       `json:"mode"`
	Limit     int          `json:"limit,omitempty"`
	Holding   int          `json:"holding"`
	Holders   []holderJSON `json:"holders"`
	Waiting   int          `json:"waiting"`
	Queue     []waiterJSON `json:"queue"`
	LastToken int64        `json:"last_token,omitempty"`
	LastTick  *tickJSON    `json:"last_tick,omitempty"`
}

type holderJSON struct {
	ID        string `json:"id,omitempty"` // for --holder; none of what has no process
	Owner     string `json:"owner"`
	Process   string `json:"process,omitempty"`
	Metadata  string `json:"metadata,omitempty"`
	Remaining int64  `json:"remaining_ms"`
}

type waiterJSON struct {
	Owner   string `json:"owner"`
	Process string `json:"process,omitempty"`
	Waited  int64  `json:"waited_ms"`
}

func forPrograms(i redisstore.Inspection) *keyJSON {
	k := keyJSON{Key: i.Key, Mode: string(i.Mode), Limit: i.Limit, Holding: i.Holding, Waiting: i.Waiting, LastToken: i.LastToken,
		Holders: holdersForPrograms(i.Holders), Queue: []waiterJSON{}}
	if !utf8.ValidString(i.Key) {
		k.KeyBytes = []byte(i.Key)
	}
	for _, w := range i.Queue {
		k.Queue = append(k.Queue, waiterJSON{w.Owner, w.Process, w.Waited.Milliseconds()})
	}
	return &k
}

func holdersForPrograms(holders []redisstore.Holder) []holderJSON {
	all := []holderJSON{}
	for _, h := range holders {
		id := ""
		if h.Process != "" {
			id = h.ShortID()
		}
		all = append(all, holderJSON{id, h.Owner, h.Process, h.Metadata, forEver(h.Remaining)})
	}
	return all
}

// forEver is d in ms, -1 if it is negative.
func forEver(d time.Duration) int64 {
	if d < 0 {
		return -1
	}
	return d.Milliseconds()
}

// printJSON writes v on one line.
func printJSON(w io.Writer, v any) error { return json.NewEncoder(w).Encode(v) }

// table writes rows in columns, a page at a time: widths are those of a page.
type table struct {
	w     *tabwriter.Writer
	title string
	rows  int
}

const page = 1000

func newTable(w io.Writer, columns ...string) *table {
	return &table{w: tabwriter.NewWriter(w, 0, 8, 2, ' ', 0), title: strings.Join(columns, "\t")}
}

func (t *table) row(cells ...string) error {
	if t.rows == 0 {
		_, _ = fmt.Fprintln(t.w, t.title) // the error comes with Flush
	}
	t.rows++
	_, _ = fmt.Fprintln(t.w, strings.Join(cells, "\t"))
	if t.rows%page == 0 {
		return t.w.Flush()
	}
	return nil
}

func (t *table) end() error { return t.w.Flush() }

// keyRow is a key in one line: the first holder, and how many more.
func keyRow(i redisstore.Inspection) []string {
	owner, left := "-", "-"
	if len(i.Holders) > 0 {
		owner, left = i.Holders[0].Owner, remaining(i.Holders[0].Remaining)
		if n := i.Holding - 1; n > 0 {
			owner += fmt.Sprintf(" and %d more", n)
		}
	}
	return []string{shown(i.Key), mode(i), visible(owner), left, strconv.Itoa(i.Waiting)}
}

func mode(i redisstore.Inspection) string {
	if i.Mode == redisstore.ModeLimit {
		return fmt.Sprintf("limit %d", i.Limit)
	}
	return string(i.Mode)
}

func remaining(d time.Duration) string {
	if d < 0 {
		return "for ever"
	}
	return short(d)
}

func short(d time.Duration) string {
	if d < time.Minute {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// shown is s as a terminal can show it, and on one line that nothing in it changes: other programs'
// keys may be any bytes. What is quoted is so in the manner of Go.
func shown(s string) string {
	if s == "" || s[0] == '"' || strings.TrimSpace(s) != s {
		return strconv.Quote(s)
	}
	return visible(s)
}

// visible is shown of text that may be empty, or quoted already.
func visible(s string) string {
	if utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return s
	}
	return strconv.Quote(s)
}
