package main

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// cells are those of the first row of a Markdown file that has first in its first cell, and who in its second;
// the rows under it have their first cell empty.
func cells(t *testing.T, file, first, who string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	latest := ""
	for line := range strings.Lines(string(text)) {
		row := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range row {
			row[i] = strings.TrimSpace(row[i])
		}
		if row[0] != "" {
			latest = row[0]
		}
		if latest == first && (who == "" || len(row) > 1 && row[1] == who) {
			return row
		}
	}
	t.Fatalf("%s: no row %q %q", file, first, who)
	return nil
}

func TestComparisonHasTheFiguresOfTheResults(t *testing.T) {
	const results = "RESULTS.md"
	column := slices.Index(cells(t, results, "workload", "who"), string(fairness))
	if column < 0 {
		t.Fatalf("%s: no column %s", results, fairness)
	}
	got := cells(t, "../docs/comparison.md", "runs of the least served of 64 processes for one of the most served (1 is fair)", "")[1:]
	var want []string
	for _, who := range []string{nameGuard, nameRedsync, nameRedislock, nameRueidislock2, nameRueidislock1} {
		want = append(want, cells(t, results, "one key, 64 clients × 1 goroutine, no work", who)[column])
	}
	want = append(want[:3], want[3]+"; "+want[4]+" with `KeyMajority: 1`")
	if !slices.Equal(got, want) {
		t.Errorf("docs/comparison.md has %q, the results %q", got, want)
	}
}
