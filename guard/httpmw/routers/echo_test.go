package routers

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/httpmw"
)

func route(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		w, r := c.Response(), c.Request()
		defer func() { c.SetResponse(w); c.SetRequest(r) }()
		for _, name := range c.ParamNames() {
			r.SetPathValue(name, c.Param(name))
		}
		r.Pattern = c.Path()
		return next(c)
	}
}

func serveEcho(g *guard.Guard, h http.HandlerFunc, seen func(outcome)) http.Handler {
	return echoes(g, func(c echo.Context) error {
		h(c.Response(), c.Request())
		return nil
	}, seen)
}

func echoes(g *guard.Guard, sell echo.HandlerFunc, seen func(outcome)) http.Handler {
	e := echo.New()
	e.Logger.SetOutput(io.Discard)
	e.Use(func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			if err := next(c); err != nil {
				c.Error(err) // as echo's logger does
			}
			w := c.Response()
			seen(outcome{status: w.Status, size: int(w.Size), written: w.Committed, left: c.Request().Context().Err()})
			return nil
		}
	}, middleware.Recover())
	if g == nil {
		e.POST("/stock/:sku", sell)
		return e
	}
	e.POST("/stock/:sku", sell, route, echo.WrapMiddleware(httpmw.New(g, httpmw.PathValue("sku"))))
	return e
}

func TestEchoIsTheSameBehindTheGuard(t *testing.T) {
	for name, h := range map[string]echo.HandlerFunc{
		"nothing":          func(echo.Context) error { return nil },
		"JSON":             func(c echo.Context) error { return c.JSON(http.StatusCreated, echo.Map{"sku": c.Param("sku")}) },
		"NoContent":        func(c echo.Context) error { return c.NoContent(http.StatusNoContent) },
		"Redirect":         func(c echo.Context) error { return c.Redirect(http.StatusSeeOther, "/") },
		"Stream":           func(c echo.Context) error { return c.Stream(200, "text/plain", strings.NewReader("done")) },
		"File":             func(c echo.Context) error { return c.File("doc.go") },
		"error":            func(echo.Context) error { return errors.New("failed") },
		"HTTPError":        func(echo.Context) error { return echo.NewHTTPError(http.StatusNotFound, "no such thing") },
		"panic":            func(echo.Context) error { panic("boom") },
		"answer and error": func(c echo.Context) error { return errors.Join(c.String(http.StatusAccepted, "done"), io.EOF) },
		"announced length": func(c echo.Context) error {
			c.Response().Header().Set(echo.HeaderContentLength, "4")
			return c.String(http.StatusOK, "done")
		},
		"before and after": func(c echo.Context) error {
			c.Response().Before(func() { c.Response().Header().Set("X-Before", "yes") })
			return c.String(http.StatusOK, "done")
		},
	} {
		t.Run(name, func(t *testing.T) {
			sameAsBare(t, func(g *guard.Guard, seen func(outcome)) http.Handler { return echoes(g, h, seen) })
		})
	}
}

// Most handlers return the error that their context caused.
func TestEchoErrorAfterALossIsNotAnsweredTwice(t *testing.T) {
	var w *world
	w = newWorld(t, func(world *world, g *guard.Guard) http.Handler {
		return echoes(g, func(c echo.Context) error {
			w.lose(c.Request().Context())
			return c.Request().Context().Err()
		}, world.report)
	})
	w.post(path).isProblem(t, http.StatusServiceUnavailable, "")
	if got := w.outside(); got.status != http.StatusServiceUnavailable {
		t.Errorf("outside: %+v", got)
	}
}

func TestEchoMiddlewareBehindTheGuardRunsWithTheHandler(t *testing.T) {
	runs := 0
	w := newWorld(t, func(_ *world, g *guard.Guard) http.Handler {
		e := echo.New()
		behind := func(next echo.HandlerFunc) echo.HandlerFunc {
			return func(c echo.Context) error {
				runs++
				return next(c)
			}
		}
		sell := func(c echo.Context) error {
			runs += 10
			return c.NoContent(http.StatusOK)
		}
		e.POST("/stock/:sku", sell, route, echo.WrapMiddleware(httpmw.New(g, httpmw.PathValue("sku"))), behind)
		return e
	})
	w.post(path).is(t, http.StatusOK, "")
	w.store.Hold(key, "rival")
	w.post(path).isProblem(t, http.StatusConflict, "1")
	if runs != 11 {
		t.Errorf("runs %d", runs)
	}
}

func TestEchoDecodesPathValuesWithoutRawPath(t *testing.T) {
	decodes(t, func(g *guard.Guard, before func(*http.Request), seen func(string)) http.Handler {
		e := echo.New()
		e.Pre(func(next echo.HandlerFunc) echo.HandlerFunc {
			return func(c echo.Context) error {
				before(c.Request())
				return next(c)
			}
		})
		e.POST("/stock/:sku", func(c echo.Context) error {
			seen(c.Param("sku"))
			return nil
		}, route, echo.WrapMiddleware(httpmw.New(g, httpmw.PathValue("sku"))))
		return e
	})
}
