package guardvet

import (
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strings"

	"golang.org/x/tools/go/types/typeutil"
)

// outer reports contexts from outside of fn that are passed on inside.
func (p *pkg) outer(r guarded) (found bool) {
	own := p.assignedIn(r)
	p.calls(r, func(call *ast.CallExpr, callee types.Object) {
		if callee != nil && callee.Pkg() != nil && callee.Pkg().Path() == "context" && !derives(callee) {
			return
		}
		for _, arg := range call.Args {
			name, obj := p.contextOf(arg)
			if obj == nil || own[obj] || contains(r.fn, obj) {
				continue
			}
			found = true
			p.Reportf(arg.Pos(), "%s comes from outside of the function that %s runs: it does not end when the lease is lost, so what it is passed to goes on beside the next holder; use the function's own context",
				name, r.name)
		}
	})
	return found
}

// derives reports whether f makes a context that ends with its parent.
func derives(f types.Object) bool {
	return strings.HasPrefix(f.Name(), "With") && f.Name() != "WithoutCancel"
}

// contextOf names the variable that a context comes from: itself, or the request of
// r.Context(). The object is nil if e is no such context.
func (p *pkg) contextOf(e ast.Expr) (string, types.Object) {
	if !isContext(p.TypesInfo.TypeOf(e)) {
		return "", nil
	}
	switch e := ast.Unparen(e).(type) {
	case *ast.Ident:
		if v, ok := p.TypesInfo.Uses[e].(*types.Var); ok {
			return e.Name, v
		}
	case *ast.CallExpr:
		if sel, ok := e.Fun.(*ast.SelectorExpr); ok && in(typeutil.Callee(p.TypesInfo, e), "net/http", "Context") {
			if id, ok := ast.Unparen(sel.X).(*ast.Ident); ok {
				return id.Name + ".Context()", p.TypesInfo.Uses[id]
			}
		}
	}
	return "", nil
}

// assignedIn are the variables that fn assigns: a context that comes from outside no more.
func (p *pkg) assignedIn(r guarded) map[types.Object]bool {
	own := map[types.Object]bool{}
	p.each(r, func(n ast.Node) bool {
		if assign, ok := n.(*ast.AssignStmt); ok && assign.Tok == token.ASSIGN {
			for _, left := range assign.Lhs {
				if id, ok := left.(*ast.Ident); ok {
					own[p.TypesInfo.Uses[id]] = true
				}
			}
		}
		return true
	})
	return own
}

// ignored reports an fn that uses its context nowhere, and makes calls that take one.
func (p *pkg) ignored(r guarded) {
	used := false
	var takes *ast.CallExpr
	ast.Inspect(body(r.fn), func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Ident:
			used = used || r.ctx != nil && p.TypesInfo.Uses[n] == r.ctx
		case *ast.CallExpr:
			if takes == nil && slices.ContainsFunc(n.Args, func(arg ast.Expr) bool { return isContext(p.TypesInfo.TypeOf(arg)) }) &&
				!in(typeutil.Callee(p.TypesInfo, n), "context", "WithoutCancel") {
				takes = n
			}
		}
		return true
	})
	if used || takes == nil {
		return
	}
	p.Reportf(takes.Pos(), "the function that %s runs ignores its context, which ends when the lease is lost: this call goes on beside the next holder; name the context and pass it on", r.name)
}

// background reports writes with a context that never ends.
func (p *pkg) background(r guarded) (found bool) {
	p.calls(r, func(call *ast.CallExpr, callee types.Object) {
		store := writes(callee)
		if store == "" {
			return
		}
		how := ""
		if instead := sqlWrites[callee.Name()]; store == "SQL" && instead != "" && !takesContext(callee) {
			how = "without a context; use " + instead + " with"
		}
		for _, arg := range call.Args {
			if name := p.neverEnds(arg, 4); name != "" {
				how = "with context." + name + "; use"
			}
		}
		if how == "" {
			return
		}
		found = true
		p.Reportf(call.Pos(), "a write to %s in the function that %s runs, %s its own context: this one goes on when the lease is lost, beside the next holder (context.WithoutCancel of it says that this is wanted)",
			store, r.name, how)
	})
	return found
}

func takesContext(f types.Object) bool {
	sig, ok := f.Type().(*types.Signature)
	return ok && sig.Params().Len() > 0 && isContext(sig.Params().At(0).Type())
}

// neverEnds is "Background" or "TODO" if e is such a context, or derived from one: in
// place, or in a variable that is assigned once.
func (p *pkg) neverEnds(e ast.Expr, depth int) string {
	if depth == 0 {
		return ""
	}
	switch e := ast.Unparen(e).(type) {
	case *ast.Ident:
		obj := p.TypesInfo.Uses[e]
		if value := p.values[obj]; value != nil && isContext(p.TypesInfo.TypeOf(e)) {
			return p.neverEnds(value, depth-1)
		}
	case *ast.CallExpr:
		callee := typeutil.Callee(p.TypesInfo, e)
		if in(callee, "context", "Background", "TODO") {
			return callee.Name()
		}
		if callee != nil && callee.Pkg() != nil && callee.Pkg().Path() == "context" && len(e.Args) > 0 && derives(callee) {
			return p.neverEnds(e.Args[0], depth-1)
		}
	}
	return ""
}

// calls passes each call in the run to f.
func (p *pkg) calls(r guarded, f func(call *ast.CallExpr, callee types.Object)) {
	p.each(r, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			f(call, typeutil.Callee(p.TypesInfo, call))
		}
		return true
	})
}
