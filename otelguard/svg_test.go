package otelguard_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"html"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/otelguard"
)

var draw = flag.Bool("draw", false, "write docs/contended-trace.svg anew")

// The picture is drawn from spans that the SDK exported: it shows what there is.
func TestPictureOfAContendedKeyIsWhatIsExported(t *testing.T) {
	path := filepath.Join("..", "docs", "contended-trace.svg")
	picture := drawTraces(contendedTraces(t))
	if *draw {
		if err := os.WriteFile(path, picture, 0o644); err != nil { //nolint:gosec // a document
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(picture, want) {
		t.Error("docs/contended-trace.svg is not what is exported now: go test ./otelguard -run Picture -draw")
	}
}

// contendedTraces has a cron job and a request meet at a key, in exact time.
func contendedTraces(t *testing.T) (spans tracetest.SpanStubs) {
	synctest.Test(t, func(t *testing.T) {
		exporter := tracetest.NewInMemoryExporter()
		tracers := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
		obs := otelguard.New(otelguard.WithTracerProvider(tracers))
		user := tracers.Tracer("user")
		store := guardtest.NewStore()
		cron := newGuard(t, store, guard.Observe(obs), guard.Name("recount"))
		web := newGuard(t, store, guard.Observe(obs), guard.Name("POST /stock/{sku}"))
		work := func(name string, d time.Duration) func(context.Context) error {
			return func(ctx context.Context) error {
				_, span := user.Start(ctx, name)
				defer span.End()
				time.Sleep(d)
				return nil
			}
		}
		done := make(chan error, 1)
		go func() { done <- cron.Do(t.Context(), "sku/42", work("count the shelf", 800*time.Millisecond)) }()
		time.Sleep(300 * time.Millisecond)
		ctx, request := user.Start(t.Context(), "POST /stock/42")
		if err := web.Do(ctx, "sku/42", work("UPDATE stock", 150*time.Millisecond)); err != nil {
			t.Error(err)
		}
		request.End()
		if err := <-done; err != nil {
			t.Error(err)
		}
		spans = exporter.GetSpans()
	})
	slices.SortStableFunc(spans, func(a, b tracetest.SpanStub) int { return a.StartTime.Compare(b.StartTime) })
	return spans
}

// The measures of the picture, in pixels.
const (
	left, top, width = 20, 44, 760
	right            = 160 // for the text right of the last bars
	row, bar, gap    = 34, 16, 26
)

// placed is a span with its place in the picture.
type placed struct {
	tracetest.SpanStub
	depth, y int
}

// drawTraces draws each trace as a waterfall, and links as arrows.
func drawTraces(spans tracetest.SpanStubs) []byte {
	rows, height := place(spans)
	begin, end := rows[0].StartTime, rows[0].EndTime
	for _, r := range rows {
		if r.EndTime.After(end) {
			end = r.EndTime
		}
	}
	x := func(at time.Time) int { return left + int(int64(width)*int64(at.Sub(begin))/int64(end.Sub(begin))) }

	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12" role="img">`+"\n", width+left+right, height)
	b.WriteString("<title>A request waits for a key, and its trace links to the job that has it</title>\n")
	b.WriteString(`<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="#c0392b"/></marker></defs>` + "\n")
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", width+left+right, height)
	trace := 0
	for _, r := range rows {
		if r.depth == 0 {
			trace++
			fmt.Fprintf(&b, `<text x="%d" y="%d" font-weight="bold">Trace %d</text>`+"\n", left, r.y-gap+4, trace)
		}
		from := x(r.StartTime)
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%d" height="%d" rx="2" fill="%s"/>`+"\n", from, r.y, max(2, x(r.EndTime)-from), bar, colour(r.Name))
		fmt.Fprintf(&b, `<text x="%d" y="%d" fill="#333333">%s</text>`+"\n", from, r.y-3, html.EscapeString(label(r)))
	}
	for _, r := range rows {
		for _, l := range r.Links {
			i := slices.IndexFunc(rows, func(o placed) bool { return o.SpanContext.SpanID() == l.SpanContext.SpanID() })
			fmt.Fprintf(&b, `<path d="M%d,%d L%d,%d" stroke="#c0392b" stroke-dasharray="5 3" fill="none" marker-end="url(#head)"/>`+"\n",
				x(r.StartTime), r.y+bar/2, x(rows[i].EndTime)+4, rows[i].y+bar)
			fmt.Fprintf(&b, `<text x="%d" y="%d" fill="#c0392b">link to the holder</text>`+"\n", left, r.y+bar/2+4)
		}
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// place puts the spans of each trace below each other, children after parents.
func place(spans tracetest.SpanStubs) (rows []placed, height int) {
	y := top
	var add func(s tracetest.SpanStub, depth int)
	add = func(s tracetest.SpanStub, depth int) {
		rows = append(rows, placed{s, depth, y})
		y += row
		for _, child := range spans {
			if child.Parent.SpanID() == s.SpanContext.SpanID() {
				add(child, depth+1)
			}
		}
	}
	for _, s := range spans {
		if !s.Parent.IsValid() {
			add(s, 0)
			y += gap
		}
	}
	return rows, y - gap
}

func label(r placed) string {
	text := fmt.Sprintf("%s, %d ms", r.Name, r.EndTime.Sub(r.StartTime).Milliseconds())
	var more []string
	for _, a := range r.Attributes {
		switch a.Key {
		case "jobguard.outcome":
			more = append(more, a.Value.String())
		case "jobguard.contended":
			if a.Value.AsBool() {
				more = append(more, "contended")
			}
		case "jobguard.release":
			more = append(more, a.Value.String())
		}
	}
	if more == nil {
		return text
	}
	return text + " (" + strings.Join(more, ", ") + ")"
}

func colour(name string) string {
	switch verb, _, _ := strings.Cut(name, " "); verb {
	case "acquire":
		return "#f0b429"
	case "run":
		return "#3e8e5a"
	}
	return "#9fb3c8"
}
