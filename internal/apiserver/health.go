package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// health answers /livez, /readyz and /healthz: one path a check, all of them together, and a list with ?verbose.
type health struct {
	healthy  func(context.Context) error // of the store; nil: there is none
	extra    map[string]func() error
	stopping atomic.Bool
}

type check struct {
	name string
	run  func(context.Context) error
}

// checks are ping, the store and the configured ones; readiness adds that the server is not stopping.
func (h *health) checks(more map[string]func() error) []check {
	list := []check{
		{"ping", func(context.Context) error { return nil }},
		{"etcd", h.etcd},
	}
	for _, name := range sortedKeys(more) {
		f := more[name]
		list = append(list, check{name, func(context.Context) error { return f() }})
	}
	return list
}

// storeAnswers is how long the store may take to answer a check: who asks for health shall not hang with a store that does.
const storeAnswers = 2 * time.Second

func (h *health) etcd(ctx context.Context) error {
	if h.healthy == nil {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, storeAnswers, fmt.Errorf("the store has not answered within %s", storeAnswers))
	defer cancel()
	if err := h.healthy(ctx); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	return nil
}

func (h *health) serve(c *call, endpoint string) error {
	more := map[string]func() error{}
	if endpoint != "livez" {
		for n, f := range h.extra {
			more[n] = f
		}
	}
	list := h.checks(more)
	if endpoint == "readyz" {
		list = append(list, check{"shutdown", func(context.Context) error {
			if h.stopping.Load() {
				return errors.New("process is shutting down")
			}
			return nil
		}})
	}
	one := strings.Trim(strings.TrimPrefix(c.info.Path, "/"+endpoint), "/")
	if one != "" {
		i := slices.IndexFunc(list, func(k check) bool { return k.name == one })
		if i < 0 {
			notFoundPage(c)
			return nil
		}
		if err := list[i].run(c.ctx); err != nil {
			return plainText(c, http.StatusInternalServerError, fmt.Sprintf("internal server error: %v\n", err))
		}
		return plainText(c, http.StatusOK, "ok")
	}
	excluded := c.query["exclude"]
	var out strings.Builder
	failed := false
	for _, k := range list {
		if slices.Contains(excluded, k.name) {
			fmt.Fprintf(&out, "[+]%s excluded: ok\n", k.name)
			continue
		}
		if err := k.run(c.ctx); err != nil {
			failed = true
			c.srv.log.Warn("health check failed", "check", k.name, "endpoint", endpoint, "cause", err)
			fmt.Fprintf(&out, "[-]%s failed: reason withheld\n", k.name)
			continue
		}
		fmt.Fprintf(&out, "[+]%s ok\n", k.name)
	}
	if failed {
		fmt.Fprintf(&out, "%s check failed\n", endpoint)
		return plainText(c, http.StatusInternalServerError, out.String())
	}
	if _, verbose := c.query["verbose"]; verbose {
		fmt.Fprintf(&out, "%s check passed\n", endpoint)
		return plainText(c, http.StatusOK, out.String())
	}
	return plainText(c, http.StatusOK, "ok")
}

func plainText(c *call, code int, text string) error {
	c.w.Header().Set("X-Content-Type-Options", "nosniff")
	return c.respondBytes(code, "text/plain; charset=utf-8", []byte(text))
}

// Stopping makes /readyz fail, so that load balancers look elsewhere while requests still finish.
func (s *Server) Stopping() { s.health.stopping.Store(true) }

// Drain ends all watches, so that connections can close; clients watch on at another server, or at this one's successor.
func (s *Server) Drain() {
	s.Stopping()
	s.end()
}
