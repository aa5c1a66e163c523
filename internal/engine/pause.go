package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"nau/internal/engine/sandbox"
	"nau/internal/engine/spec"
	"nau/internal/oci/monitor"
)

// pause holds the PID namespace of sandboxes that share one, with a process of nau-oci in a root file system that has nothing else. It is a container
// of the monitor like any other, and no record of ours: it lives and ends with its sandbox.
type pause struct{ e *Engine }

const pausePrefix = "pause-"

// isPause tells whose names in the monitor are pauses of sandboxes that stand.
func (e *Engine) isPause(id string) bool {
	sandbox, ok := strings.CutPrefix(id, pausePrefix)
	if !ok {
		return false
	}
	_, err := e.Sandboxes.Place(sandbox)
	return err == nil
}

// pauseEvent takes a sandbox down whose PID namespace has ended, and with it every process in it.
func (e *Engine) pauseEvent(ev monitor.Event) {
	id, ok := strings.CutPrefix(ev.ID, pausePrefix)
	if !ok || ev.Type != monitor.EventExited {
		return
	}
	e.ended.Go(func() {
		if r, err := e.Sandboxes.Get(id); err != nil || r.State != sandbox.Ready || ev.Time.Before(r.Created) {
			return
		}
		ctx, cancel := context.WithTimeout(e.life, time.Minute)
		defer cancel()
		if err := e.StopSandbox(ctx, id, 0); err != nil && e.life.Err() == nil {
			e.cfg.Log.Error("stop sandbox whose PID namespace has ended", "sandbox", id, "error", err)
		}
	})
}

// checkPauses does what pauseEvent does for those that ended while nobody looked.
func (e *Engine) checkPauses(ctx context.Context) error {
	var errs []error
	for _, r := range e.Sandboxes.List() {
		if r.Config.PID != sandbox.Shared || r.State != sandbox.Ready {
			continue
		}
		st, err := e.monitor.State(ctx, pausePrefix+r.ID)
		if errors.Is(err, monitor.ErrNotFound) || err == nil && st.Status == monitor.Stopped {
			errs = append(errs, e.StopSandbox(ctx, r.ID, 0))
		}
	}
	return errors.Join(errs...)
}

func (p *pause) dir(id string) string {
	return filepath.Join(p.e.cfg.RunDir, "sandboxes", id, "pause")
}

// Start runs the process and returns its process ID.
func (p *pause) Start(ctx context.Context, id string, ns spec.Namespaces, cgroup string) (int, error) {
	ns.PID = ""
	root := filepath.Join(p.dir(id), "rootfs")
	if err := os.MkdirAll(root, 0o711); err != nil {
		return 0, err
	}
	s, err := spec.Build(spec.Input{
		ID: id, Process: spec.Process{Args: []string{"/pause", "hold"}},
		Security:   spec.Security{CapDrop: []string{"ALL"}, NoNewPrivs: true, ReadOnlyRoot: true},
		Mounts:     []spec.Mount{{Source: p.e.cfg.NauOCI, Target: "/pause", ReadOnly: true}},
		Namespaces: ns, Resolved: spec.Resolved{UID: 65535, GID: 65535}, Rootfs: root,
		CgroupPath: filepath.Join("/", cgroup, pausePrefix+id), Host: p.e.host,
	})
	if err != nil {
		return 0, err
	}
	var keep []specs.Mount
	for _, m := range s.Mounts {
		if m.Destination == "/proc" || m.Destination == "/dev" || m.Destination == "/pause" {
			keep = append(keep, m)
		}
	}
	s.Mounts = keep
	// The targets of the mounts, since the root file system is read-only.
	for _, d := range []string{"proc", "dev"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			return 0, err
		}
	}
	if err := os.WriteFile(filepath.Join(root, "pause"), nil, 0o755); err != nil {
		return 0, err
	}
	b, err := json.Marshal(s)
	if err != nil {
		return 0, err
	}
	if err := os.WriteFile(filepath.Join(p.dir(id), "config.json"), b, 0o600); err != nil {
		return 0, err
	}
	pid, err := p.e.monitor.Create(ctx, monitor.CreateRequest{ID: pausePrefix + id, Bundle: p.dir(id)})
	if err != nil {
		return 0, fmt.Errorf("hold PID namespace: %w", err)
	}
	if _, err := p.e.monitor.Start(ctx, pausePrefix+id); err != nil {
		return 0, fmt.Errorf("hold PID namespace: %w", err)
	}
	return pid, nil
}

// Stop ends the process, and with it all that is left in the namespace.
func (p *pause) Stop(ctx context.Context, id string) error {
	_, err := p.e.monitor.Delete(ctx, pausePrefix+id, true)
	if err != nil && !errors.Is(err, monitor.ErrNotFound) {
		return fmt.Errorf("end PID namespace of sandbox %s: %w", id[:12], err)
	}
	return nil
}
