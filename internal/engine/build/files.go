package build

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"github.com/opencontainers/go-digest"

	"nau/internal/engine/layer"
	"nau/internal/engine/sandbox"
	"nau/internal/kernel"
)

// view is the files of a chain of layers, mounted below the build's folder where no container sees them.
type view struct {
	dir    string
	chain  string
	layers []digest.Digest // of an owned one, bottom first
	owned  bool            // an image's or stage's, not a context's
	plain  bool            // a further context's: no ignore rules
}

// chainOf names a chain of layers.
func chainOf(layers []digest.Digest) string { return keyOf("chain", layers) }

// place makes a new folder of this build.
func (r *solving) place(kind string) (string, error) {
	r.mu.Lock()
	r.count++
	dir := filepath.Join(r.dir, kind+"-"+strconv.Itoa(r.count))
	r.mu.Unlock()
	return dir, os.Mkdir(dir, 0o755)
}

// mounts a snapshot over layers. drop unmounts and frees it.
func (r *solving) snapshot(layers []digest.Digest, opts ...layer.Option) (key, dir string, drop func() error, err error) {
	if dir, err = r.place("root"); err != nil {
		return "", "", nil, err
	}
	key = snapshotPrefix + r.id + "-" + filepath.Base(dir)
	m, err := r.b.cfg.Layers.Prepare(r.ctx, key, layers, append(opts, layer.Volatile())...)
	if err != nil {
		return "", "", nil, err
	}
	drop = func() error {
		if err := kernel.Unmount(dir); err != nil {
			return err
		}
		return errors.Join(os.Remove(dir), r.b.cfg.Layers.Remove(key))
	}
	if err := m.Attach(dir); err != nil {
		return "", "", nil, errors.Join(err, drop())
	}
	return key, dir, drop, nil
}

// view shows layers for reading, once in a build.
func (r *solving) view(layers []digest.Digest) (*view, error) {
	r.mu.Lock()
	v := r.views[chainOf(layers)]
	r.mu.Unlock()
	if v != nil {
		return v, nil
	}
	key, dir, drop, err := r.snapshot(layers)
	if err != nil {
		return nil, err
	}
	v = &view{dir: dir, chain: chainOf(layers), layers: layers, owned: true}
	r.mu.Lock()
	defer r.mu.Unlock()
	if have := r.views[v.chain]; have != nil {
		return have, drop()
	}
	r.views[v.chain] = v
	r.mounted, r.keys = append(r.mounted, dir), append(r.keys, key)
	return v, nil
}

// from shows the files of what from=NAME means for a step of stage i; "" is the context.
func (r *solving) from(i int, name string, step Step) (*view, error) {
	if name == "" {
		return r.contextOf(step)
	}
	if name == Scratch {
		return r.view(nil)
	}
	if n := r.plan.source(name, i); n >= 0 {
		st, err := r.result(n)
		if err != nil {
			return nil, err
		}
		return r.view(st.diffIDs())
	}
	if n, ok := r.named(name); ok && n.Folder != "" {
		return &view{dir: n.Folder, plain: true}, nil
	}
	img, err := r.image(i, name, r.target)
	if err != nil {
		return nil, err
	}
	return r.view(img.DiffIDs)
}

// tree opens a view for copying.
func (r *solving) tree(v *view) (*tree, error) {
	t, err := openTree(v.dir)
	if err != nil {
		return nil, err
	}
	if t.owner = v.owned; !v.owned && !v.plain {
		t.ignore = r.ignore
	}
	return t, nil
}

// close gives everything back.
func (r *solving) close() error {
	r.cancel(nil)
	r.ended.Wait()
	var errs []error
	for _, id := range r.boxes {
		errs = append(errs, r.b.removeBox(id))
	}
	if r.context != nil {
		r.context.close()
	}
	for _, dir := range slices.Backward(r.mounted) {
		errs = append(errs, kernel.Unmount(dir))
	}
	for _, key := range r.keys {
		errs = append(errs, r.b.cfg.Layers.Remove(key))
	}
	r.work.Done()
	if r.b.cfg.Ended != nil {
		defer r.b.cfg.Ended()
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("end build %s: %w", r.id, err)
	}
	return removeUnmounted(r.dir)
}

// removeUnmounted removes a folder unless something is mounted below it.
func removeUnmounted(dir string) error {
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return err
	}
	if len(mounts) > 0 {
		return fmt.Errorf("remove %s: %s is still mounted", dir, mounts[0].Mountpoint)
	}
	return os.RemoveAll(dir)
}

// clean removes what builds left that a crash cut off.
func (b *Builder) clean() error {
	var errs []error
	if b.cfg.Containers != nil {
		for _, s := range b.cfg.Sandboxes.List() {
			if s.Config.Origin == Origin {
				errs = append(errs, b.removeBox(s.ID))
			}
		}
	}
	work := filepath.Join(b.cfg.Dir, "work")
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(work))
	errs = append(errs, err)
	slices.SortFunc(mounts, func(x, y *mountinfo.Info) int { return len(y.Mountpoint) - len(x.Mountpoint) })
	for _, m := range mounts {
		errs = append(errs, kernel.Unmount(m.Mountpoint))
	}
	for _, s := range b.cfg.Layers.Snapshots() {
		if strings.HasPrefix(s.Key, snapshotPrefix) {
			errs = append(errs, b.cfg.Layers.Remove(s.Key))
		}
	}
	left, err := os.ReadDir(work)
	errs = append(errs, err)
	for _, e := range left {
		errs = append(errs, removeUnmounted(filepath.Join(work, e.Name())))
	}
	return errors.Join(append(errs, b.cache.sweep(), b.dropOrphans())...)
}

// box is the sandbox that a stage's RUN steps with one network share.
func (r *solving) box(i int, mode string) (string, error) {
	if mode == "" || mode == "default" {
		if r.req.Sandbox != "" {
			return r.req.Sandbox, nil
		}
		if mode = r.req.Network; mode == "" {
			mode = "default"
		}
	} else if mode == "host" && !r.req.HostNet && r.req.Network != "host" {
		return "", fmt.Errorf("%w: network.host", ErrEntitlement)
	}
	name := strconv.Itoa(i) + " " + mode
	r.mu.Lock()
	id := r.boxes[name]
	r.mu.Unlock()
	if id != "" {
		return id, nil
	}
	c := sandbox.Config{Origin: Origin, Hostname: cmp.Or(r.req.Hostname, "buildkitsandbox"), Hosts: r.req.Hosts, ShmSize: r.req.ShmSize, Cgroup: r.req.Cgroup, Owners: r.b.cfg.Remap}
	switch {
	case mode == "host":
		c.HostNet, c.Hostname = true, ""
	case mode == "none":
	case mode == "default" && r.b.cfg.Network != "":
		c.Networks = []sandbox.Attachment{{Network: r.b.cfg.Network}}
	case mode != "default":
		c.Networks = []sandbox.Attachment{{Network: mode}}
	}
	s, err := r.b.cfg.Sandboxes.Run(r.ctx, c)
	if err != nil {
		return "", err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.boxes[name] = s.ID // a stage's steps run one after the other
	return s.ID, nil
}
