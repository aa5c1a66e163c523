// Package buildkit is BuildKit's protocol over the engine's builder: what docker buildx, docker build and Compose speak through /grpc and /session.
//
// The life of a build: a client opens a session, by which it offers files, secrets, agents and credentials; Control.Solve opens a job; the client
// asks the gateway to solve a Dockerfile in that job and returns the result; Solve exports it and answers; Status tells meanwhile what happens.
// Services and messages are the protocol's own (github.com/moby/buildkit/api), the solver is internal/engine/build: definitions of low-level steps
// are refused, except the ones that name a result of this builder.
//
// It knows nothing of Docker's REST API: internal/docker hands connections in. Only internal/docker imports it.
package buildkit

import (
	"context"
	content "github.com/containerd/containerd/api/services/content/v1"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"

	"github.com/moby/buildkit/session"
	"google.golang.org/grpc"

	"nau/internal/docker/buildkit/wire"
	"nau/internal/engine/build"
	"nau/internal/engine/image"
	"nau/internal/engine/sandbox"
)

// Config of a Server.
type Config struct {
	Builder *build.Builder
	Images  *image.Store
	Dir     string // of what is remembered of builds
	Version string
	Gateway func() string                                    // address that host-gateway means; "" = none
	Hosts   func(list []string) ([]sandbox.HostAlias, error) // reads "name:address"
	Built   func(id string, names []string)                  // is told of images that a build put into the store; nil = nobody
	Log     *slog.Logger
}

// Server answers BuildKit's clients.
type Server struct {
	cfg      Config
	grpc     *grpc.Server
	sessions *session.Manager
	conns    *conns
	jobs     jobs
	history  *history
}

// maxMessage bounds a message: a client may send a whole archive in pieces, but no piece is large.
const maxMessage = 16 << 20

// New makes a server.
func New(cfg Config) (*Server, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	s := &Server{cfg: cfg, conns: newConns(), jobs: jobs{byRef: map[string]*job{}, changed: make(chan struct{})}}
	var err error
	if s.history, err = openHistory(cfg.Dir); err != nil {
		return nil, err
	}
	if s.sessions, err = session.NewManager(); err != nil {
		return nil, err
	}
	s.grpc = grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage))
	wire.Register(s.grpc, &controller{s: s}, &bridge{s: s})
	content.RegisterContentServer(s.grpc, &contents{h: s.history})
	go func() { _ = s.grpc.Serve(s.conns) }()
	return s, nil
}

// Close ends all builds and connections.
func (s *Server) Close() {
	s.grpc.Stop()
	s.jobs.closeAll()
}

// Serve answers one connection that speaks HTTP/2, and comes back when it has ended.
func (s *Server) Serve(ctx context.Context, c net.Conn, buffered io.Reader) {
	done := make(chan struct{})
	w := &watched{Conn: c, r: buffered, closed: sync.OnceFunc(func() { close(done) })}
	if !s.conns.put(ctx, w) {
		c.Close()
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
		c.Close()
	}
}

// Session takes a connection by which a client serves what builds ask of it.
func (s *Server) Session(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	return s.sessions.HandleHTTPRequest(ctx, w, r)
}

// watched is a connection whose first bytes may lie in a buffer, and that tells when it is closed.
type watched struct {
	net.Conn
	r      io.Reader
	closed func()
}

func (w *watched) Read(b []byte) (int, error) { return w.r.Read(b) }

func (w *watched) Close() error {
	defer w.closed()
	return w.Conn.Close()
}

// conns is a listener of connections that others accepted.
type conns struct {
	next chan net.Conn
	done chan struct{}
	end  func()
}

func newConns() *conns {
	c := &conns{next: make(chan net.Conn), done: make(chan struct{})}
	c.end = sync.OnceFunc(func() { close(c.done) })
	return c
}

func (c *conns) put(ctx context.Context, conn net.Conn) bool {
	select {
	case c.next <- conn:
		return true
	case <-c.done:
	case <-ctx.Done():
	}
	return false
}

func (c *conns) Accept() (net.Conn, error) {
	select {
	case conn := <-c.next:
		return conn, nil
	case <-c.done:
		return nil, net.ErrClosed
	}
}

func (c *conns) Close() error { c.end(); return nil }

func (c *conns) Addr() net.Addr { return &net.UnixAddr{Name: "buildkit", Net: "unix"} }
