// Package rootfs builds a container's file system tree: its root, mounts, devices, masked and read-only paths.
//
// It works in two steps on either side of the namespace border. Prepare runs in the runtime's own mount namespace and
// takes hold of everything that comes from the host, by descriptors. Assemble runs on a thread inside the container's
// namespaces and puts it in place, then makes the container's root the root. Mounts are made in the configuration's order,
// in which the kernel lists them, those of the host's things by a thread that is still there. Paths inside the container are resolved with openat2 inside its root, to a descriptor, and only descriptors are mounted on: what an
// image or a neighbour swaps for a link changes nothing outside.
//
// It decides no policy: what to mount is in the OCI configuration. Only internal/oci imports it.
package rootfs

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"nau/internal/kernel"
	"nau/internal/oci/cgroup"
)

// Config is what Prepare needs to know.
type Config struct {
	Spec   *specs.Spec
	Bundle string
	Cgroup *cgroup.Cgroup
	// RootUID and RootGID own what is made for the container: 0, or what a user namespace maps 0 to.
	RootUID, RootGID int
	// HostID maps a container's user or group id to the host's, for mount options.
	HostUID, HostGID func(uint32) (int, bool)
	// UserNS makes a user namespace with the given mappings, for mounts that are shown through one.
	UserNS func(uid, gid []specs.LinuxIDMapping) (fd int, err error)
	// Console makes Prepare open a terminal.
	Console bool
	NoPivot bool
	// HostMounts: the container has no mount namespace of its own. Its tree is mounted over its root's folder, where the host sees it too.
	HostMounts bool
}

// Root is a tree under construction.
type Root struct {
	cfg    Config
	tree   *kernel.Tree
	folder int // the root's folder, which the tree covers; -1 unless HostMounts
	mounts []*mount
	null   cover // the host's /dev/null, to mask files with
	mask   cover // an empty folder, to mask folders with

	// Master and Slave are the container's terminal if Config asked for one, else -1. Whoever takes one sets it to -1.
	Master, Slave int
	ptsName       string
	devpts        *kernel.Tree
}

type mount struct {
	spec    specs.Mount
	options Options
	fs      *kernel.Filesystem // mounted when its turn comes, so that mounts are listed in the configuration's order
	tree    *kernel.Tree       // nil: of fs, or made inside, see insideTypes
	source  int                // a bind's, or -1
	take    func() error       // sets tree when the mount's turn comes, on a thread in the runtime's mount namespace
	file    bool               // the target is a file
	below   []below            // mounts inside this one: version 1 cgroups
}

type below struct {
	name string
	tree *kernel.Tree
	link string // instead of a mount: a symbolic link
}

// insideTypes belong to namespaces, and are made by a thread inside them; proc by a process, see ProcMount.
var insideTypes = map[string]bool{"proc": true, "sysfs": true, "mqueue": true}

// Prepare takes hold of the root file system and the sources of all mounts.
func Prepare(cfg Config) (r *Root, err error) {
	r = &Root{cfg: cfg, folder: -1, Master: -1, Slave: -1}
	defer func() {
		if err != nil {
			r.Close()
			r = nil
		}
	}()
	if err = r.prepareRoot(); err != nil {
		return r, err
	}
	for i := range cfg.Spec.Mounts {
		m, err := r.prepareMount(cfg.Spec.Mounts[i])
		if err != nil {
			return r, fmt.Errorf("mount %s: %w", cfg.Spec.Mounts[i].Destination, err)
		}
		r.mounts = append(r.mounts, m)
	}
	if l := cfg.Spec.Linux; l != nil && len(l.MaskedPaths) > 0 {
		if r.null.tree, err = hostNull(); err != nil {
			return r, err
		}
	}
	if cfg.Console {
		err = r.openConsole()
	}
	return r, err
}

// ProcMount is a procfs to be made. It shows the PID namespace of the process that makes it, and a thread that joined one
// is still of its old, so that the container's own first process must make it and hand it over.
type ProcMount struct {
	m     *mount
	Attrs int // MOUNT_ATTR_ bits
	Data  []kernel.Param
}

// ProcMounts are those the configuration asks for.
func (r *Root) ProcMounts() (list []ProcMount) {
	for _, m := range r.mounts {
		if m.tree == nil && m.spec.Type == "proc" {
			list = append(list, ProcMount{m, int(m.options.Set | m.options.RecSet), m.options.Data})
		}
	}
	return list
}

// Made hands over a procfs: the descriptor of a detached mount, which the root takes.
func (p ProcMount) Made(fd int) { p.m.tree = kernel.TreeOf(fd) }

// owner is whose the places of mounts are that the image does not have.
func (r *Root) owner() kernel.Owner { return kernel.Owner{UID: r.cfg.RootUID, GID: r.cfg.RootGID} }

// Close lets go of what is not attached; the tree that was assembled lives on in its namespace.
func (r *Root) Close() {
	_ = r.tree.Close()
	_ = r.null.tree.Close()
	_ = r.mask.tree.Close()
	for _, m := range r.mounts {
		m.fs.Close()
		_ = m.tree.Close()
		kernel.Close(m.source)
		for _, b := range m.below {
			_ = b.tree.Close()
		}
	}
	kernel.Close(r.Master, r.Slave, r.folder)
}

// Folder is the path of the root's folder on the host.
func (c *Config) Folder() string {
	path := c.Spec.Root.Path
	if !filepath.IsAbs(path) {
		path = filepath.Join(c.Bundle, path)
	}
	return path
}

func (r *Root) prepareRoot() error {
	cfg := &r.cfg
	if cfg.Spec.Root == nil {
		return errors.New("open root: the configuration has none")
	}
	path := cfg.Folder()
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open root %s: %w", path, err)
	}
	if cfg.HostMounts {
		r.folder = fd
		if err := notOwnRoot(fd); err != nil {
			return fmt.Errorf("open root %s: %w", path, err)
		}
	} else {
		defer unix.Close(fd)
	}
	if r.tree, err = kernel.CloneTree(fd, "", true); err != nil {
		return fmt.Errorf("clone root %s: %w", path, err)
	}
	// Detached from the host's propagation until rootfsPropagation says else.
	propagation := uint64(unix.MS_SLAVE)
	if l := cfg.Spec.Linux; l != nil && strings.HasSuffix(l.RootfsPropagation, "private") {
		propagation = unix.MS_PRIVATE
	}
	if err := r.tree.SetAttr(kernel.Attr{Propagation: propagation, Recursive: true}); err != nil {
		return fmt.Errorf("set propagation of root: %w", err)
	}
	return nil
}

// notOwnRoot refuses the runtime's own root, which must not be covered.
func notOwnRoot(fd int) error {
	var st, own unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("stat: %w", err)
	}
	if err := unix.Stat("/", &own); err != nil {
		return fmt.Errorf("stat /: %w", err)
	}
	if st.Dev == own.Dev && st.Ino == own.Ino {
		return errors.New("it is this system's own, and the container has no mount namespace to have it in")
	}
	return nil
}

// MountID is what tells the root's mount from another that may lie at its place later.
func (r *Root) MountID() (uint64, error) { return kernel.MountID(r.tree.Fd(), "") }

func (r *Root) prepareMount(spec specs.Mount) (*mount, error) {
	o, err := ParseOptions(spec.Options)
	if err != nil {
		return nil, err
	}
	m := &mount{spec: spec, options: o, source: -1}
	switch {
	case o.Bind || spec.Type == "bind":
		err = r.prepareBind(m)
	case spec.Type == "cgroup" || spec.Type == "cgroup2":
		if r.cfg.Cgroup == nil {
			err = errors.New("the container has no cgroup of its own")
		}
		m.take = func() error { return r.takeCgroup(m) }
	case insideTypes[spec.Type]:
		return m, nil
	case spec.Type == "":
		return nil, errors.New("neither a type nor bind is given")
	default:
		m.fs, err = r.newFilesystem(m)
		if err == nil && r.cfg.Console && spec.Type == "devpts" && filepath.Clean(spec.Destination) == "/dev/pts" {
			if err = r.mountFilesystem(m); err == nil {
				r.devpts = m.tree // at once: the terminal is opened in it
			}
		}
	}
	if err != nil {
		m.fs.Close()
		_ = m.tree.Close()
		kernel.Close(m.source)
		return nil, err
	}
	return m, nil
}

func (r *Root) prepareBind(m *mount) error {
	source := m.spec.Source
	if !filepath.IsAbs(source) {
		source = filepath.Join(r.cfg.Bundle, source)
	}
	// Opened once: what is inspected is what is mounted.
	var err error
	if m.source, err = kernel.OpenPath(source); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(m.source, &st); err != nil {
		return fmt.Errorf("stat %s: %w", source, err)
	}
	m.file = st.Mode&unix.S_IFMT != unix.S_IFDIR
	m.take = func() error { return r.takeBind(m) }
	return nil
}

func (r *Root) takeBind(m *mount) (err error) {
	if m.tree, err = kernel.CloneTree(m.source, "", m.options.Recursive); err != nil {
		return fmt.Errorf("bind %s: %w", m.spec.Source, err)
	}
	kernel.Close(m.source)
	m.source = -1
	if err := r.bindAttributes(m); err != nil {
		return err
	}
	if len(m.spec.UIDMappings) > 0 || len(m.spec.GIDMappings) > 0 {
		return r.idmap(m)
	}
	return nil
}

func (r *Root) bindAttributes(m *mount) error {
	o := &m.options
	// A clone of a shared mount is its peer. Unless asked for, the container only receives.
	propagation, recursive := uint64(unix.MS_SLAVE), true
	if l := r.cfg.Spec.Linux; l != nil && strings.HasSuffix(l.RootfsPropagation, "private") {
		propagation = unix.MS_PRIVATE
	}
	if o.Propagation != 0 {
		propagation, recursive = o.Propagation, o.PropagationRec
	}
	if o.RecSet|o.RecClear != 0 {
		if err := m.tree.SetAttr(kernel.Attr{Set: o.RecSet, Clear: o.RecClear, Recursive: true}); err != nil {
			return err
		}
	}
	if !o.Recursive {
		// One mount: everything in one call.
		return m.tree.SetAttr(kernel.Attr{Set: o.Set, Clear: o.Clear, Propagation: propagation})
	}
	if err := m.tree.SetAttr(kernel.Attr{Propagation: propagation, Recursive: recursive}); err != nil {
		return err
	}
	if o.Set|o.Clear != 0 {
		return m.tree.SetAttr(kernel.Attr{Set: o.Set, Clear: o.Clear})
	}
	return nil
}

func (r *Root) idmap(m *mount) error {
	ns, err := r.cfg.UserNS(m.spec.UIDMappings, m.spec.GIDMappings)
	if err != nil {
		return err
	}
	defer unix.Close(ns)
	if err := m.tree.SetAttr(kernel.Attr{UserNS: ns, Recursive: m.options.RecIDMap}); err != nil {
		return fmt.Errorf("map ids: %w", err)
	}
	return nil
}

// newFilesystem makes a file system that belongs to no namespace.
func (r *Root) newFilesystem(m *mount) (*kernel.Filesystem, error) {
	o := &m.options
	params := make([]kernel.Param, 0, len(o.Data)+4)
	hasUID, hasGID := false, false
	for _, p := range o.Data {
		if p.Key == "uid" || p.Key == "gid" {
			value, err := r.hostOption(p)
			if err != nil {
				return nil, err
			}
			p.Value = value
			hasUID, hasGID = hasUID || p.Key == "uid", hasGID || p.Key == "gid"
		}
		params = append(params, p)
	}
	if (m.spec.Type == "tmpfs" || m.spec.Type == "devpts") && (r.cfg.RootUID != 0 || r.cfg.RootGID != 0) {
		if !hasUID {
			params = append(params, kernel.Param{Key: "uid", Value: strconv.Itoa(r.cfg.RootUID)})
		}
		if !hasGID {
			params = append(params, kernel.Param{Key: "gid", Value: strconv.Itoa(r.cfg.RootGID)})
		}
	}
	if l := r.cfg.Spec.Linux; l != nil && l.MountLabel != "" && kernel.SELinux.Can() {
		params = append(params, kernel.Param{Key: "context", Value: l.MountLabel})
	}
	for _, flag := range o.Super {
		params = append(params, kernel.Param{Key: flag, Flag: true})
	}
	if o.Set&unix.MOUNT_ATTR_RDONLY != 0 && m.spec.Type != "tmpfs" {
		params = append(params, kernel.Param{Key: "ro", Flag: true})
	}
	source := m.spec.Source
	if source == "" {
		source = m.spec.Type
	}
	return kernel.MakeFilesystem(m.spec.Type, source, params...)
}

// mountFilesystem mounts it, still detached.
func (r *Root) mountFilesystem(m *mount) error {
	o := &m.options
	set := o.Set
	if o.CopyUp {
		set &^= unix.MOUNT_ATTR_RDONLY // set again when the copy is done
	}
	tree, err := m.fs.Mount(int(set | o.RecSet))
	if err != nil {
		return err
	}
	m.fs.Close()
	m.tree = tree
	if m.spec.Type == "devpts" && r.cfg.RootUID != 0 {
		// The options are of the terminals; the folder is the mounter's.
		_ = unix.Fchownat(tree.Fd(), "", r.cfg.RootUID, r.cfg.RootGID, unix.AT_EMPTY_PATH)
	}
	if o.Propagation != 0 {
		return tree.SetAttr(kernel.Attr{Propagation: o.Propagation, Recursive: o.PropagationRec})
	}
	return nil
}

func (r *Root) hostOption(p kernel.Param) (string, error) {
	id, err := strconv.ParseUint(p.Value, 10, 32)
	if err != nil {
		return "", fmt.Errorf("read option %s=%s: %w", p.Key, p.Value, err)
	}
	convert := r.cfg.HostUID
	if p.Key == "gid" {
		convert = r.cfg.HostGID
	}
	if convert == nil {
		return p.Value, nil
	}
	host, ok := convert(uint32(id))
	if !ok {
		return "", fmt.Errorf("read option %s=%s: the user namespace does not map it", p.Key, p.Value)
	}
	return strconv.Itoa(host), nil
}

// takeCgroup binds the container's own cgroup: on version 2 the one folder, else a tmpfs with one for each hierarchy
// of version 1.
func (r *Root) takeCgroup(m *mount) error {
	o := &m.options
	set := o.Set | o.RecSet
	own := func(h kernel.CgroupHierarchy) (*kernel.Tree, error) {
		tree, err := kernel.CloneTree(unix.AT_FDCWD, h.Dir(r.cfg.Cgroup.Path), false)
		if err != nil {
			return nil, err
		}
		if err := tree.SetAttr(kernel.Attr{Set: set, Propagation: unix.MS_PRIVATE}); err != nil {
			_ = tree.Close()
			return nil, err
		}
		return tree, nil
	}
	var err error
	if r.cfg.Cgroup.Mode() == kernel.CgroupV2 {
		h := r.cfg.Cgroup.Hierarchies()[0]
		m.tree, err = own(h)
		return err
	}
	// Read-only only after the folders inside are made.
	m.tree, err = kernel.NewFilesystem("tmpfs", "cgroup", int(set&^unix.MOUNT_ATTR_RDONLY), kernel.Param{Key: "mode", Value: "755"},
		kernel.Param{Key: "uid", Value: strconv.Itoa(r.cfg.RootUID)}, kernel.Param{Key: "gid", Value: strconv.Itoa(r.cfg.RootGID)})
	if err != nil {
		return err
	}
	for _, h := range r.cfg.Cgroup.Hierarchies() {
		if h.Unified {
			continue // it controls nothing here, and programs take a version 2 mount for a host of version 2
		}
		name := filepath.Base(h.Mount)
		tree, err := own(h)
		if err != nil {
			return err
		}
		m.below = append(m.below, below{name: name, tree: tree})
		for _, c := range h.Controllers {
			if c = strings.TrimPrefix(c, "name="); c != name {
				m.below = append(m.below, below{name: c, link: name})
			}
		}
	}
	return nil
}

// hostNull takes hold of the host's /dev/null, proven to be the null device.
func hostNull() (*kernel.Tree, error) {
	fd, err := kernel.OpenPath("/dev/null")
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("stat /dev/null: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(1, 3) {
		return nil, errors.New("open /dev/null: it is not the null device")
	}
	tree, err := kernel.CloneTree(fd, "", false)
	if err != nil {
		return nil, err
	}
	if err := tree.SetAttr(kernel.Attr{Propagation: unix.MS_PRIVATE}); err != nil {
		_ = tree.Close()
		return nil, err
	}
	return tree, nil
}
