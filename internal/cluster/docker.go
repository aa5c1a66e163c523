package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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
// alone, and at Docker's own place if nobody has it and this is the machine's
// one instance.
func (n *node) serveDocker() error {
	api, err := docker.New(docker.Config{Engine: n.engine, Version: version.Nau(), Log: n.config.Log})
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
	if err := os.Chmod(path, 0o660); err != nil {
		return errors.Join(fmt.Errorf("guard Docker socket: %w", err), listener.Close(), api.Close())
	}
	linked := n.config.RunDir == Default().RunDir && linkDocker(path)
	server := &http.Server{Handler: api.Handler(), ReadHeaderTimeout: 30 * time.Second, MaxHeaderBytes: 1 << 20}
	go func() {
		if err := server.Serve(listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
			n.config.Log.Error("serve Docker API", "error", err)
		}
	}()
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
