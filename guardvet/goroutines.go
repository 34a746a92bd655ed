package guardvet

import (
	"go/ast"
	"go/token"
	"go/types"

	"golang.org/x/tools/go/types/typeutil"
)

// goroutines reports those that use a context and that fn does not wait for.
func (p *pkg) goroutines(r guarded) {
	var started []ast.Node
	waits := false
	p.each(r, func(n ast.Node) bool {
		if n := p.start(n); n != nil {
			started = append(started, n)
			return false // what it waits for is not fn's wait
		}
		waits = waits || p.isWait(n)
		return true
	})
	if waits {
		return
	}
	for _, n := range started {
		if p.usesContext(n) {
			p.Reportf(n.Pos(), "the function that %s runs does not wait for this goroutine, which uses a context: it goes on when the function has returned, beside the next holder; wait for it before the return, by sync.WaitGroup or errgroup", r.name)
		}
	}
}

// start returns n if it starts a goroutine: a go statement, or Go of a group.
func (p *pkg) start(n ast.Node) ast.Node {
	switch n := n.(type) {
	case *ast.GoStmt:
		return n
	case *ast.CallExpr:
		if callee := typeutil.Callee(p.TypesInfo, n); in(callee, "sync", "Go") || in(callee, "golang.org/x/sync/errgroup", "Go", "TryGo") {
			return n
		}
	}
	return nil
}

// isWait reports whether n may wait for goroutines, or gives what ends them to another
// function.
func (p *pkg) isWait(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.UnaryExpr:
		return n.Op == token.ARROW
	case *ast.SelectStmt:
		return true
	case *ast.RangeStmt:
		return isChan(p.TypesInfo.TypeOf(n.X))
	case *ast.SelectorExpr: // wg.Wait(), defer wg.Wait, t.Cleanup(g.Wait)
		return n.Sel.Name == "Wait"
	case *ast.CallExpr:
		for _, arg := range n.Args {
			t := p.TypesInfo.TypeOf(arg)
			if isChan(t) && !p.isMake(n) || isGroup(t) {
				return true
			}
		}
	case *ast.ReturnStmt:
		for _, result := range n.Results {
			if t := p.TypesInfo.TypeOf(result); isChan(t) || isGroup(t) {
				return true
			}
		}
	}
	return false
}

func (p *pkg) isMake(call *ast.CallExpr) bool {
	id, ok := call.Fun.(*ast.Ident)
	return ok && (id.Name == "make" || id.Name == "close")
}

func isChan(t types.Type) bool {
	if t == nil {
		return false
	}
	_, ok := t.Underlying().(*types.Chan)
	return ok
}

func isGroup(t types.Type) bool {
	pointer, ok := t.(*types.Pointer)
	if !ok {
		return false
	}
	named, ok := types.Unalias(pointer.Elem()).(*types.Named)
	return ok && (in(named.Obj(), "sync", "WaitGroup") || in(named.Obj(), "golang.org/x/sync/errgroup", "Group"))
}

// usesContext reports whether a context is mentioned in n.
func (p *pkg) usesContext(n ast.Node) (uses bool) {
	ast.Inspect(n, func(n ast.Node) bool {
		if e, ok := n.(ast.Expr); ok && !uses {
			uses = isContext(p.TypesInfo.TypeOf(e)) && p.TypesInfo.Types[e].IsValue()
		}
		return !uses
	})
	return uses
}
