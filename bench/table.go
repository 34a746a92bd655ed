package main

import (
	"strings"
	"unicode/utf8"
)

// table is text in rows and columns. Written as Markdown whose columns line up,
// it can be read in a terminal too.
type table struct {
	rows [][]string // the first is the head
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) String() string {
	widths := make([]int, len(t.rows[0]))
	for _, row := range t.rows {
		for i, c := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	var b strings.Builder
	line := func(row []string, fill string) {
		for i, c := range row {
			b.WriteString("| " + c + strings.Repeat(fill, widths[i]-utf8.RuneCountInString(c)) + " ")
		}
		b.WriteString("|\n")
	}
	line(t.rows[0], " ")
	line(make([]string, len(widths)), "-")
	for _, row := range t.rows[1:] {
		line(row, " ")
	}
	return b.String()
}
