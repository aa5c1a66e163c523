package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming"

	"nau/internal/nodeagent/logs"
)

// Backend is what the server tells about.
type Backend interface {
	Pods() []*corev1.Pod
	Sandbox(namespace, pod, uid string) (id string, err error)
	Container(namespace, pod, uid, name string) (id string, tty bool, err error)
	Log(namespace, pod, container string, previous bool) (path string, ended <-chan struct{}, err error)
	ReadLog(ctx context.Context, path string, o logs.Options, ended <-chan struct{}, w Flusher) error
	Metrics(emit func(name, help, kind string, value float64, labels ...string))
	Probes(emit func(probe, result string, n int64))
	Config() any
	Healthy(ctx context.Context) error
}

// Flusher sends each write on at once.
type Flusher interface{ io.Writer }

// Error is an error with the HTTP status that it means.
type Error struct {
	Code    int
	Message string
}

func (e *Error) Error() string { return e.Message }

// Config is what a server is made of.
type Config struct {
	Node         string
	Backend      Backend
	Runtime      runtimeapi.RuntimeServiceClient
	Streamer     streaming.Runtime // nil: the runtime's own addresses are dialled
	Log          *slog.Logger
	Logs         string // directory that /logs shows
	Authenticate func(*http.Request) (*Who, bool, error)
	Authorize    func(context.Context, Ask) (bool, string, error)
}

type handler struct {
	Config
	mux *http.ServeMux
}

// New returns the node's API.
func New(c Config) http.Handler {
	h := &handler{Config: c, mux: http.NewServeMux()}
	h.mux.HandleFunc("/healthz", h.healthz)
	h.mux.HandleFunc("/healthz/{what}", h.healthz)
	h.mux.HandleFunc("GET /pods", h.pods)
	h.mux.HandleFunc("GET /pods/", h.pods)
	h.mux.HandleFunc("GET /runningpods/", h.pods)
	h.mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", h.containerLogs)
	for _, prefix := range []string{"exec", "attach"} {
		serve := h.exec
		if prefix == "attach" {
			serve = h.attach
		}
		h.mux.HandleFunc("/"+prefix+"/{namespace}/{pod}/{container}", serve)
		h.mux.HandleFunc("/"+prefix+"/{namespace}/{pod}/{uid}/{container}", serve)
	}
	h.mux.HandleFunc("/portForward/{namespace}/{pod}", h.portForward)
	h.mux.HandleFunc("/portForward/{namespace}/{pod}/{uid}", h.portForward)
	h.mux.HandleFunc("POST /run/{namespace}/{pod}/{container}", h.run)
	h.mux.HandleFunc("POST /run/{namespace}/{pod}/{uid}/{container}", h.run)
	h.mux.HandleFunc("GET /metrics", h.metrics)
	h.mux.HandleFunc("GET /metrics/resource", h.resourceMetrics)
	h.mux.HandleFunc("GET /metrics/probes", h.probeMetrics)
	h.mux.HandleFunc("GET /metrics/cadvisor", h.resourceMetrics)
	h.mux.HandleFunc("GET /stats/summary", h.summary)
	h.mux.HandleFunc("GET /stats/", h.summary)
	h.mux.HandleFunc("GET /configz", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, h.Backend.Config()) })
	h.mux.Handle("GET /logs/", http.StripPrefix("/logs/", http.FileServer(noLinks(c.Logs))))
	return h
}

// ServeHTTP lets nobody in who is not known and allowed.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	who, ok, err := h.Authenticate(r)
	if err != nil || !ok {
		if err != nil {
			h.Log.Info("authenticate caller of the node's API", "remote", r.RemoteAddr, "err", err)
		}
		http.Error(w, "Unauthorized", http.StatusUnauthorized)
		return
	}
	var last string
	for _, q := range asks(r, h.Node) {
		q.Who = who
		allowed, reason, err := h.Authorize(r.Context(), q)
		if err != nil {
			h.Log.Warn("authorize caller of the node's API", "user", who.Name, "err", err)
			http.Error(w, fmt.Sprintf("Authorization error (user=%s, verb=%s, resource=nodes, subresource=%s)", who.Name, q.Verb, q.Subresource), http.StatusInternalServerError)
			return
		}
		if allowed {
			h.mux.ServeHTTP(w, r)
			return
		}
		last = fmt.Sprintf("Forbidden (user=%s, verb=%s, resource=nodes, subresource(s)=[%s]) %s", who.Name, q.Verb, q.Subresource, reason)
	}
	http.Error(w, strings.TrimSpace(last), http.StatusForbidden)
}

// asks are the questions of which one has to be answered yes: the finest first, then nodes/proxy, which covers all.
// Source: "Kubelet authentication/authorization", KEP-2862.
func asks(r *http.Request, node string) []Ask {
	verb := map[string]string{http.MethodPost: "create", http.MethodGet: "get", http.MethodHead: "get", http.MethodPut: "update", http.MethodPatch: "patch", http.MethodDelete: "delete"}[r.Method]
	p := path.Clean("/" + r.URL.Path)
	under := func(prefix string) bool { return p == prefix || strings.HasPrefix(p, prefix+"/") }
	var subs []string
	switch {
	case under("/stats"):
		return []Ask{{Verb: verb, Node: node, Subresource: "stats", Path: p}}
	case under("/metrics"):
		return []Ask{{Verb: verb, Node: node, Subresource: "metrics", Path: p}}
	case under("/logs"):
		return []Ask{{Verb: verb, Node: node, Subresource: "log", Path: p}}
	case under("/pods"), under("/runningpods"):
		subs = []string{"pods", "proxy"}
	case under("/healthz"):
		subs = []string{"healthz", "proxy"}
	case under("/configz"):
		subs = []string{"configz", "proxy"}
	default:
		subs = []string{"proxy"}
	}
	var out []Ask
	for _, s := range subs {
		out = append(out, Ask{Verb: verb, Node: node, Subresource: s, Path: p})
	}
	return out
}

func (h *handler) fail(w http.ResponseWriter, err error) {
	var e *Error
	if errors.As(err, &e) {
		http.Error(w, e.Message, e.Code)
		return
	}
	http.Error(w, err.Error(), http.StatusInternalServerError)
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func (h *handler) healthz(w http.ResponseWriter, r *http.Request) {
	if err := h.Backend.Healthy(r.Context()); err != nil {
		http.Error(w, "container runtime is down: "+err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = io.WriteString(w, "ok")
}

func (h *handler) pods(w http.ResponseWriter, _ *http.Request) {
	list := &corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}, Items: []corev1.Pod{}}
	for _, p := range h.Backend.Pods() {
		list.Items = append(list.Items, *p)
	}
	writeJSON(w, list)
}

func (h *handler) containerLogs(w http.ResponseWriter, r *http.Request) {
	o, previous, err := logOptions(r, time.Now())
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	file, ended, err := h.Backend.Log(r.PathValue("namespace"), r.PathValue("pod"), r.PathValue("container"), previous)
	if err != nil {
		h.fail(w, err)
		return
	}
	out := &flushed{w: w}
	if f, ok := w.(http.Flusher); ok && o.Follow {
		out.flush = f.Flush
	}
	w.Header().Set("Content-Type", "text/plain")
	if out.flush != nil {
		w.WriteHeader(http.StatusOK)
		out.flush()
	}
	if err := h.Backend.ReadLog(r.Context(), file, o, ended, out); err != nil && !out.written && out.flush == nil && r.Context().Err() == nil {
		h.fail(w, err)
	}
}

type flushed struct {
	w       io.Writer
	flush   func()
	written bool
}

func (f *flushed) Write(b []byte) (int, error) {
	f.written = true
	n, err := f.w.Write(b)
	if f.flush != nil {
		f.flush()
	}
	return n, err
}

// logOptions reads a PodLogOptions from a query.
func logOptions(r *http.Request, now time.Time) (o logs.Options, previous bool, err error) {
	q := r.URL.Query()
	o.Tail = -1
	flag := func(name string) bool {
		v, perr := strconv.ParseBool(q.Get(name))
		if q.Get(name) != "" && perr != nil {
			err = errors.Join(err, fmt.Errorf("%s: %q is not true or false", name, q.Get(name)))
		}
		return v
	}
	number := func(name string, least int64) (int64, bool) {
		if q.Get(name) == "" {
			return 0, false
		}
		n, perr := strconv.ParseInt(q.Get(name), 10, 64)
		if perr != nil || n < least {
			err = errors.Join(err, fmt.Errorf("%s: must be a number, %d at least", name, least))
			return 0, false
		}
		return n, true
	}
	o.Follow, previous, o.Timestamps = flag("follow"), flag("previous"), flag("timestamps")
	for _, name := range []string{"tailLines", "tail"} {
		if n, ok := number(name, 0); ok {
			o.Tail = n
		}
	}
	if n, ok := number("limitBytes", 1); ok {
		o.Limit = n
	}
	if n, ok := number("sinceSeconds", 1); ok {
		o.Since = now.Add(-time.Duration(n) * time.Second)
	}
	if v := q.Get("sinceTime"); v != "" {
		t, perr := time.Parse(time.RFC3339, v)
		if perr != nil {
			err = errors.Join(err, fmt.Errorf("sinceTime: %q is not an RFC 3339 time", v))
		}
		o.Since = t
	}
	if v := q.Get("stream"); v != "" {
		if v != "All" && v != "Stdout" && v != "Stderr" {
			err = errors.Join(err, fmt.Errorf("stream: %q is not All, Stdout or Stderr", v))
		}
		o.Stream = v
	}
	return o, previous, err
}

// noLinks serves a directory but follows no link out of it.
func noLinks(dir string) http.FileSystem { return rooted(dir) }

// Quiet gives the HTTP server a logger that says less than its own.
func Quiet(l *slog.Logger) *log.Logger { return slog.NewLogLogger(l.Handler(), slog.LevelDebug) }
