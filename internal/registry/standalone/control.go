package standalone

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
)

func controlPath(dir string) string { return filepath.Join(dir, "control.sock") }

// freed is the answer to a collection.
type freed struct {
	Bytes int64  `json:"bytes"`
	Error string `json:"error,omitempty"`
}

// commands are what root can ask of a registry that runs.
func (s *Server) commands() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /collect", func(w http.ResponseWriter, r *http.Request) {
		n, err := s.registry.Collect(r.Context())
		out := freed{Bytes: n}
		if err != nil {
			out.Error = err.Error()
		}
		_ = json.NewEncoder(w).Encode(out)
	})
	return mux
}

// Collect frees what a registry no longer needs and tells the bytes: in the process that serves the data directory, or here if none does.
func Collect(ctx context.Context, c Config) (int64, error) {
	f, err := lock(c.DataDir)
	if errors.Is(err, errLocked) {
		return ask(ctx, controlPath(c.DataDir))
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	c.Auth, c.MirrorOf = "", ""
	g, err := open(c)
	if err != nil {
		return 0, err
	}
	defer g.Close()
	return g.Collect(ctx)
}

func ask(ctx context.Context, socket string) (int64, error) {
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://registry/collect", nil)
	if err != nil {
		return 0, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, fmt.Errorf("ask the running registry: %w", err)
	}
	defer resp.Body.Close()
	var out freed
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&out); err != nil {
		return 0, fmt.Errorf("ask the running registry: %w", err)
	}
	if out.Error != "" {
		return out.Bytes, errors.New(out.Error)
	}
	return out.Bytes, nil
}

func credentials(text string) (user, password string) {
	user, password, _ = strings.Cut(text, ":")
	return user, password
}
