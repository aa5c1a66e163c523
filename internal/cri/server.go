// Package cri serves the Kubernetes container runtime interface, runtime.v1, over the engine.
//
// It is a dialect: every call is translated into the engine's words and back, and nothing is kept here but what a call said that the engine has no word for,
// which travels as Extra in the engine's records, and the last sample of each CPU counter. Errors become gRPC codes in one place. The same
// server answers on a socket (Serve) and to function calls (InProcess); exec, attach and port-forward are served at the URLs that those calls
// return, or as function calls too (Streamer).
//
// It knows nothing of Docker's dialect, its sibling. internal/cluster imports it.
package cri

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"

	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nau/internal/engine"
)

// Origin marks this front's sandboxes and containers in the engine's records.
const Origin = "cri"

// Config of a Server. Zero values have the default written beside them.
type Config struct {
	Version    string // of the program; default "0.0.0"
	StreamAddr string // where exec, attach and port-forward URLs are served; default "127.0.0.1:0", listening from the first such call on
	Log        *slog.Logger
}

// Server implements both services.
type Server struct {
	runtimeapi.UnsafeRuntimeServiceServer
	runtimeapi.UnsafeImageServiceServer

	e       *engine.Engine
	cfg     Config
	log     *slog.Logger
	streams streamer
	configs configs
	samples samples

	mu    sync.Mutex
	grpcs []*grpc.Server
}

var (
	_ runtimeapi.RuntimeServiceServer = (*Server)(nil)
	_ runtimeapi.ImageServiceServer   = (*Server)(nil)
)

// New makes a server over an open engine.
func New(e *engine.Engine, cfg Config) *Server {
	cfg.Version = cmp.Or(cfg.Version, "0.0.0")
	cfg.StreamAddr = cmp.Or(cfg.StreamAddr, "127.0.0.1:0")
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	s := &Server{e: e, cfg: cfg, log: cfg.Log.With("room", "cri")}
	s.streams.init(s)
	return s
}

// maxMessage bounds one gRPC message; a list of many containers is large.
const maxMessage = 16 << 20

// Serve answers on a listener until Close, when it returns nil.
func (s *Server) Serve(l net.Listener) error {
	g := grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage), grpc.UnaryInterceptor(s.guard))
	runtimeapi.RegisterRuntimeServiceServer(g, s)
	runtimeapi.RegisterImageServiceServer(g, s)
	s.mu.Lock()
	s.grpcs = append(s.grpcs, g)
	s.mu.Unlock()
	if err := g.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve CRI on %s: %w", l.Addr(), err)
	}
	return nil
}

// guard turns a panic of one call into an error of that call.
func (s *Server) guard(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("call panicked", "call", info.FullMethod, "panic", p)
			err = internalError(fmt.Errorf("%s: %v", info.FullMethod, p))
		}
	}()
	return handler(ctx, req)
}

// Close ends all listeners and streams.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.grpcs {
		g.Stop()
	}
	s.streams.close()
}
