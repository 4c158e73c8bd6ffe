package api

import (
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
)

// router finds the route of a request. It is the one place that knows the
// library which does.
func router(serve func(http.ResponseWriter, *http.Request, *route, func(string) string, string), refuse func(http.ResponseWriter, *http.Request, error)) http.Handler {
	e := echo.New()
	e.IPExtractor = echo.ExtractIPDirect()
	e.HTTPErrorHandler = func(err error, c echo.Context) {
		status := http.StatusNotFound
		if he, ok := err.(*echo.HTTPError); ok {
			status = he.Code
		}
		if allow, ok := c.Get(echo.ContextKeyHeaderAllow).(string); ok && status == http.StatusMethodNotAllowed {
			c.Response().Header().Set("Allow", strings.TrimPrefix(allow, "OPTIONS, "))
		}
		refuse(c.Response(), c.Request(), problem(status, codeOf(status), ""))
	}
	names := strings.NewReplacer("{", ":", "}", "")
	for i := range routes {
		r := &routes[i]
		handle := func(c echo.Context) error {
			// The writer that the server gave: what bounds a body has to know it.
			serve(c.Response().Writer, c.Request(), r, c.Param, c.RealIP())
			return nil
		}
		e.Add(r.method, names.Replace(r.path), handle)
		if r.method == http.MethodGet {
			e.HEAD(names.Replace(r.path), handle)
		}
	}
	return e
}
