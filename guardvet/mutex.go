package guardvet

import (
	"go/ast"
	"go/token"
	"go/types"

	"golang.org/x/tools/go/types/typeutil"
)

// locking is a call of Lock or Unlock, or their R forms.
type locking struct {
	pos      token.Pos
	id       mutexID
	text     string
	lock     bool
	shared   bool // RLock, RUnlock
	deferred bool
}

// mutex reports an entry that is called under a mutex which fn takes too. around is the
// function that calls it.
func (p *pkg) mutex(r guarded, around ast.Node) {
	held := map[mutexID]locking{}
	for _, l := range p.lockings(body(around)) {
		if l.pos > r.call.Pos() {
			break
		}
		if l.lock {
			held[l.id] = l
		} else if !l.deferred {
			delete(held, l.id)
		}
	}
	if len(held) == 0 {
		return
	}
	for _, l := range p.lockings(body(r.fn)) {
		if !l.lock {
			continue
		}
		l.id.root = p.caller(r, l.id.root)
		if h, ok := held[l.id]; ok && (!h.shared || !l.shared) {
			p.Reportf(r.call.Pos(), "%s is called while %s is held, which the function that it runs locks too: it waits for ever, and keeps the key; call it without the mutex", r.name, h.text)
			return
		}
	}
}

// mutexID is a mutex: a variable, and the fields from it.
type mutexID struct {
	root types.Object
	path string
}

// caller is what the receiver of a method is where its value is passed: of s.work, s.
func (p *pkg) caller(r guarded, root types.Object) types.Object {
	decl, ok := r.fn.(*ast.FuncDecl)
	if !ok || decl.Recv == nil || len(decl.Recv.List[0].Names) == 0 || p.TypesInfo.Defs[decl.Recv.List[0].Names[0]] != root {
		return root
	}
	if sel, ok := ast.Unparen(r.arg).(*ast.SelectorExpr); ok {
		if id, ok := ast.Unparen(sel.X).(*ast.Ident); ok {
			return p.TypesInfo.Uses[id]
		}
	}
	return nil
}

// lockings are those of a function in order, without those of the functions in it.
func (p *pkg) lockings(in *ast.BlockStmt) (all []locking) {
	deferred := map[*ast.CallExpr]bool{}
	ast.Inspect(in, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			return false
		case *ast.DeferStmt:
			deferred[n.Call] = true
		case *ast.CallExpr:
			if l, ok := p.locking(n); ok {
				l.deferred = deferred[n]
				all = append(all, l)
			}
		}
		return true
	})
	return all
}

func (p *pkg) locking(call *ast.CallExpr) (l locking, ok bool) {
	callee := typeutil.Callee(p.TypesInfo, call)
	if !in(callee, "sync", "Lock", "Unlock", "RLock", "RUnlock") {
		return l, false
	}
	sel, ok := ast.Unparen(call.Fun).(*ast.SelectorExpr)
	if !ok {
		return l, false
	}
	l = locking{pos: call.Pos(), text: types.ExprString(sel.X)}
	l.lock = callee.Name() == "Lock" || callee.Name() == "RLock"
	l.shared = callee.Name()[0] == 'R'
	e := ast.Unparen(sel.X)
	for {
		field, ok := e.(*ast.SelectorExpr)
		if !ok {
			break
		}
		l.id.path = "." + field.Sel.Name + l.id.path
		e = ast.Unparen(field.X)
	}
	if id, ok := e.(*ast.Ident); ok {
		l.id.root = p.TypesInfo.Uses[id]
	}
	return l, l.id.root != nil
}
