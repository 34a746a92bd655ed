package routers

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	chimw "github.com/go-chi/chi/v5/middleware"
	"github.com/labstack/echo/v4"
	echomw "github.com/labstack/echo/v4/middleware"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/httpmw"
)

// gin's writer and those that compress refuse Hijack when there is a body.
func TestEndOfTheConnectionIsNotTheEndOfALostResponse(t *testing.T) {
	serve := map[string]func(g *guard.Guard, h http.HandlerFunc, seen func(outcome)) http.Handler{
		"gin, without recovery": func(g *guard.Guard, h http.HandlerFunc, _ func(outcome)) http.Handler {
			gin.SetMode(gin.ReleaseMode)
			e := gin.New()
			sell := func(c *gin.Context) { h(c.Writer, c.Request) }
			e.POST("/stock/:sku", once(e, httpmw.New(g, httpmw.PathValue("sku")), sell))
			return e
		},
		"chi, compressing": func(g *guard.Guard, h http.HandlerFunc, _ func(outcome)) http.Handler {
			r := chi.NewRouter()
			r.Use(chimw.Compress(5, "text/plain"))
			r.With(httpmw.New(g, httpmw.PathValue("sku"))).Post("/stock/{sku}", h)
			return r
		},
		"echo, compressing": func(g *guard.Guard, h http.HandlerFunc, _ func(outcome)) http.Handler {
			e := echo.New()
			e.Logger.SetOutput(io.Discard)
			sell := func(c echo.Context) error {
				h(c.Response(), c.Request())
				return nil
			}
			e.POST("/stock/:sku", sell, echomw.Gzip(), route, echo.WrapMiddleware(httpmw.New(g, httpmw.PathValue("sku"))))
			return e
		},
	}
	for name, r := range routers {
		serve[name] = r.serve
	}
	for name, serve := range serve {
		for _, seen := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, seen %v", name, seen), func(t *testing.T) {
				over := make(chan struct{})
				var w *world
				w = newWorld(t, func(world *world, g *guard.Guard) http.Handler {
					h := serve(g, func(rw http.ResponseWriter, r *http.Request) {
						rw.Header().Set("Content-Type", "text/plain")
						_, _ = io.WriteString(rw, "half")
						rw.(http.Flusher).Flush()
						if seen {
							w.lose(r.Context())
						} else {
							w.store.Hold(key, "thief")
						}
					}, world.report)
					return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
						defer close(over)
						h.ServeHTTP(rw, r)
					})
				})
				conn := w.dial()
				fmt.Fprintf(conn, "POST %s HTTP/1.0\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n", path)
				if b, err := io.ReadAll(conn); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("no reset after %q, but %v", b, err)
				}
				<-over
				if s := w.log.take(); s != "" && !strings.Contains(s, "Write on hijacked connection") { // the end of a compressor
					t.Errorf("net/http complained: %s", s)
				}
			})
		}
	}
}
