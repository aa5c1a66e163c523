package apiserver

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"nau/internal/api"
	"nau/internal/apiserver/identity"
	"nau/internal/apiserver/wire"
)

// call is one request on its way through the pipeline. It belongs to the goroutine that serves it.
type call struct {
	srv   *Server
	w     *recorder
	r     *http.Request
	ctx   context.Context
	start time.Time
	info  requestInfo
	query url.Values
	user  *identity.User

	// ep and sub are set when the path names a resource that is served.
	ep     *endpoint
	sub    *api.Subresource
	accept wire.Accept

	warned map[string]bool
	cancel context.CancelFunc
	done   func() // gives back a place in flight
}

// namespace is where the request's objects live; empty for cluster-scoped resources and requests across namespaces.
func (c *call) namespace() string {
	if c.ep != nil && !c.ep.res.Namespaced {
		return ""
	}
	return c.info.Namespace
}

// warn adds a Warning header (RFC 7234, 299). Each text is sent once, and so many as fit into sane headers.
func (c *call) warn(text string) {
	if text == "" || c.warned[text] || c.w.wrote {
		return
	}
	if c.warned == nil {
		c.warned = map[string]bool{}
	}
	if len(c.warned) >= 64 {
		return
	}
	c.warned[text] = true
	c.w.Header().Add("Warning", `299 - "`+quoteWarning(text)+`"`)
}

func quoteWarning(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f || r == utf8.RuneError:
			b.WriteByte(' ')
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// pretty tells whether the client asked for indented JSON.
func (c *call) pretty() bool {
	if len(c.query) == 0 {
		return false
	}
	v := c.query.Get("pretty")
	return v != "" && v != "0" && v != "false"
}

// body reads the request's body within the limit.
func (c *call) body() ([]byte, error) {
	limit := c.srv.maxBody
	if c.r.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	var data []byte
	var err error
	if n := c.r.ContentLength; n > 0 {
		data = make([]byte, n)
		_, err = io.ReadFull(c.r.Body, data)
	} else if c.r.Body != nil {
		data, err = io.ReadAll(io.LimitReader(c.r.Body, limit+1))
		if int64(len(data)) > limit {
			return nil, tooLarge(limit)
		}
	}
	if err != nil {
		return nil, apierrors.NewBadRequest("read request body: " + err.Error())
	}
	return data, nil
}

func tooLarge(limit int64) error {
	return apierrors.NewRequestEntityTooLargeError("limit is " + strconv.FormatInt(limit, 10))
}

// owner is who owns the fields that the request sets: what it says, or the first word of the User-Agent.
func (c *call) owner(asked string) string {
	if asked != "" {
		return asked
	}
	agent, _, _ := strings.Cut(c.r.UserAgent(), "/")
	if len(agent) > 128 {
		agent = agent[:128]
	}
	return strings.ToValidUTF8(agent, "")
}

// gr names the resource in errors.
func (c *call) gr() schema.GroupResource {
	return schema.GroupResource{Group: c.info.Group, Resource: c.info.Resource}
}

// recorder remembers what became of the response.
type recorder struct {
	http.ResponseWriter
	code  int
	wrote bool
	bytes int64
}

func (w *recorder) WriteHeader(code int) {
	if w.wrote && w.code >= 200 {
		return
	}
	w.code, w.wrote = code, true
	w.ResponseWriter.WriteHeader(code)
}

func (w *recorder) Write(b []byte) (int, error) {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController find the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Flush sends what is buffered.
func (w *recorder) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }

// now is the time as the API writes it: seconds.
func (s *Server) now() metav1.Time { return metav1.NewTime(s.clock().Truncate(time.Second)) }
