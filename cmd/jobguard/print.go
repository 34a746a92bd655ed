package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jobguard/jobguard/guard/lease/redisstore"
)

// keyJSON is an inspection for programs. Times are in ms; Remaining is negative for ever.
type keyJSON struct {
	Server    string       `json:"server,omitempty"`
	Key       string       `json:"key"`
	Mode      string       `json:"mode"`
	Limit     int          `json:"limit,omitempty"`
	Holders   []holderJSON `json:"holders"`
	Queue     []waiterJSON `json:"queue"`
	LastToken int64        `json:"last_token,omitempty"`
}

type holderJSON struct {
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

func forPrograms(server string, i redisstore.Inspection) keyJSON {
	k := keyJSON{Server: server, Key: i.Key, Mode: string(i.Mode), Limit: i.Limit, LastToken: i.LastToken, Holders: []holderJSON{}, Queue: []waiterJSON{}}
	for _, h := range i.Holders {
		k.Holders = append(k.Holders, holderJSON{h.Owner, h.Process, h.Metadata, h.Remaining.Milliseconds()})
	}
	for _, w := range i.Queue {
		k.Queue = append(k.Queue, waiterJSON{w.Owner, w.Process, w.Waited.Milliseconds()})
	}
	return k
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
		_, _ = fmt.Fprintln(t.w, t.title)
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
		if n := len(i.Holders) - 1; n > 0 {
			owner += fmt.Sprintf(" and %d more", n)
		}
	}
	return []string{shown(i.Key), mode(i), owner, left, strconv.Itoa(len(i.Queue))}
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

// shown is s as a terminal can show it: other programs' keys may be any bytes.
func shown(s string) string {
	if utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl) {
		return s
	}
	return strconv.Quote(s)
}
