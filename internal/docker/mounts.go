package docker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	dc "github.com/moby/moby/api/types/container"
	dm "github.com/moby/moby/api/types/mount"
	"golang.org/x/sys/unix"

	"nau/internal/engine/container"
	"nau/internal/engine/image"
	"nau/internal/engine/layer"
	"nau/internal/engine/record"
	"nau/internal/engine/spec"
	"nau/internal/engine/volume"
	"nau/internal/kernel"
	"nau/internal/kernel/idmap"
)

// wish is one mount as asked for, in whatever way.
type wish struct {
	point   dc.MountPoint
	mount   spec.Mount
	volume  *volume.Volume // to make, when the mount is of a volume
	subpath string
	noCopy  bool
	must    bool // the source of a bind must exist
	shallow bool // read-only, but not what is mounted below
	// unlisted: inspect does not tell of it among the mounts.
	unlisted bool
}

// errMount words an error of a --mount.
func errMount(m dm.Mount, format string, args ...any) error {
	return badRequest("invalid mount config for type %q: %s", m.Type, fmt.Sprintf(format, args...))
}

// parseBind reads "source:target[:options]" of -v.
func parseBind(text string) (wish, error) {
	parts := strings.Split(text, ":")
	var source, target, mode string
	switch len(parts) {
	case 1:
		target = parts[0]
	case 2:
		source, target = parts[0], parts[1]
	case 3:
		source, target, mode = parts[0], parts[1], parts[2]
	default:
		return wish{}, badRequest("invalid volume specification: '%s'", text)
	}
	if target == "" || len(parts) > 1 && source == "" {
		return wish{}, badRequest("invalid volume specification: '%s'", text)
	}
	if !path.IsAbs(target) {
		return wish{}, badRequest("invalid volume specification: '%s': invalid mount config for type \"volume\": invalid mount path: '%s' mount path must be absolute", text, target)
	}
	if path.Clean(target) == "/" {
		return wish{}, badRequest("invalid volume specification: '%s': invalid specification: destination can't be '/'", text)
	}
	w := wish{point: dc.MountPoint{Destination: path.Clean(target), Mode: mode, RW: true}, mount: spec.Mount{Target: path.Clean(target)}}
	for _, o := range strings.Split(mode, ",") {
		switch o {
		case "", "rw", "z", "Z", "consistent", "cached", "delegated":
		case "ro":
			w.point.RW, w.mount.ReadOnly = false, true
		case "nocopy":
			w.noCopy = true
		case "private", "rprivate", "shared", "rshared", "slave", "rslave":
			w.point.Propagation = dm.Propagation(o)
			w.mount.Propagation = propagation(dm.Propagation(o))
		default:
			return wish{}, badRequest("invalid mode: %s", mode)
		}
	}
	if path.IsAbs(source) {
		if w.noCopy {
			return wish{}, badRequest("invalid mode: %s", mode)
		}
		w.point.Type, w.point.Source = dm.TypeBind, path.Clean(source)
		w.mount.Source, w.mount.MakeSource = path.Clean(source), true
		if w.point.Propagation == "" {
			w.point.Propagation = dm.PropagationRPrivate
		}
		return w, nil
	}
	if w.point.Propagation != "" {
		return wish{}, badRequest("invalid volume specification: '%s': invalid mount config for type \"volume\": field BindOptions must not be specified", text)
	}
	w.point.Type, w.point.Name = dm.TypeVolume, source
	w.volume = &volume.Volume{Name: source}
	return w, checkVolumeName(source)
}

func checkVolumeName(name string) error {
	if name != "" && !volume.NameRule.MatchString(name) {
		if len(name) == 1 {
			return badRequest("create %s: volume name is too short, names should be at least two alphanumeric characters", name)
		}
		return badRequest("create %s: %q includes invalid characters for a local volume name, only %q are allowed. If you intended to pass a host directory, use absolute path",
			name, name, "[a-zA-Z0-9][a-zA-Z0-9_.-]")
	}
	return nil
}

func propagation(p dm.Propagation) spec.Propagation {
	switch p {
	case dm.PropagationRShared, dm.PropagationShared:
		return spec.PropagateShared
	case dm.PropagationRSlave, dm.PropagationSlave:
		return spec.PropagateSlave
	}
	return spec.PropagatePrivate
}

// parseMount reads one --mount.
func parseMount(m dm.Mount) (wish, error) {
	if m.Target == "" {
		return wish{}, errMount(m, "field Target must not be empty")
	}
	if !path.IsAbs(m.Target) {
		return wish{}, errMount(m, "invalid mount path: '%s' mount path must be absolute", m.Target)
	}
	target := path.Clean(m.Target)
	if target == "/" {
		return wish{}, errMount(m, "invalid specification: destination can't be '/'")
	}
	for _, o := range []struct {
		name  string
		given bool
		of    dm.Type
	}{{"BindOptions", m.BindOptions != nil, dm.TypeBind}, {"VolumeOptions", m.VolumeOptions != nil, dm.TypeVolume}, {"TmpfsOptions", m.TmpfsOptions != nil, dm.TypeTmpfs},
		{"ImageOptions", m.ImageOptions != nil, dm.TypeImage}, {"ClusterOptions", m.ClusterOptions != nil, dm.TypeCluster}} {
		if o.given && o.of != m.Type {
			return wish{}, errMount(m, "field %s must not be specified", o.name)
		}
	}
	w := wish{point: dc.MountPoint{Type: m.Type, Destination: target, RW: !m.ReadOnly}, mount: spec.Mount{Target: target, ReadOnly: m.ReadOnly}}
	switch m.Type {
	case dm.TypeBind:
		if m.Source == "" {
			return wish{}, errMount(m, "field Source must not be empty")
		}
		if !path.IsAbs(m.Source) {
			return wish{}, errMount(m, "invalid mount path: '%s' mount path must be absolute", m.Source)
		}
		w.mount.Source, w.point.Source, w.must = path.Clean(m.Source), path.Clean(m.Source), true
		w.point.Propagation = dm.PropagationRPrivate
		if o := m.BindOptions; o != nil {
			w.mount.NonRecursive = o.NonRecursive
			w.must, w.mount.MakeSource = !o.CreateMountpoint, o.CreateMountpoint
			switch {
			case (o.ReadOnlyForceRecursive || o.ReadOnlyNonRecursive) && !m.ReadOnly:
				return wish{}, errMount(m, "ReadOnlyNonRecursive and ReadOnlyForceRecursive need ReadOnly")
			case o.ReadOnlyForceRecursive && o.ReadOnlyNonRecursive:
				return wish{}, errMount(m, "ReadOnlyForceRecursive and ReadOnlyNonRecursive cannot be combined")
			case o.ReadOnlyForceRecursive && o.Propagation != dm.PropagationRPrivate:
				return wish{}, errMount(m, "ReadOnlyForceRecursive needs Propagation rprivate")
			}
			w.mount.RecursiveReadOnly, w.shallow = o.ReadOnlyForceRecursive, o.ReadOnlyNonRecursive
			if o.Propagation != "" {
				w.point.Propagation = o.Propagation
				w.mount.Propagation = propagation(o.Propagation)
			}
		}
		if w.must {
			if _, err := os.Stat(w.mount.Source); err != nil {
				return wish{}, errMount(m, "bind source path does not exist: %s", m.Source)
			}
		}
	case dm.TypeVolume:
		w.point.Name, w.volume = m.Source, &volume.Volume{Name: m.Source}
		if o := m.VolumeOptions; o != nil {
			if o.Subpath != "" && !filepath.IsLocal(o.Subpath) {
				return wish{}, errMount(m, "subpath must be a relative path within the volume: %s", o.Subpath)
			}
			w.noCopy, w.subpath = o.NoCopy, o.Subpath
			w.volume.Labels = o.Labels
			if d := o.DriverConfig; d != nil {
				if d.Name != "" && d.Name != "local" {
					return wish{}, notFound("error looking up volume plugin %s: plugin %q not found", d.Name, d.Name)
				}
				w.volume.Options = d.Options
			}
		}
		return w, checkVolumeName(m.Source)
	case dm.TypeTmpfs:
		if m.Source != "" {
			return wish{}, errMount(m, "field Source must not be specified")
		}
		w.mount.Type, w.mount.Options = "tmpfs", []string{"nosuid", "nodev", "noexec"}
		if o := m.TmpfsOptions; o != nil {
			if o.SizeBytes > 0 {
				w.mount.Options = append(w.mount.Options, fmt.Sprintf("size=%d", o.SizeBytes))
			}
			if o.Mode != 0 {
				w.mount.Options = append(w.mount.Options, fmt.Sprintf("mode=%o", o.Mode.Perm()))
			}
			for _, opt := range o.Options {
				if err := tmpfsOption(&w.mount.Options, opt); err != nil {
					return wish{}, errMount(m, "%v", err)
				}
			}
		}
	case dm.TypeImage:
		w.mount.Type, w.mount.Source, w.point.Source = spec.MountImage, m.Source, m.Source
		w.mount.ReadOnly, w.point.RW = true, false
		if m.ImageOptions != nil {
			if sub := m.ImageOptions.Subpath; sub != "" && !filepath.IsLocal(sub) {
				return wish{}, errMount(m, "subpath must be a relative path within the volume: %s", sub)
			}
			w.mount.SubPath = m.ImageOptions.Subpath
		}
	default:
		return wish{}, badRequest("invalid mount config for type %q: mount type unknown: %q", m.Type, m.Type)
	}
	return w, nil
}

// tmpfsOption adds one option. Source of the names: tmpfs(5) and Docker's documentation of TmpfsOptions.
func tmpfsOption(to *[]string, opt []string) error {
	switch name := strings.Join(opt, "="); {
	case len(opt) == 1 && slices.Contains([]string{"exec", "suid", "dev"}, name):
		*to = slices.DeleteFunc(*to, func(have string) bool { return have == "no"+name })
	case len(opt) == 1 && slices.Contains([]string{"noexec", "nosuid", "nodev"}, name):
	case len(opt) == 2 && slices.Contains([]string{"uid", "gid", "nr_inodes", "nr_blocks", "mpol"}, opt[0]) && !strings.Contains(opt[1], ","):
		*to = append(*to, name)
	default:
		return fmt.Errorf("invalid option: %q", name)
	}
	return nil
}

// wishes gathers all mounts of a request. What comes later in Docker's order wins the target: volumes-from, binds, mounts, then the image's volumes
// that nothing covers.
func wishes(c *dc.Config, h *dc.HostConfig, host spec.Host, find func(string) (*container.Record, error)) ([]wish, error) {
	var out []wish
	put := func(w wish) {
		// What is mounted below is read-only too, where the kernel can do that and it stays apart from the host's mounts.
		if m := &w.mount; m.ReadOnly && m.Type == "" && !w.shallow && !m.NonRecursive && (m.Propagation == "" || m.Propagation == spec.PropagatePrivate) {
			m.RecursiveReadOnly = m.RecursiveReadOnly || host.RecursiveRO
		}
		out = slices.DeleteFunc(out, func(o wish) bool { return o.point.Destination == w.point.Destination })
		out = append(out, w)
	}
	for _, from := range h.VolumesFrom {
		key, mode, _ := strings.Cut(from, ":")
		for o := range strings.SplitSeq(mode, ",") {
			if !slices.Contains([]string{"", "ro", "rw", "z", "Z"}, o) {
				return nil, badRequest("invalid mode: %s", mode)
			}
		}
		r, err := find(key)
		if err != nil {
			return nil, badRequest("%v", err)
		}
		for _, p := range load(r).Mounts {
			if p.Type != dm.TypeVolume && p.Type != dm.TypeBind {
				continue
			}
			if mode == "ro" {
				p.RW = false
			}
			w := wish{point: p, mount: spec.Mount{Target: p.Destination, Source: p.Source, ReadOnly: !p.RW}, noCopy: true}
			if p.Type == dm.TypeVolume {
				w.volume = &volume.Volume{Name: p.Name}
			}
			put(w)
		}
	}
	seen, again := map[string]bool{}, map[string]bool{} // what --tmpfs may say again
	once := func(target string) error {
		if seen[target] {
			return badRequest("Duplicate mount point: %s", target)
		}
		seen[target] = true
		return nil
	}
	// driven refuses a volume of the container's own driver: there is none but the local one. A container without such volumes never asks it.
	driven := func(w wish) error {
		if d := h.VolumeDriver; w.volume != nil && d != "" && d != "local" {
			return notFound("create %s: error looking up volume plugin %s: plugin %q not found", cmp.Or(w.volume.Name, record.NewID()), d, d)
		}
		return nil
	}
	for _, b := range h.Binds {
		w, err := parseBind(b)
		if err != nil {
			return nil, err
		}
		if err := driven(w); err != nil {
			return nil, err
		}
		if err := once(w.point.Destination); err != nil {
			return nil, err
		}
		put(w)
	}
	for _, m := range h.Mounts {
		w, err := parseMount(m)
		if err != nil {
			return nil, err
		}
		if err := once(w.point.Destination); err != nil {
			return nil, err
		}
		again[w.point.Destination] = w.point.Type == dm.TypeTmpfs
		put(w)
	}
	for target, options := range h.Tmpfs {
		if !path.IsAbs(target) {
			return nil, badRequest("invalid mount path: '%s' mount path must be absolute", target)
		}
		if seen[path.Clean(target)] && !again[path.Clean(target)] {
			return nil, badRequest("Duplicate mount point: %s", path.Clean(target))
		}
		if path.Clean(target) == "/" {
			return nil, badRequest("invalid specification: destination can't be '/'")
		}
		opts := []string{"noexec", "nosuid", "nodev"}
		if options != "" {
			for _, o := range strings.Split(options, ",") {
				opts = slices.DeleteFunc(opts, func(have string) bool { return have == "no"+o })
				if o != "exec" && o != "suid" && o != "dev" && o != "rw" {
					opts = append(opts, o)
				}
			}
		}
		put(wish{unlisted: true, point: dc.MountPoint{Type: dm.TypeTmpfs, Destination: path.Clean(target), RW: true},
			mount: spec.Mount{Type: "tmpfs", Target: path.Clean(target), Options: opts}})
	}
	for target := range c.Volumes {
		target = path.Clean(target)
		if !path.IsAbs(target) || target == "/" {
			return nil, badRequest("invalid volume specification: '%s'", target)
		}
		if !slices.ContainsFunc(out, func(w wish) bool { return w.point.Destination == target }) {
			w := wish{point: dc.MountPoint{Type: dm.TypeVolume, Destination: target, RW: true}, mount: spec.Mount{Target: target}, volume: &volume.Volume{}}
			if err := driven(w); err != nil {
				return nil, err
			}
			out = append(out, w)
		}
	}
	return out, nil
}

// aroundState sees to binds that show the engine's own folders, such as one of /: mounts of other containers that end on the host must end in
// there too, or their layers stay busy.
func aroundState(all []wish, roots ...string) error {
	inside := func(name, dir string) bool {
		return name == dir || strings.HasPrefix(name, strings.TrimSuffix(dir, "/")+"/")
	}
	for i := range all {
		w := &all[i]
		if w.point.Type != dm.TypeBind || !slices.ContainsFunc(roots, func(root string) bool {
			return inside(root, w.mount.Source) || inside(w.mount.Source, root)
		}) {
			continue
		}
		switch w.point.Propagation {
		case dm.PropagationRSlave, dm.PropagationRShared:
		default:
			if w.mount.Propagation != "" {
				return badRequest("invalid mount config: %s holds folders of the engine: use propagation rslave or rshared, not %s", w.mount.Source, w.point.Propagation)
			}
			if !w.mount.RecursiveReadOnly { // which needs a copy that nothing comes into
				w.point.Propagation, w.mount.Propagation = dm.PropagationRSlave, spec.PropagateSlave
			}
		}
	}
	return nil
}

// realise makes the volumes of a container's wishes and fills them with what the image has at their place.
func (s *Server) realise(ctx context.Context, all []wish, img *image.Image, owners idmap.Map) (mounts []spec.Mount, points []dc.MountPoint, err error) {
	for _, w := range all {
		if w.volume != nil {
			if w.volume.Name == "" {
				w.volume.Name, w.volume.Anonymous = record.NewID(), true
			}
			v, fresh, err := s.volumes.Create(*w.volume)
			if err != nil {
				return nil, nil, err
			}
			if fresh {
				s.hub.volume("create", v.Name, nil)
				if err := give(s.volumes.Path(v.Name), owners); err != nil {
					return nil, nil, err
				}
			}
			w.point.Name, w.point.Driver, w.point.Source = v.Name, "local", s.volumes.Path(v.Name)
			w.mount.Source = w.point.Source
			if w.point.Mode == "" {
				w.point.Mode = "z"
			}
			if !w.noCopy && len(v.Options) == 0 {
				if err := s.copyInto(ctx, img, w, owners); err != nil {
					return nil, nil, fmt.Errorf("copy %s of the image into volume %s: %w", w.point.Destination, v.Name, err)
				}
			}
			w.mount.SubPath = w.subpath
		}
		mounts = append(mounts, w.mount)
		if !w.unlisted {
			points = append(points, w.point)
		}
	}
	return mounts, points, nil
}

// copyInto fills a volume, or the part of it that is mounted; one that is no folder is left alone: the start tells.
func (s *Server) copyInto(ctx context.Context, img *image.Image, w wish, owners idmap.Map) error {
	if w.subpath == "" {
		return s.copyUp(ctx, img, w.point.Destination, w.point.Source, owners)
	}
	part, err := container.OpenPart(w.point.Source, w.subpath)
	if err != nil {
		return nil
	}
	defer kernel.Close(part)
	if info, err := os.Stat(kernel.FdPath(part)); err != nil || !info.IsDir() {
		return err
	}
	return s.copyUp(ctx, img, w.point.Destination, kernel.FdPath(part), owners)
}

// copyUp fills an empty volume with the image's content at target.
func (s *Server) copyUp(ctx context.Context, img *image.Image, target, into string, owners idmap.Map) error {
	s.filling.Lock()
	defer s.filling.Unlock()
	if entries, err := os.ReadDir(into); err != nil || len(entries) > 0 {
		return err
	}
	lower, err := s.e.Layers.Lower(img.DiffIDs)
	if err != nil || len(lower) == 0 {
		return err
	}
	found := false
	for _, dir := range lower { // a look, so that images without anything there cost no mount
		if _, err := os.Lstat(dir + target); err == nil {
			found = true
		}
	}
	if !found && len(lower) > 0 && strings.Count(target, "/") == 1 {
		return nil
	}
	view, err := os.MkdirTemp(s.e.Config().RunDir, viewsOf)
	if err != nil {
		return err
	}
	defer os.Remove(view)
	if err := (kernel.Overlay{Lower: append(lower, s.empty())}).MountAt(view, 0); err != nil {
		return err
	}
	defer kernel.Unmount(view)
	// The kernel finds the folder below the view: a link in the image never leads out of it.
	root, err := kernel.OpenPath(view)
	if err != nil {
		return err
	}
	defer kernel.Close(root)
	dir, err := kernel.OpenInRoot(root, target, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil // nothing there, or no folder
	}
	defer kernel.Close(dir)
	if err := likeFolder(dir, into, owners); err != nil {
		return err
	}
	pr, pw := io.Pipe()
	go func() { pw.CloseWithError(layer.Archive(ctx, pw, kernel.FdPath(dir)+"/.", idmap.Map{})) }()
	defer pr.Close()
	return layer.Extract(ctx, into, "/", pr, layer.ExtractOptions{Owners: owners})
}

// give lets the root of a container's user namespace own a new volume, as dockerd does.
func give(dir string, owners idmap.Map) error {
	if owners.IsZero() {
		return nil
	}
	root := owners.Root()
	return os.Chown(dir, root.UID, root.GID)
}

// likeFolder gives a volume the owner, as the container has it, and mode of the image's folder.
func likeFolder(dir int, into string, owners idmap.Map) error {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, "", &st, unix.AT_EMPTY_PATH); err != nil {
		return err
	}
	uid, gid, ok := owners.Host(int(st.Uid), int(st.Gid))
	if !ok {
		root := owners.Root()
		uid, gid = root.UID, root.GID
	}
	return errors.Join(os.Chown(into, uid, gid), unix.Chmod(into, st.Mode&0o7777))
}

// empty is an empty folder: an overlay without an upper one needs two lower ones.
func (s *Server) empty() string {
	dir := filepath.Join(s.dir, "empty")
	_ = os.MkdirAll(dir, 0o755)
	return dir
}
