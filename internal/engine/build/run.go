package build

import (
	"archive/tar"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"golang.org/x/sys/unix"

	"nau/internal/engine/container"
	"nau/internal/engine/image"
	"nau/internal/engine/layer"
	"nau/internal/engine/spec"
	"nau/internal/kernel"
)

// run runs a RUN.
func (r *solving) run(i int, st *state, step Step) (bool, error) {
	c := step.Run
	if r.b.cfg.Containers == nil {
		return false, fmt.Errorf("RUN: %w: this builder has no containers", ErrUnsupported)
	}
	if c.Insecure && !r.req.Insecure {
		return false, fmt.Errorf("RUN --security=insecure: %w: security.insecure", ErrEntitlement)
	}
	if err := runnable(st.platform); err != nil {
		return false, err
	}
	binds, inputs, err := r.inputs(i, step)
	if err != nil {
		return false, err
	}
	if r.req.Classic && len(st.config.Volumes) > 0 {
		inputs = append(inputs, []any{"volumes", slices.Sorted(maps.Keys(st.config.Volumes))})
	}
	key := keyOf("run", st.diffIDs(), c.Args, c.Env, c.Dir, c.User, c.Script, c.Network, r.req.Network, r.req.Sandbox, c.Insecure, inputs, st.platform.Architecture, r.epoch)
	return r.cachedLayer(st, step, key, func() (blob image.LayerBlob, err error) {
		box, err := r.box(i, c.Network)
		if err != nil {
			return blob, err
		}
		img, err := r.materialise(st)
		if err != nil {
			return blob, err
		}
		m := &runMounts{r: r, shifted: map[string]bool{}}
		defer func() { err = errors.Join(err, m.close()) }()
		if err := m.prepare(c, binds); err != nil {
			return blob, err
		}
		if err := m.volumes(st); err != nil {
			return blob, err
		}
		return r.execute(i, st, step, img, box, m)
	})
}

// ignoreOwner is for trees whose owners do not count.
func ignoreOwner(*tar.Header) {}

// inputs opens what bind mounts show, and says what the mounts mean for the cache. Secrets, agents and caches do not count, only where they are.
func (r *solving) inputs(i int, step Step) (binds map[*instructions.Mount]*view, inputs []any, err error) {
	c := step.Run
	binds = map[*instructions.Mount]*view{}
	for _, m := range c.Mounts {
		inputs = append(inputs, []any{m.Type, m.Source, m.Target, m.ReadOnly, m.CacheID, m.SizeLimit})
		seed := m.Type == instructions.MountTypeCache && (m.From != "" || path.Clean("/"+m.Source) != "/")
		if m.Type != instructions.MountTypeBind && !seed {
			continue
		}
		v, err := r.from(i, m.From, step)
		if err != nil {
			return nil, nil, err
		}
		binds[m] = v
		if v.owned {
			inputs = append(inputs, v.chain)
			continue
		}
		t, err := r.tree(v)
		if err != nil {
			return nil, nil, err
		}
		h := sha256.New()
		err = sum(h, func(f func(entry) error) error { return t.walk(r.ctx, path.Clean("/"+m.Source), "", nil, f) }, ignoreOwner)
		t.close()
		if err != nil {
			return nil, nil, err
		}
		inputs = append(inputs, hex.EncodeToString(h.Sum(nil)))
	}
	return binds, inputs, nil
}

// execute runs the command in a container and makes a layer of what it wrote.
func (r *solving) execute(i int, st *state, step Step, img *image.Image, box string, m *runMounts) (blob image.LayerBlob, err error) {
	c := step.Run
	env := slices.Concat(c.Env, c.Secret, m.env)
	var security spec.Security
	if c.Insecure {
		security = spec.Security{Privileged: true, Seccomp: spec.Profile{Kind: spec.ProfileUnconfined}}
	}
	process := spec.Process{Entrypoint: c.Args, Args: []string{}, Env: env, Dir: c.Dir, User: spec.User{Name: c.User, GroupAlone: true}, Rlimits: r.req.Rlimits}
	if r.req.Classic && len(c.Args) == 0 { // RUN []: what the image runs by itself
		process.Entrypoint, process.Args = nil, nil
	}
	rec, err := r.b.cfg.Containers.Create(r.ctx, container.Config{Sandbox: box, Origin: Origin, Image: img.ID.String(), Mounts: m.list, Ephemeral: true,
		Process:   process,
		Security:  security,
		Resources: r.req.Resources})
	if err != nil {
		return blob, err
	}
	defer func() {
		k := Kept{ID: rec.ID, Ran: true, Image: img.ID, Config: st.config, Args: c.Args}
		k.Config.Env = c.Env
		err = r.settle(i, k, err)
	}()
	r.emit(Event{Kind: StepRuns, Stage: i, ID: rec.ID})
	out, bad := &output{r: r, stage: i}, &output{r: r, stage: i, stderr: true}
	join, err := r.b.cfg.Containers.Join(r.ctx, rec.ID, container.Streams{Stdout: out, Stderr: bad})
	if err != nil {
		return blob, err
	}
	copied := make(chan error, 1)
	go func() { copied <- join.Run(r.ctx) }()
	if err := r.b.cfg.Containers.Start(r.ctx, rec.ID); err != nil {
		return blob, err
	}
	end, err := r.b.cfg.Containers.Wait(r.ctx, rec.ID)
	if err != nil {
		if r.ctx.Err() != nil {
			err = context.Cause(r.ctx)
		}
		return blob, err
	}
	<-copied
	if end.ExitCode != 0 {
		return blob, &RunError{Args: c.Args, Code: end.ExitCode}
	}
	changes, err := r.b.cfg.Layers.Changes(r.ctx, rec.ID)
	if err != nil {
		return blob, err
	}
	return r.commit(rec.ID, layer.Stubs(changes, slices.Concat(layer.RuntimeTargets, m.targets)))
}

// output passes a container's output on as events.
type output struct {
	r      *solving
	stage  int
	stderr bool
}

func (o *output) Write(p []byte) (int, error) {
	o.r.emit(Event{Kind: StepOutput, Stage: o.stage, Stderr: o.stderr, Data: slices.Clone(p)})
	return len(p), nil
}

// runMounts is what a RUN sees beside the stage's files. Every source is a folder that only the builder writes to, or was opened below one by the
// kernel's own rules: no container can put something else in its place.
type runMounts struct {
	r       *solving
	list    []spec.Mount
	targets []string
	env     []string
	undo    []func() error
	shifted map[string]bool // sources whose owners are the host's ids of the steps' user namespace
}

func (m *runMounts) close() error {
	var errs []error
	for _, f := range slices.Backward(m.undo) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

func (m *runMounts) add(mnt spec.Mount) {
	if mnt.Type == "" && !m.r.b.cfg.Remap.IsZero() && !m.shifted[mnt.Source] {
		// On disk it is owned as the step is to see it.
		mnt.UIDs, mnt.GIDs = m.r.b.cfg.Remap.UIDs, m.r.b.cfg.Remap.GIDs
	}
	m.list = append(m.list, mnt)
	m.targets = append(m.targets, mnt.Target)
}

func (m *runMounts) prepare(c *Run, binds map[*instructions.Mount]*view) error {
	for _, mnt := range c.Mounts {
		var err error
		switch mnt.Type {
		case instructions.MountTypeTmpfs:
			t := spec.Mount{Type: "tmpfs", Target: mnt.Target, Options: []string{"nosuid", "nodev", "mode=1777"}}
			if mnt.SizeLimit > 0 {
				t.Options = append(t.Options, fmt.Sprintf("size=%d", mnt.SizeLimit))
			}
			m.add(t)
		case instructions.MountTypeBind:
			err = m.bind(mnt, binds[mnt])
		case instructions.MountTypeCache:
			err = m.cache(mnt, binds[mnt])
		case instructions.MountTypeSecret:
			err = m.secret(mnt)
		case instructions.MountTypeSSH:
			err = m.ssh(mnt)
		}
		if err != nil {
			return fmt.Errorf("mount %s %s: %w", mnt.Type, mnt.Target, err)
		}
	}
	if c.Script == nil {
		return nil
	}
	dir, err := m.memory()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, c.Script.Name), []byte(c.Script.Data), 0o755); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	m.add(spec.Mount{Source: dir, Target: scriptDir, ReadOnly: true})
	return nil
}

// memory mounts a small tmpfs of the builder's own: what lies in it reaches no disk.
func (m *runMounts) memory() (string, error) {
	dir, err := m.r.place("memory")
	if err != nil {
		return "", err
	}
	if err := kernel.MountTmpfs(dir, "build", 16<<20, 0o700, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV); err != nil {
		return "", err
	}
	m.undo = append(m.undo, func() error { return errors.Join(kernel.Unmount(dir), os.Remove(dir)) })
	return dir, nil
}

// bind shows a part of the context, a stage or an image. What a writable one is given is forgotten.
func (m *runMounts) bind(mnt *instructions.Mount, v *view) error {
	dir := v.dir
	if v.owned && !m.r.b.cfg.Remap.IsZero() {
		var err error
		if dir, err = m.owned(v); err != nil {
			return err
		}
	}
	if !v.owned && !v.plain && m.r.ignore != nil && len(m.r.ignore.rules) > 0 {
		var err error
		if dir, err = m.r.filtered(v); err != nil {
			return err
		}
	}
	root, err := kernel.OpenPath(dir)
	if err != nil {
		return err
	}
	defer unix.Close(root)
	source := strings.TrimPrefix(path.Clean("/"+mnt.Source), "/")
	if source == "" {
		source = "."
	}
	fd, err := kernel.OpenInRoot(root, source, unix.O_PATH, 0)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrContext, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	show, err := m.r.place("bind")
	if err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		show = filepath.Join(show, "file")
		if !mnt.ReadOnly {
			if err := copyFile(fd, &st, show); err != nil {
				return err
			}
			m.shifted[show] = v.owned
			m.add(spec.Mount{Source: show, Target: mnt.Target})
			return nil
		}
		if err := os.WriteFile(show, nil, 0o600); err != nil {
			return err
		}
	}
	clone, err := kernel.CloneTree(fd, "", false)
	if err != nil {
		return err
	}
	defer clone.Close()
	if err := clone.AttachPath(show); err != nil {
		return err
	}
	below := show
	m.undo = append(m.undo, func() error { return kernel.Unmount(below) })
	if !mnt.ReadOnly {
		above, err := m.r.place("upper")
		if err != nil {
			return err
		}
		o := layer.Mount{Lower: []string{show}, Upper: filepath.Join(above, "upper"), Work: filepath.Join(above, "work")}
		show = filepath.Join(above, "merged")
		for _, d := range []string{o.Upper, o.Work, show} {
			if err := os.Mkdir(d, 0o755); err != nil {
				return err
			}
		}
		if remap := m.r.b.cfg.Remap; !remap.IsZero() {
			root := remap.Root()
			if err := os.Chown(o.Upper, root.UID, root.GID); err != nil {
				return err
			}
			if !v.owned { // else what it shows is shifted already
				o.Owners, o.Base = remap, o.Lower[0]
			}
		}
		if err := o.Attach(show); err != nil {
			return err
		}
		m.undo = append(m.undo, func() error { return kernel.Unmount(show) })
	}
	if v.owned || !mnt.ReadOnly {
		m.shifted[show] = true
	}
	m.add(spec.Mount{Source: show, Target: mnt.Target, ReadOnly: mnt.ReadOnly})
	return nil
}

// copyFile makes a file of what a descriptor shows: what is written to it is forgotten with it.
func copyFile(fd int, st *unix.Stat_t, to string) error {
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("%w: it is neither a folder nor a file", ErrContext)
	}
	from, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return err
	}
	defer from.Close()
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	if err = errors.Join(err, f.Close(), os.Chown(to, int(st.Uid), int(st.Gid))); err != nil {
		return err
	}
	return os.Chmod(to, os.FileMode(st.Mode&0o777))
}

// owned shows a view's layers as the steps' user namespace owns them.
func (m *runMounts) owned(v *view) (string, error) {
	_, dir, drop, err := m.r.snapshot(v.layers, layer.Owners(m.r.b.cfg.Remap))
	if err != nil {
		return "", err
	}
	m.undo = append(m.undo, drop)
	return dir, nil
}

// filtered is a copy of the context without what is ignored, made when first a bind mount asks.
func (r *solving) filtered(v *view) (string, error) {
	dir, err := r.place("context")
	if err != nil {
		return "", err
	}
	t, err := r.tree(v)
	if err != nil {
		return "", err
	}
	defer t.close()
	p := piece{dir: "/", walk: func(ctx context.Context, f func(entry) error) error { return t.walk(ctx, "", "", nil, f) }}
	return dir, p.put(r.ctx, dir, ignoreOwner, "", [2]int{})
}

func (m *runMounts) secret(mnt *instructions.Mount) error {
	id := mnt.CacheID
	if id == "" {
		id = mnt.Source
	}
	if id == "" {
		id = path.Base(mnt.Target)
	}
	value, err := m.ask(id)
	if errors.Is(err, ErrNotGiven) {
		if mnt.Required {
			return fmt.Errorf("secret %s: not found: %w: pass it with --secret id=%s,src=FILE", id, ErrContext, id)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("read secret %s: %w", id, err)
	}
	if mnt.Env != nil {
		name := *mnt.Env
		if name == "" {
			name = id
		}
		m.env = append(m.env, name+"="+string(value))
		if mnt.Target == "" {
			return nil
		}
	}
	target := mnt.Target
	if target == "" {
		target = "/run/secrets/" + path.Base(id)
	}
	dir, err := m.memory()
	if err != nil {
		return err
	}
	file, mode := filepath.Join(dir, "secret"), uint64(0o400)
	if mnt.Mode != nil {
		mode = *mnt.Mode
	}
	if err := os.WriteFile(file, value, 0o600); err != nil {
		return err
	}
	if err := os.Chown(file, number(mnt.UID), number(mnt.GID)); err != nil {
		return err
	}
	if err := os.Chmod(file, os.FileMode(mode&0o777)); err != nil {
		return err
	}
	m.add(spec.Mount{Source: file, Target: target, ReadOnly: true})
	return nil
}

// ask reads a secret from whoever started the build.
func (m *runMounts) ask(id string) ([]byte, error) {
	if m.r.req.Secret == nil {
		return nil, ErrNotGiven
	}
	return m.r.req.Secret(m.r.ctx, id)
}

func (m *runMounts) ssh(mnt *instructions.Mount) error {
	id := mnt.CacheID
	if id == "" {
		id = "default"
	}
	socket, err := m.forward(id, mnt)
	if errors.Is(err, ErrNotGiven) {
		if mnt.Required {
			return fmt.Errorf("agent %s: %w: pass it with --ssh %s", id, ErrContext, id)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("forward agent %s: %w", id, err)
	}
	target := mnt.Target
	if target == "" {
		target = fmt.Sprintf("/run/buildkit/ssh_agent.%d", len(m.list))
	}
	m.add(spec.Mount{Source: socket, Target: target, ReadOnly: true})
	m.env = append(m.env, "SSH_AUTH_SOCK="+target)
	return nil
}

// forward makes an agent listen on a socket that only the builder's folder has.
func (m *runMounts) forward(id string, mnt *instructions.Mount) (string, error) {
	if m.r.req.Agent == nil {
		return "", ErrNotGiven
	}
	dir, err := m.r.place("agent")
	if err != nil {
		return "", err
	}
	fd, err := kernel.OpenPath(dir)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	at := Socket{Path: fmt.Sprintf("/proc/self/fd/%d/socket", fd), UID: number(mnt.UID), GID: number(mnt.GID), Mode: 0o600} // a socket's path has few bytes
	if mnt.Mode != nil {
		at.Mode = os.FileMode(*mnt.Mode & 0o777)
	}
	stop, err := m.r.req.Agent(m.r.ctx, id, at)
	if err != nil {
		return "", err
	}
	m.undo = append(m.undo, stop)
	return filepath.Join(dir, "socket"), nil
}

// cache shows a folder that RUN steps share. from fills a new one; nil = it is empty at first.
func (m *runMounts) cache(mnt *instructions.Mount, from *view) error {
	id := mnt.CacheID
	if id == "" {
		id = path.Clean(mnt.Target)
	}
	mode := os.FileMode(0o755)
	if mnt.Mode != nil {
		mode = unixMode(*mnt.Mode)
	}
	if from != nil { // what a folder began with is a part of what it is
		id += "\x00" + keyOf(from.chain, path.Clean("/"+mnt.Source))
	}
	dir, release, err := m.r.b.mounts.take(m.r.ctx, id, mnt.CacheSharing, func(dir string) error {
		if from != nil {
			return m.seed(mnt, from, dir)
		}
		if err := os.Chmod(dir, mode); err != nil {
			return err
		}
		return os.Chown(dir, number(mnt.UID), number(mnt.GID))
	})
	if err != nil {
		return err
	}
	m.undo = append(m.undo, func() error { release(); return nil })
	m.add(spec.Mount{Source: dir, Target: mnt.Target, ReadOnly: mnt.ReadOnly})
	return nil
}

// seed fills a new cache folder with what a stage, an image or the context has at the mount's source. The folder is owned as that one.
func (m *runMounts) seed(mnt *instructions.Mount, v *view, dir string) error {
	t, err := m.r.tree(v)
	if err != nil {
		return err
	}
	defer t.close()
	source := strings.TrimPrefix(path.Clean("/"+mnt.Source), "/")
	st, err := statIn(t.root, cmp.Or(source, "."))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrContext, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return fmt.Errorf("%w: %q is no folder", ErrContext, mnt.Source)
	}
	p := piece{dir: "/", walk: func(ctx context.Context, f func(entry) error) error { return t.walk(ctx, source, "", nil, f) }}
	alter := ignoreOwner
	if !v.owned {
		alter = func(h *tar.Header) { h.Uid, h.Gid = 0, 0 }
	}
	if err := p.put(m.r.ctx, dir, alter, "", [2]int{}); err != nil {
		return err
	}
	if v.owned {
		if err := os.Chown(dir, int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
	}
	return os.Chmod(dir, os.FileMode(st.Mode&0o777))
}

func unixMode(m uint64) os.FileMode {
	mode := os.FileMode(m & 0o777)
	if m&0o1000 != 0 {
		mode |= os.ModeSticky
	}
	return mode
}

func number(n *uint64) int {
	if n == nil {
		return 0
	}
	return int(*n)
}

// cacheMounts keeps the folders of RUN --mount=type=cache. A folder's name is a digest of its ID, so that no ID leads anywhere; containers see
// what is below it and never the folder that it lies in.
type cacheMounts struct {
	dir  string
	mu   sync.Mutex
	busy map[string]*cacheMount
}

type cacheMount struct {
	users     int
	exclusive bool
	freed     chan struct{} // closed when a user leaves
}

// take gives a folder for an ID: shared with others, waiting for others (locked), or one that nobody else has (private).
func (c *cacheMounts) take(ctx context.Context, id string, sharing instructions.ShareMode, prepare func(dir string) error) (dir string, release func(), err error) {
	for n := 0; ; {
		name := nameOf(id, n)
		c.mu.Lock()
		m := c.busy[name]
		if m == nil {
			m = &cacheMount{freed: make(chan struct{})}
			c.busy[name] = m
		}
		shared := sharing == "" || sharing == instructions.MountSharingShared
		if m.users == 0 || shared && !m.exclusive {
			m.users++
			m.exclusive = !shared
			c.mu.Unlock()
			release = sync.OnceFunc(func() { c.leave(name, m) })
			if dir, err = c.folder(name, prepare); err != nil {
				release()
				return "", nil, err
			}
			return dir, release, nil
		}
		freed := m.freed
		c.mu.Unlock()
		if sharing == instructions.MountSharingPrivate {
			n++
			continue
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return "", nil, context.Cause(ctx)
		}
	}
}

func (c *cacheMounts) leave(name string, m *cacheMount) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m.users--
	close(m.freed)
	m.freed = make(chan struct{})
	if m.users == 0 {
		delete(c.busy, name)
	}
}

func (c *cacheMounts) folder(name string, prepare func(string) error) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	dir := filepath.Join(c.dir, name)
	if _, err := os.Lstat(dir); err == nil {
		return dir, nil
	}
	fresh := dir + ".new" // it has its name when it is whole
	err := os.RemoveAll(fresh)
	if err == nil {
		err = os.Mkdir(fresh, 0o700)
	}
	if err == nil {
		err = prepare(fresh)
	}
	if err == nil {
		err = os.Rename(fresh, dir)
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("make cache mount: %w", err), os.RemoveAll(fresh))
	}
	return dir, nil
}

func nameOf(id string, n int) string {
	s := sha256.Sum256([]byte(fmt.Sprintf("%d %s", n, id)))
	return hex.EncodeToString(s[:16])
}

// removeBox ends a sandbox with what runs in it.
func (b *Builder) removeBox(id string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, c := range b.cfg.Containers.In(id) {
		if err := b.cfg.Containers.Remove(ctx, c.ID); err != nil {
			return err
		}
	}
	return b.cfg.Sandboxes.Remove(ctx, id)
}
