package sandbox

import (
	"context"
	"fmt"
	"net"
	"os"

	"nau/internal/engine/network"
)

// Dial connects from inside the sandbox's network namespace. address must be numeric: names would be looked up on other threads.
func (m *Manager) Dial(ctx context.Context, id, netw, address string) (net.Conn, error) {
	path, err := m.Netns(id)
	if err != nil {
		return nil, err
	}
	d := &net.Dialer{}
	if path == "" {
		return d.DialContext(ctx, netw, address)
	}
	ns, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	var conn net.Conn
	err = network.Inside(ns, func() (err error) {
		conn, err = d.DialContext(ctx, netw, address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("connect in sandbox %s: %w", id[:12], err)
	}
	return conn, nil
}
