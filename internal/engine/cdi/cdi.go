// Package cdi reads descriptions of devices that vendors install on a host, and puts such devices into containers' specifications: GPUs and
// the like. Source: the Container Device Interface specification, version 1.0, SPEC.md of github.com/cncf-tags/container-device-interface.
//
// A description file names a kind ("vendor.example/class") and its devices; a container asks for "vendor.example/class=name". What a device
// brings are edits of the specification: environment, device nodes, mounts, hooks, groups. The folders are read when somebody asks, so that
// devices that come and go are seen; nothing is kept. The engine and its fronts import it.
package cdi

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// DefaultDirs are where descriptions lie; what is in a later one wins.
var DefaultDirs = []string{"/etc/cdi", "/var/run/cdi"}

// ErrUnresolvable: no description names the device.
var ErrUnresolvable = errors.New("unresolvable CDI devices")

// maxFile bounds a description.
const maxFile = 4 << 20

// file is a description as written.
type file struct {
	Version string   `json:"cdiVersion"`
	Kind    string   `json:"kind"`
	Edits   Edits    `json:"containerEdits"`
	Devices []device `json:"devices"`
}

type device struct {
	Name  string `json:"name"`
	Edits Edits  `json:"containerEdits"`
}

// Edits are what a device changes in a specification.
type Edits struct {
	Env     []string `json:"env"`
	Nodes   []Node   `json:"deviceNodes"`
	Mounts  []Mount  `json:"mounts"`
	Hooks   []Hook   `json:"hooks"`
	Groups  []uint32 `json:"additionalGids"`
	RDT     *RDT     `json:"intelRdt"`
	NetDevs []any    `json:"netDevices"` // of version 1.1: refused
}

// Node is a device node. What is missing is read of the host's.
type Node struct {
	Path        string  `json:"path"`
	HostPath    string  `json:"hostPath"`
	Type        string  `json:"type"`
	Major       int64   `json:"major"`
	Minor       int64   `json:"minor"`
	FileMode    *uint32 `json:"fileMode"`
	Permissions string  `json:"permissions"`
	UID         *uint32 `json:"uid"`
	GID         *uint32 `json:"gid"`
}

// Mount shows a part of the host.
type Mount struct {
	HostPath      string   `json:"hostPath"`
	ContainerPath string   `json:"containerPath"`
	Options       []string `json:"options"`
	Type          string   `json:"type"`
}

// Hook is a program that the runtime executes on the host or in the container.
type Hook struct {
	Name    string   `json:"hookName"`
	Path    string   `json:"path"`
	Args    []string `json:"args"`
	Env     []string `json:"env"`
	Timeout *int     `json:"timeout"`
}

// RDT is Intel's resource director technology.
type RDT struct {
	ClosID        string `json:"closID"`
	L3CacheSchema string `json:"l3CacheSchema"`
	MemBwSchema   string `json:"memBwSchema"`
}

// Registry are all devices that the descriptions name.
type Registry struct {
	devices map[string]found // by full name
	bad     []error          // of files that could not be used
}

type found struct {
	edits    []Edits // of the kind, then its own
	kind     string
	priority int
	twice    bool // two files of one folder name it
}

var (
	kindRule = regexp.MustCompile(`^[a-zA-Z]([a-zA-Z0-9_.-]*[a-zA-Z0-9])?/[a-zA-Z]([a-zA-Z0-9_-]*[a-zA-Z0-9])?$`)
	nameRule = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9_.:-]*[a-zA-Z0-9])?$`)
)

// IsName reports whether a text is a device's full name.
func IsName(s string) bool {
	kind, name, ok := strings.Cut(s, "=")
	return ok && kindRule.MatchString(kind) && nameRule.MatchString(name)
}

// Load reads the descriptions in the folders. A missing folder is an empty one; a damaged file is left out and remembered.
func Load(dirs []string) *Registry {
	r := &Registry{devices: map[string]found{}}
	for priority, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.bad = append(r.bad, fmt.Errorf("read CDI descriptions: %w", err))
		}
		for _, e := range entries {
			if ext := filepath.Ext(e.Name()); e.IsDir() || ext != ".json" && ext != ".yaml" {
				continue
			}
			path := filepath.Join(dir, e.Name())
			f, err := read(path)
			if err != nil {
				r.bad = append(r.bad, fmt.Errorf("read CDI description %s: %w", path, err))
				continue
			}
			for _, d := range f.Devices {
				name := f.Kind + "=" + d.Name
				old, have := r.devices[name]
				r.devices[name] = found{[]Edits{f.Edits, d.Edits}, f.Kind, priority, have && old.priority == priority}
			}
		}
	}
	return r
}

func read(path string) (*file, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, fmt.Errorf("not a file of at most %d bytes", maxFile)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parse(b)
}

// parse decodes and checks one description, in JSON or YAML.
func parse(b []byte) (*file, error) {
	var f file
	if err := yaml.Unmarshal(b, &f); err != nil {
		return nil, err
	}
	if major, _, ok := strings.Cut(f.Version, "."); !ok || major != "0" && major != "1" {
		return nil, fmt.Errorf("cdiVersion %q is not known", f.Version)
	}
	if !kindRule.MatchString(f.Kind) {
		return nil, fmt.Errorf("kind %q is not of the form vendor/class", f.Kind)
	}
	if len(f.Devices) == 0 {
		return nil, errors.New("no devices")
	}
	errs := []error{f.Edits.check("containerEdits")}
	for _, d := range f.Devices {
		if !nameRule.MatchString(d.Name) {
			errs = append(errs, fmt.Errorf("device name %q is not valid", d.Name))
		}
		errs = append(errs, d.Edits.check("device "+d.Name))
	}
	return &f, errors.Join(errs...)
}

func (e Edits) check(where string) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(where+": "+format, args...)) }
	for _, kv := range e.Env {
		if name, _, ok := strings.Cut(kv, "="); !ok || name == "" {
			bad("env %q is not NAME=VALUE", kv)
		}
	}
	for _, n := range e.Nodes {
		if !filepath.IsAbs(n.Path) || n.HostPath != "" && !filepath.IsAbs(n.HostPath) {
			bad("device node %q is not absolute", n.Path)
		}
		if !slices.Contains([]string{"", "b", "c", "u", "p"}, n.Type) || strings.Trim(n.Permissions, "rwm") != "" {
			bad("device node %s: type %q, permissions %q", n.Path, n.Type, n.Permissions)
		}
	}
	for _, m := range e.Mounts {
		if m.HostPath == "" || !filepath.IsAbs(m.ContainerPath) {
			bad("mount of %q at %q", m.HostPath, m.ContainerPath)
		}
	}
	for _, h := range e.Hooks {
		if !slices.Contains(hookNames, h.Name) || !filepath.IsAbs(h.Path) {
			bad("hook %q of %q", h.Name, h.Path)
		}
	}
	if len(e.NetDevs) > 0 {
		bad("netDevices cannot be given to containers here")
	}
	return errors.Join(errs...)
}

// Devices lists the full names of a class's devices over all vendors, or of one kind.
func (r *Registry) Devices(match func(kind string) bool) []string {
	var out []string
	for name, d := range r.devices {
		if match(d.kind) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// Errors are of descriptions that could not be used.
func (r *Registry) Errors() []error { return r.bad }
