package routers

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/httpmw"
)

func once(e *gin.Engine, mw func(http.Handler) http.Handler, h gin.HandlerFunc) gin.HandlerFunc {
	return func(c *gin.Context) {
		w, r := c.Writer, c.Request
		defer func() { c.Writer, c.Request = w, r }()
		for _, p := range c.Params {
			r.SetPathValue(p.Key, p.Value)
		}
		r.Pattern = c.FullPath()
		mw(http.HandlerFunc(func(gated http.ResponseWriter, held *http.Request) {
			c.Writer, c.Request = gin.CreateTestContextOnly(gated, e).Writer, held
			c.Status(w.Status())
			h(c)
			w.WriteHeader(c.Writer.Status()) // middlewares further out look at it,
			if c.Writer.Written() {          // and at Written
				gated.Write(nil)
			}
		})).ServeHTTP(w, r)
	}
}

func serveGin(g *guard.Guard, h http.HandlerFunc, seen func(outcome)) http.Handler {
	return engine(g, func(c *gin.Context) { h(c.Writer, c.Request) }, seen)
}

func engine(g *guard.Guard, sell gin.HandlerFunc, seen func(outcome)) http.Handler {
	gin.SetMode(gin.ReleaseMode)
	e := gin.New()
	e.Use(func(c *gin.Context) {
		r := c.Request
		c.Next()
		if c.Request != r {
			panic("gin keeps the request of the run")
		}
		seen(outcome{c.Writer.Status(), c.Writer.Size(), c.Writer.Written(), c.IsAborted(), c.Request.Context().Err()})
	}, gin.RecoveryWithWriter(io.Discard), func(c *gin.Context) {
		c.Next() // and answers for handlers that leave their errors to it
		if len(c.Errors) > 0 && !c.Writer.Written() {
			c.JSON(http.StatusTeapot, gin.H{"error": c.Errors.Last().Error()})
		}
	})
	if g == nil {
		e.POST("/stock/:sku", sell)
		return e
	}
	e.POST("/stock/:sku", once(e, httpmw.New(g, httpmw.PathValue("sku")), sell))
	return e
}

func TestGinIsTheSameBehindTheGuard(t *testing.T) {
	failed := errors.New("failed")
	for name, h := range map[string]gin.HandlerFunc{
		"nothing":          func(*gin.Context) {},
		"JSON":             func(c *gin.Context) { c.JSON(http.StatusCreated, gin.H{"sku": c.Param("sku")}) },
		"writer":           func(c *gin.Context) { _, _ = c.Writer.WriteString("done") },
		"Status":           func(c *gin.Context) { c.Status(http.StatusNoContent) },
		"JSON of no body":  func(c *gin.Context) { c.JSON(http.StatusNoContent, nil) },
		"Redirect":         func(c *gin.Context) { c.Redirect(http.StatusSeeOther, "/") },
		"AbortWithStatus":  func(c *gin.Context) { c.AbortWithStatus(http.StatusNotFound) },
		"AbortWithError":   func(c *gin.Context) { _ = c.AbortWithError(http.StatusNotFound, failed) },
		"error to outside": func(c *gin.Context) { _ = c.Error(failed) },
		"announced length": func(c *gin.Context) { c.DataFromReader(200, 4, "text/plain", strings.NewReader("done"), nil) },
		"File":             func(c *gin.Context) { c.File("doc.go") },
		"panic":            func(*gin.Context) { panic("boom") },
		"panic after all":  func(c *gin.Context) { c.Status(http.StatusAccepted); panic("boom") },
		"events": func(c *gin.Context) {
			n := 0
			c.Stream(func(io.Writer) bool {
				n++
				c.SSEvent("tick", n)
				return n < 3
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			sameAsBare(t, func(g *guard.Guard, seen func(outcome)) http.Handler { return engine(g, h, seen) })
		})
	}
}

func TestGinStatusOfAMiddlewareFurtherOutStays(t *testing.T) {
	w := newWorld(t, func(_ *world, g *guard.Guard) http.Handler {
		e := gin.New()
		accept := func(c *gin.Context) { c.Status(http.StatusAccepted) }
		sell := func(c *gin.Context) { _, _ = c.Writer.WriteString("done") }
		e.POST("/stock/:sku", accept, once(e, httpmw.New(g, httpmw.PathValue("sku")), sell))
		return e
	})
	w.post(path).is(t, http.StatusAccepted, "done")
}

// TestGinStatusIsNoHeaderSent: gin keeps it until there is a body.
func TestGinStatusIsNoHeaderSent(t *testing.T) {
	var w *world
	w = newWorld(t, func(world *world, g *guard.Guard) http.Handler {
		return engine(g, func(c *gin.Context) {
			c.Status(http.StatusCreated)
			w.lose(c.Request.Context())
		}, world.report)
	})
	w.post(path).isProblem(t, http.StatusServiceUnavailable, "")
}
