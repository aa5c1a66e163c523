package server

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// gate is a directory of pipes by which a container and a test wait for each other; the container sees it at /gate.
type gate struct {
	dir   string
	pipes map[string]*os.File
}

func newGate(t *testing.T, dir string, names ...string) *gate {
	t.Helper()
	g := &gate{filepath.Join(dir, "gate"), map[string]*os.File{}}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		path := filepath.Join(g.dir, n)
		if err := unix.Mkfifo(path, 0o666); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0) // both ends: nobody waits in open
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		g.pipes[n] = f
	}
	return g
}

// mount shows the gate to a container.
func (g *gate) mount(s *specs.Spec) {
	s.Mounts = append(s.Mounts, specs.Mount{Destination: "/gate", Type: "bind", Source: g.dir, Options: []string{"bind"}})
}

// open lets a container go on that reads a line.
func (g *gate) open(t *testing.T, name string) {
	t.Helper()
	if _, err := g.pipes[name].WriteString("\n"); err != nil {
		t.Fatal(err)
	}
}

// wait returns when a container has written.
func (g *gate) wait(t *testing.T, name string) {
	t.Helper()
	f := g.pipes[name]
	if err := f.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Read(make([]byte, 1)); err != nil {
		t.Fatalf("the container does not come to gate %s: %v", name, err)
	}
}
