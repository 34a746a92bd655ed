// Package guardvet finds mistakes that void the promise of guard.Do: that nobody else runs
// under the same key while fn runs and its context is alive. It is an analyzer of
// golang.org/x/tools/go/analysis; cmd/guardvet is its command:
//
//	go install github.com/jobguard/jobguard/guardvet/cmd/guardvet@latest
//	go vet -vettool=$(which guardvet) ./...
//
// # What it finds
//
//   - outerctx: a context from outside of fn is passed on inside fn. It does not end when
//     the lease is lost, and a nested Do with it waits for its own key.
//   - ignoredctx: fn does not use its context, and makes calls that take one.
//   - background: a write to Redis or SQL inside fn with context.Background or TODO, or
//     with a method of database/sql or sqlx that takes no context.
//   - goroutine: a goroutine that fn starts with a context and does not wait for. It goes
//     on when fn has returned and the next run has begun.
//   - mutex: Do is called while a mutex is held that fn locks too. fn waits for ever; also,
//     others in the process wait for the mutex as long as for the key.
//
// fn is what is passed to guard.Do, DoAll, Lead and Value, to the methods of a Guard, to
// Add and AddSchedule of cronwrap, Do and Handle of guard/journal; a handler that
// asynqmw.Middleware.Handler wraps, or that a mux has which uses it; and for background
// a handler that httpmw wraps. It may be a literal, a function or method of the same
// package, or a variable that is assigned once.
//
// # What it does not find
//
// It prefers silence to a wrong word. It does not follow calls from fn to other functions,
// nor contexts in fields. Any wait in fn (a Wait method, a receive, a select) is taken
// for one for all of its goroutines. context.WithoutCancel is taken for a decision. Test files
// are left out, unless -guardvet.tests is set.
package guardvet

import (
	"go/ast"
	"strings"

	"golang.org/x/tools/go/analysis"
)

// Analyzer finds the mistakes that the package doc lists.
var Analyzer = &analysis.Analyzer{
	Name: "guardvet",
	Doc:  "find mistakes that void the promise of guard.Do\n\nIn fn: another context than fn's own, a goroutine that outlives it, a write without its context, a mutex that the caller of Do holds.",
	URL:  "https://pkg.go.dev/github.com/jobguard/jobguard/guardvet",
	Run:  run,
}

var inTests bool

func init() {
	Analyzer.Flags.BoolVar(&inTests, "tests", false, "also look at test files")
}

func run(pass *analysis.Pass) (any, error) {
	p := newPackage(pass)
	for _, file := range pass.Files {
		if !inTests && strings.HasSuffix(pass.Fset.File(file.Pos()).Name(), "_test.go") {
			continue
		}
		var functions []ast.Node // those around the node, the innermost last
		ast.PreorderStack(file, nil, func(n ast.Node, stack []ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			functions = functions[:0]
			for _, around := range stack {
				if body(around) != nil {
					functions = append(functions, around)
				}
			}
			for _, r := range p.under(call) {
				p.check(r, functions)
			}
			return true
		})
	}
	return nil, nil
}

// check reports each mistake in one run.
func (p *pkg) check(r guarded, around []ast.Node) {
	if r.http {
		p.background(r)
		return
	}
	found := p.outer(r)
	found = p.background(r) || found
	if !found {
		p.ignored(r)
	}
	p.goroutines(r)
	if len(around) > 0 {
		p.mutex(r, around[len(around)-1])
	}
}
