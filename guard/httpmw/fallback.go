package httpmw

import "net/http"

// orProblem calls f, and Problem if f has answered nothing.
func orProblem(f func(http.ResponseWriter, *http.Request, error)) func(http.ResponseWriter, *http.Request, error) {
	return func(w http.ResponseWriter, r *http.Request, err error) {
		res := newResponse(w, r, "")
		res.over = true // the gate is open and only records what passes
		f(res.wrap(w), r, err)
		res.mu.Lock()
		answered := res.sent || res.hijacked
		res.mu.Unlock()
		if !answered {
			Problem(w, r, err)
		}
	}
}
