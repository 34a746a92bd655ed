package httpmw

import "net/http"

// orProblem has Problem answer what f has left without an answer.
func orProblem(f func(http.ResponseWriter, *http.Request, error)) func(http.ResponseWriter, *http.Request, error) {
	return func(w http.ResponseWriter, r *http.Request, err error) {
		res := newResponse(w, r, "")
		res.over = true // the gate is open and only notes what passes
		f(res.wrap(w), r, err)
		res.mu.Lock()
		answered := res.sent || res.hijacked
		res.mu.Unlock()
		if !answered {
			Problem(w, r, err)
		}
	}
}
