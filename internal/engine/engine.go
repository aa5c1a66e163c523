// Package engine is containers without orchestration: images, layers, networks, sandboxes and the containers in them, over one monitor.
//
// Open assembles the rooms below it in the order in which they need each other, brings the records in line with what runs, and cleans what
// a crash left; Close lets go and leaves everything running; Purge leaves nothing. The fronts, internal/cri and internal/docker, and the
// assembly, internal/cluster, import it; it knows neither of them and nothing of Kubernetes.
package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"nau/internal/engine/cdi"
	"nau/internal/engine/container"
	"nau/internal/engine/content"
	"nau/internal/engine/events"
	"nau/internal/engine/image"
	"nau/internal/engine/layer"
	"nau/internal/engine/network"
	"nau/internal/engine/record"
	"nau/internal/engine/sandbox"
	"nau/internal/engine/spec"
	"nau/internal/kernel/idmap"
	"nau/internal/oci/monitor"
)

// Config is all that an engine is told. Zero values have the default written beside them.
type Config struct {
	DataDir string // required; survives a reboot
	RunDir  string // required; cleared by a reboot
	NauOCI  string // required; path of the nau-oci executable, best a sealed copy (monitor.Seal)

	Instance     string // default "nau": name of the nftables table
	Bridge       string // default "nau0"
	CgroupParent string // default "/nau"
	MTU          int    // default: that of the link with the default route, else 1500

	PodCIDRs     []netip.Prefix // this node's pods, at most one of each family; default 10.42.0.0/24 and fd42::/64
	ClusterCIDRs []netip.Prefix // all pods of the cluster; default 10.42.0.0/16 and fd42::/48
	ServiceCIDRs []netip.Prefix // default 10.43.0.0/16 and fd43::/112
	// Own are service addresses, with ports, that the program listens on; ports published on all addresses leave them out.
	Own       []netip.AddrPort
	NoNetwork bool // leave the host's network alone: only sandboxes of the host's network work

	Registries image.Registries
	Creds      func(host string) (*image.Auth, error)
	Runtimes   map[string]string // further OCI runtimes: handler's name → path
	Runtime    string            // handler's name of who names none; default the built-in one
	CDIDirs    []string          // default cdi.DefaultDirs
	Remap      idmap.Map         // of Docker's containers that ask for nothing else; default none

	Log *slog.Logger
}

// PodNetwork is the network that pods' sandboxes join.
const PodNetwork = "pods"

func (c *Config) complete() error {
	var errs []error
	for what, v := range map[string]string{"DataDir": c.DataDir, "RunDir": c.RunDir, "NauOCI": c.NauOCI} {
		if !filepath.IsAbs(v) {
			errs = append(errs, fmt.Errorf("configure engine: %s %q is not an absolute path", what, v))
		}
	}
	c.Instance = cmp.Or(c.Instance, "nau")
	c.Bridge = cmp.Or(c.Bridge, "nau0")
	c.CgroupParent = cmp.Or(c.CgroupParent, "/nau")
	c.MTU = cmp.Or(c.MTU, network.HostMTU(), 1500)
	if c.CDIDirs == nil {
		c.CDIDirs = cdi.DefaultDirs
	}
	if _, ok := c.Runtimes[c.Runtime]; c.Runtime != "" && !ok && c.Runtime != container.BuiltIn {
		errs = append(errs, fmt.Errorf("configure engine: default runtime %q is not registered", c.Runtime))
	}
	def := func(p *[]netip.Prefix, v ...string) {
		if *p == nil {
			for _, s := range v {
				*p = append(*p, netip.MustParsePrefix(s))
			}
		}
	}
	def(&c.PodCIDRs, "10.42.0.0/24", "fd42::/64")
	def(&c.ClusterCIDRs, "10.42.0.0/16", "fd42::/48")
	def(&c.ServiceCIDRs, "10.43.0.0/16", "fd43::/112")
	if c.Log == nil {
		c.Log = slog.Default()
	}
	c.Log = c.Log.With("room", "engine")
	return errors.Join(errs...)
}

// Engine is an open engine.
type Engine struct {
	Content    *content.Store
	Images     *image.Store
	Layers     *layer.Store
	Networks   *network.Manager
	Sandboxes  *sandbox.Manager
	Containers *container.Manager
	Events     *events.Bus

	cfg     Config
	host    spec.Host
	life    context.Context // of what runs in the background
	stop    context.CancelFunc
	ended   sync.WaitGroup
	monitor *monitor.Client
}

// Open opens the engine, starting the monitor when none answers.
func Open(ctx context.Context, cfg Config) (e *Engine, err error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	e = &Engine{cfg: cfg, Events: &events.Bus{}, host: probeHost()}
	e.life, e.stop = context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open engine: %w", err), e.Close())
		}
	}()
	for dir, mode := range map[string]os.FileMode{cfg.DataDir: 0o711, cfg.RunDir: 0o711} {
		if err := os.MkdirAll(dir, mode); err != nil {
			return e, err
		}
	}
	if err := settle(cfg.DataDir); err != nil {
		return e, err
	}
	// First of all: traffic to pods and services must never find a gateway.
	if !cfg.NoNetwork {
		if e.Networks, err = network.Open(network.Config{Dir: filepath.Join(cfg.DataDir, "networks"), Instance: cfg.Instance, Home: PodNetwork,
			Unreachable: slices.Concat(cfg.ClusterCIDRs, cfg.ServiceCIDRs), Services: cfg.ServiceCIDRs, Own: cfg.Own, Log: cfg.Log}); err != nil {
			return e, err
		}
	}
	started := make(chan error, 1)
	go func() { // the monitor comes up while the stores are read
		var err error
		e.monitor, err = monitor.Start(e.monitorOptions())
		started <- err
	}()
	if e.Content, err = content.Open(filepath.Join(cfg.DataDir, "content"), cfg.Log); err != nil {
		return e, errors.Join(err, <-started)
	}
	if e.Layers, err = layer.Open(layer.Config{Dir: filepath.Join(cfg.DataDir, "layers"), Log: cfg.Log}); err != nil {
		return e, errors.Join(err, <-started)
	}
	if !cfg.Remap.IsZero() {
		if err := e.Layers.CanMapOwners(); err != nil {
			return e, errors.Join(err, <-started)
		}
	}
	if e.Images, err = image.Open(e.imageConfig()); err != nil {
		return e, errors.Join(err, <-started)
	}
	if err := <-started; err != nil {
		return e, err
	}
	// What an engine before this one, that was killed, had the monitor make is made by then, and makes no cgroup anew that is swept here.
	if _, err := e.monitor.List(ctx); err != nil {
		return e, err
	}
	return e, e.openContainers(ctx)
}

// settle rewrites the paths in the records of a data directory that was moved since its engine was open last.
func settle(dir string) error {
	file := filepath.Join(dir, "place")
	b, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	last := string(b)
	if last == dir {
		return nil
	}
	if last != "" {
		for _, kind := range []string{"containers", "sandboxes"} {
			if err := record.Moved(filepath.Join(dir, kind), last, dir); err != nil {
				return fmt.Errorf("move records from %s: %w", last, err)
			}
		}
	}
	return record.Replace(file, []byte(dir))
}

func (e *Engine) monitorOptions() monitor.Options {
	return monitor.Options{Binary: e.cfg.NauOCI, Socket: filepath.Join(e.cfg.RunDir, "monitor.sock"), StateDir: filepath.Join(e.cfg.RunDir, "monitor"),
		CgroupRoot: filepath.Join("/", e.cfg.CgroupParent, "monitor")}
}

// openContainers opens what rests on stores, network and monitor.
func (e *Engine) openContainers(ctx context.Context) (err error) {
	cfg := e.cfg
	if e.Sandboxes, err = sandbox.Open(sandbox.Settings{Dir: filepath.Join(cfg.DataDir, "sandboxes"), RunDir: cfg.RunDir, CgroupParent: cfg.CgroupParent,
		Net: e.Networks, Pause: &pause{e}, Events: e.Events, Log: cfg.Log}); err != nil {
		return err
	}
	if e.Networks != nil {
		if err := e.Networks.Ensure(e.podNetwork(cfg.PodCIDRs)); err != nil {
			return err
		}
		if err := e.Networks.Start(e.Sandboxes.Endpoints()); err != nil {
			return err
		}
		e.ended.Go(func() {
			if err := e.Networks.Guard(e.life); err != nil {
				cfg.Log.Error("guard packet rules", "error", err)
			}
		})
	}
	e.Containers, err = container.Open(ctx, container.Settings{
		Dir: filepath.Join(cfg.DataDir, "containers"), RunDir: filepath.Join(cfg.RunDir, "containers"),
		Images: e.Images, Layers: e.Layers, Sandboxes: e.Sandboxes, Runtime: e.monitor, Runtimes: cfg.Runtimes, Default: cfg.Runtime, CDIDirs: cfg.CDIDirs,
		Host: e.host, Init: cfg.NauOCI, Events: e.Events, Log: cfg.Log,
		Revive: func(context.Context) error { _, err := monitor.Start(e.monitorOptions()); return err },
		Others: e.pauseEvent,
	}, e.isPause)
	if err != nil {
		return err
	}
	return e.checkPauses(ctx)
}

func (e *Engine) podNetwork(cidrs []netip.Prefix) network.Spec {
	return network.Spec{Name: PodNetwork, Driver: network.Bridge, Link: e.cfg.Bridge, Subnets: cidrs, Routed: true, MTU: e.cfg.MTU, NoMasquerade: e.cfg.ClusterCIDRs}
}

// SetPodCIDRs gives this node other ranges of pod addresses; a family that is not named keeps its range. Not possible while sandboxes hold
// addresses of the old ones.
func (e *Engine) SetPodCIDRs(cidrs []netip.Prefix) error {
	for _, old := range e.cfg.PodCIDRs {
		if !slices.ContainsFunc(cidrs, func(p netip.Prefix) bool { return p.Addr().Is4() == old.Addr().Is4() }) {
			cidrs = append(cidrs, old)
		}
	}
	slices.SortStableFunc(cidrs, func(a, b netip.Prefix) int { return a.Addr().BitLen() - b.Addr().BitLen() })
	if e.Networks == nil || slices.Equal(cidrs, e.cfg.PodCIDRs) {
		return nil
	}
	if err := e.Networks.Ensure(e.podNetwork(cidrs)); err != nil {
		return err
	}
	e.cfg.PodCIDRs = cidrs
	return e.Networks.Rebuild()
}

// NetworkReady reports whether sandboxes can get addresses.
func (e *Engine) NetworkReady() bool { return e.Networks != nil }

// MonitorReady asks whether the monitor answers.
func (e *Engine) MonitorReady(ctx context.Context) error { return e.monitor.Ping(ctx) }

// Host tells what this machine can.
func (e *Engine) Host() spec.Host { return e.host }

// Config returns the configuration with its defaults.
func (e *Engine) Config() Config { return e.cfg }

// StopSandbox ends a sandbox's containers, all at once, with timeout for each, and takes the sandbox down.
func (e *Engine) StopSandbox(ctx context.Context, id string, timeout time.Duration) error {
	in := e.Containers.In(id)
	errs := make([]error, len(in))
	done := make(chan struct{})
	for i, c := range in {
		go func() {
			errs[i] = e.Containers.Stop(ctx, c.ID, timeout)
			done <- struct{}{}
		}()
	}
	for range in {
		<-done
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return e.Sandboxes.Stop(ctx, id)
}

// RemoveSandbox removes a sandbox with all its containers, killing what runs.
func (e *Engine) RemoveSandbox(ctx context.Context, id string) error {
	if err := e.StopSandbox(ctx, id, 0); err != nil {
		return err
	}
	for _, c := range e.Containers.In(id) {
		if err := e.Containers.Remove(ctx, c.ID); err != nil {
			return err
		}
	}
	return e.Sandboxes.Remove(ctx, id)
}

// inUse tells the image store who uses an image.
func (e *Engine) inUse(id digest.Digest) ([]string, bool) {
	if e.Containers == nil {
		return nil, false
	}
	return e.Containers.ImageUsed(id.String())
}

// quiet ends what runs in the background.
func (e *Engine) quiet() {
	e.stop()
	if e.Containers != nil {
		e.Containers.Close() // and no event begins anything more
	}
	if e.Sandboxes != nil {
		e.Sandboxes.Close()
	}
	e.ended.Wait()
}

// Close lets go of everything. Containers, networks and the monitor stay.
func (e *Engine) Close() error {
	var errs []error
	e.quiet()
	e.Events.Close()
	if e.Images != nil {
		errs = append(errs, e.Images.Close())
	}
	if e.Layers != nil {
		errs = append(errs, e.Layers.Close())
	}
	if e.Content != nil {
		errs = append(errs, e.Content.Close())
	}
	if e.Networks != nil {
		e.Networks.Close()
	}
	return errors.Join(errs...)
}

// Running counts the containers that run.
func (e *Engine) Running() int {
	n := 0
	for _, c := range e.Containers.List() {
		if c.State == container.Running || c.State == container.Paused {
			n++
		}
	}
	return n
}

// Shutdown closes the engine, and ends the monitor too when nothing runs that would need it.
func (e *Engine) Shutdown(ctx context.Context) error {
	idle := e.Running() == 0
	for _, s := range e.Sandboxes.List() {
		idle = idle && s.State == sandbox.NotReady
	}
	err := e.Close()
	if idle {
		err = errors.Join(err, e.monitor.Shutdown(ctx))
	}
	return err
}

// StopAll ends every container and sandbox, with timeout for each, and leaves the records.
func (e *Engine) StopAll(ctx context.Context, timeout time.Duration) error {
	var errs []error
	results := make(chan error)
	all := e.Sandboxes.List()
	for _, s := range all {
		go func() { results <- e.StopSandbox(ctx, s.ID, timeout) }()
	}
	for range all {
		errs = append(errs, <-results)
	}
	return errors.Join(errs...)
}

// Purge ends everything and removes every trace: processes, mounts, namespaces, links, rules, cgroups, and the engine's files. The Engine is closed
// afterwards. What else lies in the data and run directories stays.
func (e *Engine) Purge(ctx context.Context) error {
	var errs []error
	for _, s := range e.Sandboxes.List() {
		errs = append(errs, e.RemoveSandbox(ctx, s.ID))
		if e.Networks == nil {
			continue
		}
		for _, end := range s.Endpoints { // the kernel takes a namespace's links down in its own time
			errs = append(errs, e.Networks.Unlink(end, nil))
		}
	}
	for _, c := range e.Containers.List() {
		errs = append(errs, e.Containers.Remove(ctx, c.ID))
	}
	e.quiet() // or the rules would be written anew and the monitor be revived
	if e.Networks != nil {
		errs = append(errs, e.Networks.Purge())
	}
	errs = append(errs, e.Close(), e.monitor.Shutdown(ctx))
	for _, name := range []string{"sandboxes", "containers", "ns", "monitor", "monitor.sock"} {
		errs = append(errs, os.RemoveAll(filepath.Join(e.cfg.RunDir, name)))
	}
	for _, name := range []string{"sandboxes", "containers", "layers", "content", "images.db", "volumes", "place"} {
		errs = append(errs, os.RemoveAll(filepath.Join(e.cfg.DataDir, name)))
	}
	return errors.Join(append(errs, purgeCgroups(ctx, e.cfg.CgroupParent))...)
}

// purgeCgroups removes the parent cgroup; the monitor's own processes may take a moment to leave it.
func purgeCgroups(ctx context.Context, parent string) error {
	for wait := time.Millisecond; ; wait *= 2 {
		err := sandbox.RemoveCgroup(parent)
		if err == nil || wait > time.Second {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
	}
}
