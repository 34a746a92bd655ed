package guardvet

import (
	"go/ast"
	"go/types"

	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/types/typeutil"
)

const guardPath = "github.com/jobguard/jobguard/guard"

// entries are the functions and methods that run an argument under a lease.
var entries = map[string][]string{
	guardPath:               {"Do", "DoAll", "Lead", "Value"},
	guardPath + "/cronwrap": {"Add", "AddSchedule"},
	guardPath + "/journal":  {"Do", "Handle"},
	guardPath + "/asynqmw":  {"Handler"},
}

// guarded is an fn: what runs under a lease.
type guarded struct {
	name string        // of the entry, as users write it: guard.Do
	call *ast.CallExpr // of the entry
	arg  ast.Expr      // the fn, as it is passed
	fn   ast.Node      // *ast.FuncLit or *ast.FuncDecl
	ctx  types.Object  // its context; nil if it has no name or is _
	http bool          // it has a request in place of a context
}

// pkg is what is known of the package.
type pkg struct {
	*analysis.Pass
	decls  map[types.Object]*ast.FuncDecl
	values map[types.Object]ast.Expr // of variables that are assigned once
	muxes  map[types.Object]bool     // they use asynqmw
}

func newPackage(pass *analysis.Pass) *pkg {
	p := &pkg{Pass: pass, decls: map[types.Object]*ast.FuncDecl{}, values: map[types.Object]ast.Expr{}, muxes: map[types.Object]bool{}}
	for _, file := range pass.Files {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				p.decls[pass.TypesInfo.Defs[n.Name]] = n
			case *ast.AssignStmt:
				for i, left := range n.Lhs {
					if len(n.Lhs) == len(n.Rhs) {
						p.assigned(left, n.Rhs[i])
					} else {
						p.assigned(left, n.Rhs[0])
					}
				}
			case *ast.ValueSpec:
				for i, name := range n.Names {
					if i < len(n.Values) {
						p.assigned(name, n.Values[i])
					}
				}
			case *ast.CallExpr:
				p.noteMux(n)
			}
			return true
		})
	}
	return p
}

// assigned notes the value of a variable; of one that has several, none.
func (p *pkg) assigned(left, value ast.Expr) {
	id, ok := left.(*ast.Ident)
	if !ok {
		return
	}
	obj := p.TypesInfo.ObjectOf(id)
	if obj == nil {
		return
	}
	if _, again := p.values[obj]; again {
		value = nil
	}
	p.values[obj] = value
}

// noteMux remembers X of X.Use(m.Handler), with m an asynqmw.Middleware.
func (p *pkg) noteMux(call *ast.CallExpr) {
	sel, ok := ast.Unparen(call.Fun).(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != "Use" {
		return
	}
	for _, arg := range call.Args {
		if method, ok := ast.Unparen(arg).(*ast.SelectorExpr); ok && in(p.TypesInfo.Uses[method.Sel], guardPath+"/asynqmw", "Handler") {
			if mux := p.root(sel.X); mux != nil {
				p.muxes[mux] = true
			}
		}
	}
}

// in reports whether obj is declared in the package at path with one of the names.
func in(obj types.Object, path string, names ...string) bool {
	if obj == nil || obj.Pkg() == nil || obj.Pkg().Path() != path {
		return false
	}
	for _, name := range names {
		if obj.Name() == name {
			return true
		}
	}
	return false
}

// under returns what the call runs under a lease.
func (p *pkg) under(call *ast.CallExpr) (all []guarded) {
	callee := typeutil.Callee(p.TypesInfo, call)
	var name string
	var http bool
	switch {
	case callee != nil && callee.Pkg() != nil && in(callee, callee.Pkg().Path(), entries[callee.Pkg().Path()]...):
		name = callee.Pkg().Name() + "." + callee.Name()
	case in(callee, "github.com/hibiken/asynq", "HandleFunc", "Handle"):
		sel, ok := ast.Unparen(call.Fun).(*ast.SelectorExpr)
		if !ok || !p.muxes[p.root(sel.X)] {
			return nil
		}
		name = "asynqmw.Handler"
	case p.isHTTP(call.Fun):
		name, http = "httpmw", true
	default:
		return nil
	}
	for _, arg := range call.Args {
		fn := p.function(arg)
		if fn == nil {
			continue
		}
		ctx, takes := p.context(fn)
		if takes || http {
			all = append(all, guarded{name: name, call: call, arg: arg, fn: fn, ctx: ctx, http: http})
		}
	}
	return all
}

// isHTTP reports whether fun is a middleware of httpmw.
func (p *pkg) isHTTP(fun ast.Expr) bool {
	fun = ast.Unparen(fun)
	if id, ok := fun.(*ast.Ident); ok {
		fun = p.values[p.TypesInfo.Uses[id]]
	}
	call, ok := fun.(*ast.CallExpr)
	return ok && in(typeutil.Callee(p.TypesInfo, call), guardPath+"/httpmw", "New")
}

// function finds the body of what is passed: a literal, a function or method of this
// package, also converted or instantiated. nil if it is not here.
func (p *pkg) function(e ast.Expr) ast.Node {
	switch e := ast.Unparen(e).(type) {
	case *ast.FuncLit:
		return e
	case *ast.IndexExpr:
		return p.function(e.X)
	case *ast.IndexListExpr:
		return p.function(e.X)
	case *ast.CallExpr: // a conversion, as http.HandlerFunc(f)
		if p.TypesInfo.Types[e.Fun].IsType() && len(e.Args) == 1 {
			return p.function(e.Args[0])
		}
	case *ast.SelectorExpr:
		return p.named(p.TypesInfo.Uses[e.Sel])
	case *ast.Ident:
		return p.named(p.TypesInfo.Uses[e])
	}
	return nil
}

func (p *pkg) named(obj types.Object) ast.Node {
	if f, ok := obj.(*types.Func); ok {
		if decl := p.decls[f.Origin()]; decl != nil && decl.Body != nil {
			return decl
		}
		return nil
	}
	if lit, ok := p.values[obj].(*ast.FuncLit); ok {
		return lit
	}
	return nil
}

// context returns the first parameter if it is a context, and has a name.
func (p *pkg) context(fn ast.Node) (obj types.Object, takes bool) {
	params := signature(fn).Params.List
	if len(params) == 0 || !isContext(p.TypesInfo.TypeOf(params[0].Type)) {
		return nil, false
	}
	if len(params[0].Names) == 0 || params[0].Names[0].Name == "_" {
		return nil, true
	}
	return p.TypesInfo.Defs[params[0].Names[0]], true
}

func signature(fn ast.Node) *ast.FuncType {
	if lit, ok := fn.(*ast.FuncLit); ok {
		return lit.Type
	}
	return fn.(*ast.FuncDecl).Type //nolint:forcetypeassert // it is one of the two
}

// body returns that of a function, nil of anything else.
func body(n ast.Node) *ast.BlockStmt {
	switch n := n.(type) {
	case *ast.FuncLit:
		return n.Body
	case *ast.FuncDecl:
		return n.Body
	}
	return nil
}

// root is the variable that a chain of selectors begins with.
func (p *pkg) root(e ast.Expr) types.Object {
	switch e := ast.Unparen(e).(type) {
	case *ast.Ident:
		return p.TypesInfo.ObjectOf(e)
	case *ast.SelectorExpr:
		if id, ok := e.X.(*ast.Ident); ok {
			if _, isPkg := p.TypesInfo.Uses[id].(*types.PkgName); isPkg {
				return p.TypesInfo.Uses[e.Sel]
			}
		}
		return p.root(e.X)
	case *ast.UnaryExpr:
		return p.root(e.X)
	case *ast.StarExpr:
		return p.root(e.X)
	}
	return nil
}

func isContext(t types.Type) bool {
	named, ok := types.Unalias(t).(*types.Named)
	return ok && in(named.Obj(), "context", "Context")
}

// each calls f for each node of the run, but for what other entries run: they are
// looked at by themselves.
func (p *pkg) each(r guarded, f func(n ast.Node) bool) {
	others := map[ast.Node]bool{}
	ast.Inspect(body(r.fn), func(n ast.Node) bool {
		if others[n] {
			return false
		}
		if call, ok := n.(*ast.CallExpr); ok {
			for _, other := range p.under(call) {
				others[other.fn] = true
			}
		}
		return n == nil || f(n)
	})
}

// contains reports whether obj is declared in n.
func contains(n ast.Node, obj types.Object) bool {
	return obj.Pos() >= n.Pos() && obj.Pos() < n.End()
}
