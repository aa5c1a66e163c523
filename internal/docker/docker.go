// Package docker is the Docker Engine API over the engine: what the stock docker CLI, Compose and other clients of Docker speak to.
//
// A container is an engine container in a sandbox of its own, or in the sandbox of the container whose network it shares; what the
// engine has no words for lies in the container's Extra (see stored). Requests are decoded at this edge, kinds of errors become Docker's
// status codes and texts here and nowhere else. Containers of pods are shown too, as their labels tell.
//
// It is one of two dialects of the engine and knows neither the other, internal/cri, nor the cluster. Only internal/cluster imports it.
package docker

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"nau/internal/docker/buildkit"
	"nau/internal/engine"
	"nau/internal/engine/build"
	"nau/internal/engine/volume"
)

// Versions of the API: the oldest and the newest that is served. Source: the API's changelog in github.com/moby/moby/api/docs.
const (
	MinVersion = "1.24"
	MaxVersion = "1.56"
)

// Origin marks this front's containers and sandboxes in the engine's records.
const Origin = "docker"

// Config of a Server.
type Config struct {
	Engine  *engine.Engine
	Version string // of the product, as `docker version` prints it
	Commit  string // that it was built from, and when; "" and zero where nobody knows
	Built   time.Time
	Log     *slog.Logger

	Experimental bool // serves what Docker calls experimental: squash of the classic builder
}

// Server answers Docker's clients.
type Server struct {
	e       *engine.Engine
	cfg     Config
	log     *slog.Logger
	dir     string // of what is kept beside the engine's records
	volumes *volume.Store
	builder *build.Builder

	buildkit *buildkit.Server
	uploads  uploads
	hub      *hub
	execs    execs
	names    names
	health   checks
	resolve  *resolvers
	op       locks // of containers, by ID
	can      support
	senders  senders
	parsed   parsed

	life  context.Context
	stop  context.CancelFunc
	ended sync.WaitGroup

	// nets serialises changes of networks; filling that of new volumes with what an image has there.
	nets, filling sync.Mutex
	restarts      restarts

	creating sync.Mutex        // guards the choice of names, not the rest of a creation
	reserved map[string]string // names of containers that are being created → their IDs
}

// New makes a server and takes up what an earlier one left: policies of containers that ended meanwhile, the default network.
func New(c Config) (*Server, error) {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	c.Version = cmp.Or(c.Version, "0.1.0")
	s := &Server{e: c.Engine, cfg: c, log: c.Log.With("room", "docker"), dir: filepath.Join(c.Engine.Config().DataDir, "docker"), reserved: map[string]string{}}
	s.life, s.stop = context.WithCancel(context.Background())
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, err
	}
	if err := dropViews(c.Engine.Config().RunDir); err != nil {
		return nil, err
	}
	if err := s.mark(); err != nil {
		return nil, err
	}
	var err error
	if s.volumes, err = volume.Open(filepath.Join(c.Engine.Config().DataDir, "volumes")); err != nil {
		return nil, err
	}
	s.can = probeSupport("/sys/fs/cgroup", s.e.Host(), runtime.NumCPU())
	s.hub = newHub()
	if err := s.health.open(filepath.Join(s.dir, "health"), s.ran); err != nil {
		return nil, err
	}
	s.resolve = newResolvers(s)
	if err := s.openNetworks(); err != nil {
		return nil, err
	}
	if err := s.openBuilder(); err != nil {
		return nil, err
	}
	if err := s.openBuildKit(); err != nil {
		return nil, err
	}
	if err := s.redefine(); err != nil {
		return nil, err
	}
	sub := s.e.Events.Subscribe()
	s.ended.Go(func() { s.supervise(sub) })
	s.ended.Go(s.recover)
	return s, nil
}

// mark lets programs know that they are in a container of Docker's: many look for /.dockerenv.
func (s *Server) mark() error {
	dir := filepath.Join(s.dir, "marks")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, ".dockerenv"), os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return fmt.Errorf("mark containers as Docker's: %w", err)
	}
	s.e.Containers.Mark(Origin, dir)
	return f.Close()
}

// Close ends what runs in the background. Containers run on.
func (s *Server) Close() error {
	s.stop()
	s.buildkit.Close()
	s.restarts.stopAll()
	s.health.stopAll()
	s.resolve.close()
	s.ended.Wait()
	return nil
}

// Handler is the API.
func (s *Server) Handler() http.Handler { return s.router() }
