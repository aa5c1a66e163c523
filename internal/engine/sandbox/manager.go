package sandbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"nau/internal/engine/events"
	"nau/internal/engine/network"
	"nau/internal/engine/record"
	"nau/internal/engine/spec"
	"nau/internal/kernel"
)

// Settings of a Manager.
type Settings struct {
	Dir          string // records, surviving a reboot
	RunDir       string // pins and files, cleared by a reboot: ns/, sandboxes/
	CgroupParent string // for sandboxes that name none
	Net          *network.Manager
	Pause        Pause // nil: PID namespaces cannot be shared
	Events       *events.Bus
	Log          *slog.Logger
}

// Pause holds a PID namespace with a process.
type Pause interface {
	// Start runs a process for sandbox id in new PID and the pinned namespaces, and returns its process ID.
	Start(ctx context.Context, id string, ns spec.Namespaces, cgroup string) (pid int, err error)
	// Stop ends it; stopping twice does nothing.
	Stop(ctx context.Context, id string) error
}

// Manager holds all sandboxes of one instance.
type Manager struct {
	set     Settings
	records record.Dir[Record]
	mu      sync.RWMutex
	index   record.Index[*entry]
}

// entry is one sandbox. op serialises its operations; rec is replaced, never changed, under Manager.mu.
type entry struct {
	op  sync.Mutex
	rec *Record
}

// Open loads the records. A sandbox whose namespaces are gone (a reboot) becomes NotReady; leftovers without a record are cleaned.
func Open(s Settings) (*Manager, error) {
	dir, err := record.Open[Record](s.Dir)
	if err != nil {
		return nil, err
	}
	m := &Manager{set: s, records: dir}
	for _, d := range []string{m.nsDir(), filepath.Join(s.RunDir, "sandboxes")} {
		if err := os.MkdirAll(d, 0o711); err != nil {
			return nil, err
		}
	}
	recs, damaged, err := dir.All()
	if err != nil {
		return nil, err
	}
	for _, id := range damaged {
		s.Log.Warn("drop damaged sandbox record", "sandbox", id)
	}
	for id, r := range recs {
		if r.State == Ready && !m.alive(r) {
			s.Log.Info("sandbox did not survive", "sandbox", id)
			r.State, r.Stopped = NotReady, time.Now()
			r.Endpoints = stripped(r.Endpoints)
			if err := dir.Put(id, r); err != nil {
				return nil, err
			}
		}
		m.index.Put(id, &entry{rec: r})
		m.index.Reserve(r.Config.Name, id)
	}
	return m, m.sweep()
}

// Close ends what runs in the background; sandboxes stay.
func (m *Manager) Close() { m.records.Close() }

// stripped forgets what a stopped sandbox no longer holds, and keeps the addresses for those who ask what they were.
func stripped(eps []network.Endpoint) []network.Endpoint {
	out := slices.Clone(eps)
	for i := range out {
		out[i].Ports, out[i].HostLink = nil, ""
	}
	return out
}

// cgroups is the cgroup in which sandboxes have theirs, and containers whose sandboxes have none.
func (m *Manager) cgroups() string { return filepath.Join("/", m.set.CgroupParent, "sandbox") }

func (m *Manager) nsDir() string { return filepath.Join(m.set.RunDir, "ns") }
func (m *Manager) ns(id string, k kernel.Namespace) string {
	return filepath.Join(m.nsDir(), id+"-"+string(k))
}
func (m *Manager) files(id string) string { return filepath.Join(m.set.RunDir, "sandboxes", id) }

// alive reports whether the namespaces still stand.
func (m *Manager) alive(r *Record) bool {
	kind := kernel.UTS
	switch {
	case !r.Config.HostNet:
		kind = kernel.Net
	case r.Config.IPC != Host:
		kind = kernel.IPC
	default:
		_, err := os.Stat(m.files(r.ID))
		return err == nil
	}
	fd, err := kernel.OpenNamespace(m.ns(r.ID, kind), kind)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// sweep removes pins, files and cgroups of sandboxes that are not Ready or not known.
func (m *Manager) sweep() error {
	live := func(id string) bool { e, ok := m.index.Get(id); return ok && e.rec.State == Ready }
	gone := map[string]bool{}
	for id, e := range m.index.All() {
		if e.rec.OwnCgroup && !live(id) {
			gone[id] = true // its cgroup may be all that is left
		}
	}
	for _, dir := range []string{m.nsDir(), filepath.Join(m.set.RunDir, "sandboxes")} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			id, _, _ := strings.Cut(e.Name(), "-")
			if !live(id) {
				gone[id] = true
			}
		}
	}
	var errs []error
	for id := range gone {
		errs = append(errs, m.dismantle(id), ClearCgroup(filepath.Join(m.cgroups(), id)))
	}
	return errors.Join(errs...)
}

// Endpoints lists what the Ready sandboxes hold, for network.Manager.Start.
func (m *Manager) Endpoints() []network.Endpoint {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var out []network.Endpoint
	for _, e := range m.index.All() {
		if e.rec.State == Ready {
			out = append(out, e.rec.Endpoints...)
		}
	}
	return out
}

// Run makes a sandbox. On an error nothing of it is left.
func (m *Manager) Run(ctx context.Context, c Config) (*Record, error) {
	r, err := m.draft(record.NewID(), c)
	if err != nil {
		return nil, err
	}
	if err := m.reserve(c.Name, r.ID); err != nil {
		return nil, err
	}
	if err := m.build(ctx, r); err != nil {
		m.unreserve(c.Name, r.ID)
		return nil, errors.Join(fmt.Errorf("run sandbox %s: %w", cmp.Or(c.Name, r.ID[:12]), err), m.teardown(context.WithoutCancel(ctx), r))
	}
	m.mu.Lock()
	m.index.Put(r.ID, &entry{rec: r})
	m.mu.Unlock()
	m.set.Events.Publish(events.Event{Kind: events.Sandbox, Action: events.Start, ID: r.ID})
	return r, nil
}

func (m *Manager) reserve(name, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if owner, ok := m.index.Reserve(name, id); !ok {
		return fmt.Errorf("run sandbox %s: %w by %s", name, ErrNameTaken, owner)
	}
	return nil
}

func (m *Manager) unreserve(name, id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.index.Release(name, id)
}

// build makes everything that r describes, and writes the record when all stands.
func (m *Manager) build(ctx context.Context, r *Record) error {
	c := &r.Config
	pins := map[kernel.Namespace]string{}
	if !c.HostNet {
		pins[kernel.Net] = m.ns(r.ID, kernel.Net)
	}
	if !c.sharesUTS() {
		pins[kernel.UTS] = m.ns(r.ID, kernel.UTS)
	}
	if c.IPC != Host {
		pins[kernel.IPC] = m.ns(r.ID, kernel.IPC)
	}
	if len(pins) > 0 || !c.Owners.IsZero() {
		if err := m.pin(r, pins); err != nil {
			return err
		}
	}
	if err := m.connect(ctx, r); err != nil {
		return err
	}
	if err := m.write(r); err != nil {
		return err
	}
	if c.PID == Shared {
		if m.set.Pause == nil {
			return errors.New("share PID namespace: not possible without a monitor")
		}
		pid, err := m.set.Pause.Start(ctx, r.ID, m.place(r).Namespaces, r.Cgroup)
		if err != nil {
			return err
		}
		if err := kernel.PinProcess(pid, kernel.PID, m.ns(r.ID, kernel.PID)); err != nil {
			return err
		}
	}
	return m.records.Put(r.ID, r)
}

// furnish names the host and sets sysctls. The thread is inside the sandbox's namespaces.
func furnish(c Config) error {
	sysctls := map[string]string{}
	if !c.HostNet {
		// Ping without a capability and low ports for everybody: the namespace is the sandbox's own. Source: containerd's and Docker's default.
		sysctls["net.ipv4.ping_group_range"] = "0 2147483647"
		sysctls["net.ipv4.ip_unprivileged_port_start"] = "0"
	}
	maps.Copy(sysctls, c.Sysctls)
	if !c.sharesUTS() {
		if err := unix.Sethostname([]byte(c.Hostname)); err != nil {
			return fmt.Errorf("set hostname %q: %w", c.Hostname, err)
		}
		if c.Domainname != "" {
			if err := unix.Setdomainname([]byte(c.Domainname)); err != nil {
				return fmt.Errorf("set domain name %q: %w", c.Domainname, err)
			}
		}
	}
	for name, value := range sysctls {
		if err := kernel.WriteProc("sys/"+sysctlPath(name), value); err != nil {
			return fmt.Errorf("set sysctl %s: %w", name, err)
		}
	}
	return nil
}

// sysctlPath turns a name into its path. A name in slashes keeps its dots, which may belong to an interface ("net/ipv4/conf/eth0.100/…").
func sysctlPath(name string) string {
	if strings.Contains(name, "/") {
		return name
	}
	return strings.ReplaceAll(name, ".", "/")
}

// checkSysctl allows what belongs to the sandbox's own namespaces. Source: Kubernetes' documentation of sysctls.
func checkSysctl(name string, c Config) error {
	dotted := strings.ReplaceAll(sysctlPath(name), "/", ".")
	ipc := strings.HasPrefix(dotted, "kernel.shm") || strings.HasPrefix(dotted, "kernel.msg") || dotted == "kernel.sem" || strings.HasPrefix(dotted, "fs.mqueue.")
	net := strings.HasPrefix(dotted, "net.")
	switch {
	case strings.Contains(sysctlPath(name), ".."):
		return fmt.Errorf("set sysctl %q: bad name", name)
	case ipc && c.IPC != Host, net && !c.HostNet:
		return nil
	case ipc || net:
		return fmt.Errorf("set sysctl %s: not allowed when the namespace is the host's", name)
	case dotted == "kernel.domainname" && !c.sharesUTS():
		return nil
	}
	return fmt.Errorf("set sysctl %s: it does not belong to a namespace", name)
}

// connect attaches the networks.
func (m *Manager) connect(ctx context.Context, r *Record) error {
	if r.Config.HostNet {
		return nil
	}
	ns, err := os.Open(m.ns(r.ID, kernel.Net))
	if err != nil {
		return err
	}
	defer ns.Close()
	if len(r.Config.Networks) == 0 {
		return m.set.Net.Loopback(ns)
	}
	for _, a := range r.Config.Networks {
		req := a.request(r, ns)
		if req.NoDefault = len(r.Config.Networks) > 1; !req.NoDefault {
			req.Ports = r.Config.Ports
		}
		e, err := m.set.Net.Attach(ctx, req)
		if err != nil {
			return err
		}
		r.Endpoints = append(r.Endpoints, e)
	}
	if len(r.Config.Networks) > 1 {
		return m.lead(r, ns)
	}
	return nil
}

// write makes the name files and the shared memory.
func (m *Manager) write(r *Record) error {
	dir, c := m.files(r.ID), r.Config
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return err
	}
	resolv, err := c.DNS.orHost(!c.HostNet).render()
	if err != nil {
		return err
	}
	hostname := c.Hostname
	if hostname == "" {
		hostname, _ = os.Hostname()
	}
	hosts, err := r.hostsFile(hostname)
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{"resolv.conf": resolv, "hosts": hosts, "hostname": []byte(hostname + "\n")} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return err
		}
		if err := give(r, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	if c.IPC == Host || c.OwnShm {
		return nil
	}
	shm := filepath.Join(dir, "shm")
	if err := os.Mkdir(shm, 0o1777); err != nil {
		return err
	}
	size := c.ShmSize
	if size == 0 {
		size = 64 << 20
	}
	if err := kernel.MountTmpfs(shm, "shm", size, 0o777|os.ModeSticky, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC); err != nil {
		return err
	}
	return give(r, shm)
}

// Place tells a container how to join sandbox id, which must be Ready.
func (m *Manager) Place(id string) (Place, error) {
	r, err := m.Get(id)
	if err != nil {
		return Place{}, err
	}
	if r.State != Ready {
		return Place{}, fmt.Errorf("join sandbox %s: it is not ready", r.ID[:12])
	}
	return m.place(r), nil
}

func (m *Manager) place(r *Record) Place {
	dir, c := m.files(r.ID), r.Config
	p := Place{
		Hostname: c.Hostname, Cgroup: r.Cgroup,
		ResolvConf: filepath.Join(dir, "resolv.conf"), Hosts: filepath.Join(dir, "hosts"), HostnameFile: filepath.Join(dir, "hostname"),
		ShmSize: c.ShmSize,
	}
	if !c.OwnShm {
		p.ShmDir = filepath.Join(dir, "shm")
	}
	n := &p.Namespaces
	if p.Owners = c.Owners; !c.Owners.IsZero() {
		n.User, n.UIDs, n.GIDs = m.ns(r.ID, kernel.User), c.Owners.UIDs, c.Owners.GIDs
	}
	if n.HostNet = c.HostNet; !c.HostNet {
		n.Net = m.ns(r.ID, kernel.Net)
	}
	if n.HostUTS = c.sharesUTS(); !n.HostUTS {
		n.UTS = m.ns(r.ID, kernel.UTS)
	}
	if n.HostIPC = c.IPC == Host; n.HostIPC {
		p.ShmDir = "/dev/shm"
	} else {
		n.IPC = m.ns(r.ID, kernel.IPC)
	}
	switch c.PID {
	case Host:
		n.HostPID = true
	case Shared:
		n.PID = m.ns(r.ID, kernel.PID)
	}
	if p.Hostname == "" {
		p.Hostname, _ = os.Hostname()
	}
	return p
}

// NetnsPath is where a sandbox's network namespace is pinned while it is Ready, if it has one of its own.
func (m *Manager) NetnsPath(id string) string { return m.ns(id, kernel.Net) }

// Netns is the path of the sandbox's network namespace; "" when it is the host's.
func (m *Manager) Netns(id string) (string, error) {
	p, err := m.Place(id)
	return p.Namespaces.Net, err
}

// Stop takes the sandbox down; its containers must have stopped. Stopping twice, or what does not exist, does nothing.
func (m *Manager) Stop(ctx context.Context, id string) error {
	e, err := m.lock(id)
	if err != nil {
		return nil // there is none
	}
	defer e.op.Unlock()
	old := m.current(e)
	if old.State == NotReady {
		return nil
	}
	if err := m.teardown(ctx, old); err != nil {
		return fmt.Errorf("stop sandbox %s: %w", id[:12], err)
	}
	r := *old
	r.State, r.Stopped, r.Endpoints = NotReady, time.Now(), stripped(r.Endpoints)
	if !r.Config.Revivable { // of which nobody asks when it stopped; that it did is found out by Open
		if err := m.records.Put(id, &r); err != nil {
			return err
		}
	}
	m.swap(e, &r)
	m.set.Events.Publish(events.Event{Kind: events.Sandbox, Action: events.Die, ID: id})
	return nil
}

// teardown gives back all that build took. It is idempotent.
func (m *Manager) teardown(ctx context.Context, r *Record) error {
	var errs []error
	if r.Config.PID == Shared && m.set.Pause != nil {
		errs = append(errs, m.set.Pause.Stop(ctx, r.ID))
	}
	for _, e := range r.Endpoints {
		errs = append(errs, m.set.Net.Detach(e))
	}
	errs = append(errs, m.dismantle(r.ID))
	if r.OwnCgroup {
		errs = append(errs, ClearCgroup(r.Cgroup))
	}
	return errors.Join(errs...)
}

// dismantle removes pins, mounts and files by their names alone. What is mounted goes all at once: after each unmounting the kernel waits for a grace
// period, and one serves all who wait.
func (m *Manager) dismantle(id string) error {
	dir := m.files(id)
	shm := filepath.Join(dir, "shm")
	steps := []func() error{func() error { return kernel.Unmount(shm) }}
	for _, k := range []kernel.Namespace{kernel.Net, kernel.IPC, kernel.UTS, kernel.PID, kernel.User} {
		steps = append(steps, func() error { return kernel.Unpin(m.ns(id, k)) })
	}
	errs := make([]error, len(steps))
	var all sync.WaitGroup
	for i, step := range steps {
		all.Go(func() { errs[i] = step() })
	}
	all.Wait()
	// A mount that is still there would be emptied by RemoveAll.
	if err := os.Remove(shm); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(append(errs, err)...)
	}
	return errors.Join(append(errs, os.RemoveAll(dir))...)
}

// Remove stops the sandbox if need be and forgets it. Removing what does not exist does nothing.
func (m *Manager) Remove(ctx context.Context, id string) error {
	if err := m.Stop(ctx, id); err != nil {
		return err
	}
	e, err := m.lock(id)
	if err != nil {
		return nil // there is none
	}
	defer e.op.Unlock()
	if err := m.records.Delete(id); err != nil {
		return err
	}
	m.mu.Lock()
	_, had := m.index.Get(id)
	m.index.Remove(id, e.rec.Config.Name)
	m.mu.Unlock()
	if had {
		m.set.Events.Publish(events.Event{Kind: events.Sandbox, Action: events.Destroy, ID: id})
	}
	return nil
}

// Update changes a sandbox's record by a copy: labels, resources, the front's own.
func (m *Manager) Update(id string, change func(*Record)) error {
	e, err := m.lock(id)
	if err != nil {
		return fmt.Errorf("update sandbox: %w", err)
	}
	defer e.op.Unlock()
	r := *m.current(e)
	change(&r)
	if err := m.save(&r); err != nil {
		return err
	}
	m.swap(e, &r)
	return nil
}

// save writes what somebody asked for; what only describes a state is put.
func (m *Manager) save(r *Record) error {
	if r.Lasting() {
		return m.records.Commit(r.ID, r)
	}
	return m.records.Put(r.ID, r)
}

func (m *Manager) entry(id string) *entry {
	m.mu.RLock()
	defer m.mu.RUnlock()
	e, _ := m.index.Get(id)
	return e
}

func (m *Manager) current(e *entry) *Record {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return e.rec
}

func (m *Manager) swap(e *entry, r *Record) {
	m.mu.Lock()
	e.rec = r
	m.mu.Unlock()
}

// Get finds a sandbox by ID. The record is read-only.
func (m *Manager) Get(id string) (*Record, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if e, ok := m.index.Get(id); ok {
		return e.rec, nil
	}
	return nil, fmt.Errorf("find sandbox %s: %w", id, ErrNotFound)
}

// Find is Get for an ID, a unique beginning of one, or a name.
func (m *Manager) Find(key string) (*Record, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	e, matches := m.index.Find(key)
	switch matches {
	case 0:
		return nil, fmt.Errorf("find sandbox %s: %w", key, ErrNotFound)
	case 1:
		return e.rec, nil
	}
	return nil, fmt.Errorf("find sandbox %s: %w", key, ErrAmbiguous)
}

// List returns all sandboxes, newest first. The records are read-only.
func (m *Manager) List() []*Record {
	m.mu.RLock()
	out := make([]*Record, 0, m.index.Len())
	for _, e := range m.index.All() {
		out = append(out, e.rec)
	}
	m.mu.RUnlock()
	slices.SortFunc(out, func(a, b *Record) int { return b.Created.Compare(a.Created) })
	return out
}
