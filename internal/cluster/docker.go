package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"nau/internal/cluster/version"
	"nau/internal/docker"
)

// dockerSocket is where Docker's clients look when they are told nothing.
const dockerSocket = "/var/run/docker.sock"

// serveDocker puts Docker's API over the engine on RUNDIR/docker.sock, for root
// and a group if one is named, on the addresses that are asked for, and at Docker's own place if nobody has it and this is the machine's
// one instance.
func (n *node) serveDocker() error {
	api, err := docker.New(docker.Config{Engine: n.engine, Version: version.Nau(), Commit: version.Commit(), Built: version.Built(), Log: n.config.Log, Experimental: n.config.Docker.Experimental})
	if err != nil {
		return fmt.Errorf("open Docker API: %w", err)
	}
	path := filepath.Join(n.config.RunDir, "docker.sock")
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(fmt.Errorf("replace Docker socket: %w", err), api.Close())
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return errors.Join(fmt.Errorf("listen for Docker: %w", err), api.Close())
	}
	if err := n.guardDocker(path); err != nil {
		return errors.Join(err, listener.Close(), api.Close())
	}
	doors, err := n.dockerListeners()
	if err != nil {
		for _, l := range append(doors, listener) {
			err = errors.Join(err, l.Close())
		}
		return errors.Join(err, api.Close())
	}
	linked := n.config.RunDir == Default().RunDir && linkDocker(path)
	// Handshakes that fail are strangers' doing: no more than a debug line.
	server := &http.Server{Handler: api.Handler(), ReadHeaderTimeout: 30 * time.Second, MaxHeaderBytes: 1 << 20, ErrorLog: slog.NewLogLogger(n.config.Log.Handler(), slog.LevelDebug)}
	for _, l := range append(doors, listener) {
		n.serveHTTP(server, "Docker API", l)
	}
	n.closers = append(n.closers, func() error {
		if linked {
			_ = os.Remove(dockerSocket)
		}
		closed := api.Close() // first: long answers end with it
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			err = server.Close()
			return errors.Join(err, closed)
		}
		return closed
	})
	return nil
}

// linkDocker makes Docker's well-known socket a link to ours, unless there is
// one that leads somewhere.
func linkDocker(path string) bool {
	if at, err := os.Readlink(dockerSocket); err == nil && at == path {
		return true
	}
	if _, err := os.Lstat(dockerSocket); err == nil {
		return false
	}
	return os.Symlink(path, dockerSocket) == nil
}
