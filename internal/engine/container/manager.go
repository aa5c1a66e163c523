package container

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"nau/internal/engine/events"
	"nau/internal/engine/image"
	"nau/internal/engine/layer"
	"nau/internal/engine/record"
	"nau/internal/engine/spec"
	"nau/internal/kernel"
	"nau/internal/oci/monitor"
)

// Settings of a Manager.
type Settings struct {
	Dir       string // records
	RunDir    string // bundles and root file systems, cleared by a reboot
	Images    Images
	Layers    Layers
	Sandboxes Sandboxes
	Runtime   Runtime
	Revive    func(context.Context) error // brings a dead monitor back
	Others    func(monitor.Event)         // told of events of what is no container here; must not block; may be nil
	Runtimes  map[string]string           // handler name → path of an OCI runtime
	Default   string                      // handler's name of who names none; "" = built in
	CDIDirs   []string                    // of descriptions of vendors' devices
	Host      spec.Host
	Init      string // path of the init program
	Events    *events.Bus
	Log       *slog.Logger
}

// Manager holds all containers of one instance.
type Manager struct {
	set     Settings
	records record.Dir[Record]
	mu      sync.RWMutex
	index   record.Index[*entry]
	images  map[string]int           // image ID → containers
	waiting map[string][]*Attachment // container ID → who joins its next run
	marks   map[string]string        // front → folder with the files that its containers are known by
	seq     *cursor
	done    sync.WaitGroup
	stop    context.CancelFunc
}

// entry is one container. op serialises its operations; rec is replaced, never changed, under Manager.mu; gone is closed at the exit
// of the present run, nil while nothing runs, under Manager.mu.
type entry struct {
	op   sync.Mutex
	rec  *Record
	gone chan struct{}
	// process is held beside the monitor, under op: a run that ends while there is no monitor tells its exit code here. Nil where it cannot be had.
	process *kernel.Process
}

// hold takes hold of the present run's process; one that has ended already is not there any more. The caller holds op.
func (e *entry) hold(pid int) {
	e.release()
	if p, err := kernel.OpenProcess(pid); err == nil {
		e.process = p
	}
}

func (e *entry) release() {
	if e.process != nil {
		_ = e.process.Close()
		e.process = nil
	}
}

// exitCode is that of the process held; UnknownExit if it is not known here either.
func (e *entry) exitCode() int {
	if e.process == nil {
		return UnknownExit
	}
	status, known := e.process.Ended()
	switch {
	case !known:
		return UnknownExit
	case status.Signaled():
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// BuiltIn is the name of the runtime that is part of this program.
const BuiltIn = "nau-oci"

// snapshotMark labels the writable layers that belong to containers here.
const snapshotMark = "nau/container"

func (m *Manager) bundle(id string) string { return filepath.Join(m.set.RunDir, id) }
func (m *Manager) rootfs(id string) string { return filepath.Join(m.set.RunDir, id, "rootfs") }

// Folder is where a container may keep files of its own beside its record.
func (m *Manager) Folder(id string) string { return m.records.Path(id) }

// Create makes a container and starts nothing.
func (m *Manager) Create(ctx context.Context, c Config) (*Record, error) {
	img, err := m.set.Images.Get(c.Image)
	if err != nil {
		return nil, fmt.Errorf("create container %s: %w", c.Name, err)
	}
	r := &Record{ID: cmp.Or(c.ID, record.NewID()), Config: c, Image: img.ID, ImageRef: img.ID.String(), Created: time.Now(), State: Created, Layers: img.DiffIDs, Shows: m.shownImages(c.Mounts)}
	if len(img.RepoDigests) > 0 {
		r.ImageRef = img.RepoDigests[0]
	}
	r.Inherited = new(imageOf(img))
	if err := m.check(r, *r.Inherited); err != nil {
		return nil, fmt.Errorf("create container %s: %w", cmp.Or(c.Name, r.ID[:12]), err)
	}
	if err := m.reserve(c.Name, r.ID); err != nil {
		return nil, err
	}
	opts := []layer.Option{layer.Labels(map[string]string{snapshotMark: r.ID})}
	if c.Ephemeral {
		opts = append(opts, layer.Volatile())
	}
	if m.lasting(r) {
		opts = append(opts, layer.Lasting())
	}
	opts = append(opts, layer.Owners(r.Owners))
	if _, err = m.set.Layers.Prepare(ctx, r.ID, img.DiffIDs, opts...); err == nil {
		if err = m.write(r, m.lasting(r)); err != nil {
			err = errors.Join(err, m.set.Layers.Remove(r.ID), m.records.Delete(r.ID))
		}
	}
	if err != nil {
		m.unreserve(c.Name, r.ID)
		return nil, fmt.Errorf("create container %s: %w", cmp.Or(c.Name, r.ID[:12]), err)
	}
	m.mu.Lock()
	m.index.Put(r.ID, &entry{rec: r})
	m.count(r, 1)
	m.mu.Unlock()
	m.publish(r, events.Create)
	return r, nil
}

// check finds out what would go wrong at Start and can be known now.
func (m *Manager) check(r *Record, img spec.Image) error {
	s, err := m.set.Sandboxes.Get(r.Config.Sandbox)
	if err != nil {
		return err
	}
	if r.Owners = s.Config.Owners; !r.Owners.IsZero() {
		if err := r.mayOwn(); err != nil {
			return err
		}
	}
	if !s.Config.Revivable { // which is started with its first container
		if _, err := m.set.Sandboxes.Place(s.ID); err != nil {
			return err
		}
	}
	if _, err := spec.Command(r.Config.Process, img); err != nil {
		return err
	}
	if _, err := spec.Capabilities(r.Config.Security, m.set.Host.Capabilities); err != nil {
		return err
	}
	if s := cmp.Or(r.Config.StopSignal, img.StopSignal); s != "" {
		if _, err := ParseSignal(s); err != nil {
			return err
		}
	}
	_, err = m.runtimePath(r)
	return err
}

// inherited is what a container has of its image, which need not be here any more.
func (m *Manager) inherited(r *Record) (spec.Image, error) {
	if r.Inherited != nil {
		return *r.Inherited, nil
	}
	img, err := m.set.Images.Get(r.Image.String())
	if err != nil {
		return spec.Image{}, err
	}
	return imageOf(img), nil
}

func imageOf(img *image.Image) spec.Image {
	c := img.Config.Config
	out := spec.Image{Entrypoint: c.Entrypoint, Cmd: c.Cmd, Env: c.Env, Dir: c.WorkingDir, User: c.User, StopSignal: c.StopSignal}
	for v := range c.Volumes {
		out.Volumes = append(out.Volumes, v)
	}
	slices.Sort(out.Volumes)
	return out
}

// runtimePath finds the OCI runtime of a container; "" is the built-in one.
func (m *Manager) runtimePath(r *Record) (string, error) {
	name := r.Config.Runtime
	if name == "" {
		if s, err := m.set.Sandboxes.Get(r.Config.Sandbox); err == nil {
			name = s.Config.Runtime
		}
	}
	if name == "" {
		name = m.set.Default
	}
	path, ok := m.set.Runtimes[name]
	if name == "" || name == BuiltIn && !ok {
		return "", nil
	}
	if !ok {
		return "", fmt.Errorf("choose runtime %q: %w", name, ErrRuntime)
	}
	return path, nil
}

func (m *Manager) reserve(name, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if owner, ok := m.index.Reserve(name, id); !ok {
		return fmt.Errorf("name container %s: %w by %s", name, ErrNameTaken, owner)
	}
	return nil
}

func (m *Manager) unreserve(name, id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.index.Release(name, id)
}

func (m *Manager) publish(r *Record, a events.Action) {
	e := events.Event{Kind: events.Container, Action: a, ID: r.ID, Sandbox: r.Config.Sandbox}
	if a == events.Die {
		e.ExitCode, e.Time = r.ExitCode, r.Finished
	}
	m.set.Events.Publish(e)
}

// turn finds a container and takes its lock, which the caller gives back. Of one that is removed meanwhile nothing is written any more.
func (m *Manager) turn(id string) (*entry, error) {
	e, err := m.entry(id)
	if err != nil {
		return nil, err
	}
	e.op.Lock()
	if now, err := m.entry(id); err != nil || now != e {
		e.op.Unlock()
		return nil, fmt.Errorf("find container %s: %w", id, ErrNotFound)
	}
	return e, nil
}

func (m *Manager) entry(id string) (*entry, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if e, ok := m.index.Get(id); ok {
		return e, nil
	}
	return nil, fmt.Errorf("find container %s: %w", id, ErrNotFound)
}

// current returns the record as it is now, and the channel that closes at the end of the present run.
func (m *Manager) current(e *entry) (*Record, chan struct{}) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return e.rec, e.gone
}

// put stores a changed record: of a state, which a loss of power ends anyway. The caller holds e.op.
func (m *Manager) put(e *entry, r *Record) error { return m.store(e, r, false) }

// commit stores a record that somebody changed, who may rely on it from then on. The caller holds e.op.
func (m *Manager) commit(e *entry, r *Record) error { return m.store(e, r, m.lasting(r)) }

// lasting tells that a container may be started after a reboot, so that a loss of power must not take it away.
func (m *Manager) lasting(r *Record) bool {
	s, err := m.set.Sandboxes.Get(r.Config.Sandbox)
	return err == nil && s.Lasting() && !r.Config.Ephemeral
}

func (m *Manager) write(r *Record, committed bool) error {
	if committed {
		return m.records.Commit(r.ID, r)
	}
	return m.records.Put(r.ID, r)
}

func (m *Manager) store(e *entry, r *Record, committed bool) error {
	err := m.write(r, committed)
	m.mu.Lock()
	e.rec = r
	m.mu.Unlock()
	return err
}

// Get finds a container by ID. The record is read-only.
func (m *Manager) Get(id string) (*Record, error) {
	e, err := m.entry(id)
	if err != nil {
		return nil, err
	}
	r, _ := m.current(e)
	return r, nil
}

// Find is Get for an ID, a unique beginning of one, or a name.
func (m *Manager) Find(key string) (*Record, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if name, ok := strings.CutPrefix(key, "/"); ok { // Docker's form of a name
		if e, ok := m.index.Named(name); ok {
			return e.rec, nil
		}
		return nil, fmt.Errorf("find container %s: %w", key, ErrNotFound)
	}
	e, matches := m.index.Find(key)
	switch matches {
	case 0:
		return nil, fmt.Errorf("find container %s: %w", key, ErrNotFound)
	case 1:
		return e.rec, nil
	}
	return nil, fmt.Errorf("find container %s: %w", key, ErrAmbiguous)
}

// List returns all containers, newest first. The records are read-only.
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

// In returns a sandbox's containers, oldest first.
func (m *Manager) In(sandbox string) []*Record {
	var out []*Record
	m.mu.RLock()
	for _, e := range m.index.All() {
		if e.rec.Config.Sandbox == sandbox {
			out = append(out, e.rec)
		}
	}
	m.mu.RUnlock()
	slices.SortFunc(out, func(a, b *Record) int { return a.Created.Compare(b.Created) })
	return out
}

// count keeps the number of users of a container's images. m.mu is held.
func (m *Manager) count(r *Record, by int) {
	for _, id := range append(slices.Clone(r.Shows), r.Image) {
		if m.images[id.String()] += by; m.images[id.String()] <= 0 {
			delete(m.images, id.String())
		}
	}
}

// ImageUsed tells who uses an image.
func (m *Manager) ImageUsed(id string) (users []string, running bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.images[id] == 0 {
		return nil, false
	}
	for cid, e := range m.index.All() {
		if e.rec.Image.String() == id || slices.ContainsFunc(e.rec.Shows, func(d digest.Digest) bool { return d.String() == id }) {
			users = append(users, cid)
			running = running || e.rec.State == Running || e.rec.State == Paused
		}
	}
	return users, running
}

// Update changes a container's record by a copy: labels, policies, the front's own.
func (m *Manager) Update(id string, change func(*Record)) error {
	e, err := m.turn(id)
	if err != nil {
		return err
	}
	defer e.op.Unlock()
	old, _ := m.current(e)
	r := *old
	change(&r)
	return m.commit(e, &r)
}

// Remove deletes a container; a running one is killed first. Removing what does not exist does nothing.
func (m *Manager) Remove(ctx context.Context, id string) error {
	e, err := m.entry(id)
	if err != nil {
		return nil
	}
	if err := m.Stop(ctx, id, 0); err != nil {
		return err
	}
	e.op.Lock()
	defer e.op.Unlock()
	if _, err := m.entry(id); err != nil {
		return nil // somebody else did
	}
	r, _ := m.current(e)
	if r.State == Running || r.State == Paused {
		return fmt.Errorf("remove container %s: %w", id[:12], ErrState)
	}
	if r.State == Exited && r.Error != "" {
		// A start that failed has been cleaned up after, unless that failed too.
		err = m.forget(ctx, r)
	} else {
		err = m.release(id)
	}
	err = errors.Join(err, m.dropImages(r), m.records.Delete(id))
	if lerr := m.set.Layers.Remove(id); lerr != nil && !errors.Is(lerr, layer.ErrNotFound) {
		err = errors.Join(err, lerr)
	}
	if err != nil {
		return fmt.Errorf("remove container %s: %w", id[:12], err)
	}
	m.mu.Lock()
	m.index.Remove(id, r.Config.Name)
	m.count(r, -1)
	m.mu.Unlock()
	m.publish(r, events.Destroy)
	return nil
}

// release unmounts the root file system and removes the bundle.
func (m *Manager) release(id string) error {
	if err := errors.Join(m.hideImages(id), kernel.Unmount(m.rootfs(id))); err != nil {
		return err
	}
	// Not RemoveAll: should something still be mounted here, nothing inside may be deleted.
	places, _ := filepath.Glob(filepath.Join(m.bundle(id), "images", "*"))
	for _, p := range append(places, m.rootfs(id)) {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("release container %s: %w", id[:12], err)
		}
	}
	return os.RemoveAll(m.bundle(id))
}
