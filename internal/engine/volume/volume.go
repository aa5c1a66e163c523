// Package volume keeps named folders that outlive containers.
//
// One folder a volume: NAME/volume.json tells of it, NAME/_data is what containers see. A volume with a device option is
// mounted on _data while containers use it (Use and Release, counted). The life of a volume: Create, Use and Release as often as wished,
// Remove when nobody uses it.
//
// It knows no containers: a caller says who uses a volume. The engine's fronts import it.
package volume

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"nau/internal/engine/diskuse"
	"nau/internal/engine/record"
	"nau/internal/kernel"
)

// Kinds of errors; test with errors.Is.
var (
	ErrNotFound = errors.New("no such volume")
	ErrInUse    = errors.New("volume is in use")
	ErrInvalid  = errors.New("invalid volume")
)

// Volume is one record.
type Volume struct {
	Name      string
	Options   map[string]string `json:",omitempty"` // type, device, o: as mount(8) has them
	Labels    map[string]string `json:",omitempty"`
	Anonymous bool              `json:",omitempty"`
	Created   time.Time
}

// Store is one folder of volumes.
type Store struct {
	dir  string
	mu   sync.Mutex
	all  map[string]*Volume
	used map[string]map[string]bool // volume → users, of volumes that are mounted
}

// NameRule is what a name may look like. Source: Docker's local volume driver.
var NameRule = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]+$`)

// Open reads the records.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, err
	}
	s := &Store{dir: dir, all: map[string]*Volume{}, used: map[string]map[string]bool{}}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name(), "volume.json"))
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			if !e.IsDir() || !NameRule.MatchString(e.Name()) || unmade(filepath.Join(dir, e.Name())) {
				continue
			}
		}
		v := &Volume{}
		if json.Unmarshal(b, v) != nil || v.Name != e.Name() {
			v = &Volume{Name: e.Name(), Created: time.Now()} // the data is worth more than its record
		}
		s.all[v.Name] = v
	}
	return s, nil
}

// unmade takes away what a crash left of a volume that was being made or removed, and tells whether that was all: content is kept, and a volume
// again, so that somebody can look at it or remove it.
func unmade(dir string) bool {
	_ = os.Remove(filepath.Join(dir, "volume.json.new"))
	_ = os.Remove(filepath.Join(dir, "_data")) // if it is empty
	return os.Remove(dir) == nil
}

// Path is where a volume's content lies.
func (s *Store) Path(name string) string { return filepath.Join(s.dir, name, "_data") }

// Create makes a volume; one that exists with the same options is kept and returned.
func (s *Store) Create(v Volume) (*Volume, bool, error) {
	if !NameRule.MatchString(v.Name) {
		return nil, false, fmt.Errorf("create volume %q: bad name: %w", v.Name, ErrInvalid)
	}
	if err := checkOptions(v.Options); err != nil {
		return nil, false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.all[v.Name]; ok {
		if len(v.Options) > 0 && !maps.Equal(old.Options, v.Options) {
			return nil, false, fmt.Errorf("create volume %s: it exists with other options: %w", v.Name, ErrInUse)
		}
		return old, false, nil
	}
	v.Created = time.Now()
	b, err := json.Marshal(&v)
	if err != nil {
		return nil, false, err
	}
	if err := os.MkdirAll(s.Path(v.Name), 0o755); err != nil {
		return nil, false, fmt.Errorf("create volume %s: %w", v.Name, err)
	}
	file := filepath.Join(s.dir, v.Name, "volume.json")
	if err := record.Replace(file, b); err != nil {
		return nil, false, fmt.Errorf("create volume %s: %w", v.Name, err)
	}
	s.all[v.Name] = &v
	return &v, true, nil
}

// OptionError says which option is wrong, in Docker's words. It is ErrInvalid.
type OptionError struct{ text string }

func (e *OptionError) Error() string        { return e.text }
func (e *OptionError) Is(target error) bool { return target == ErrInvalid }

func checkOptions(o map[string]string) error {
	for k := range o {
		switch k {
		case "type", "device", "o", "size":
		default:
			return &OptionError{fmt.Sprintf("invalid option: %q", k)}
		}
	}
	if (o["type"] != "" || o["o"] != "") && o["device"] == "" {
		return &OptionError{`missing required option: "device"`}
	}
	if o["device"] != "" && o["type"] == "" {
		return &OptionError{`missing required option: "type"`}
	}
	return nil
}

// Get finds a volume.
func (s *Store) Get(name string) (*Volume, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v, ok := s.all[name]; ok {
		return v, nil
	}
	return nil, fmt.Errorf("get %s: %w", name, ErrNotFound)
}

// List lists all volumes by name.
func (s *Store) List() []*Volume {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.all), func(a, b *Volume) int { return strings.Compare(a.Name, b.Name) })
}

// Remove deletes a volume and its content.
func (s *Store) Remove(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.all[name]; !ok {
		return fmt.Errorf("get %s: %w", name, ErrNotFound)
	}
	if len(s.used[name]) > 0 {
		return fmt.Errorf("remove %s: %w", name, ErrInUse)
	}
	// Never empty what is mounted: an unmount that fails ends it here.
	if err := kernel.Unmount(s.Path(name)); err != nil {
		return fmt.Errorf("remove volume %s: %w", name, err)
	}
	if err := os.RemoveAll(filepath.Join(s.dir, name)); err != nil {
		return fmt.Errorf("remove volume %s: %w", name, err)
	}
	delete(s.all, name)
	return nil
}

// Use mounts a volume that has a device, for one user.
func (s *Store) Use(name, user string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.all[name]
	if !ok {
		return fmt.Errorf("get %s: %w", name, ErrNotFound)
	}
	if v.Options["device"] == "" || s.used[name][user] {
		return nil
	}
	if len(s.used[name]) == 0 && !mounted(s.Path(name)) {
		if err := mount(v, s.Path(name)); err != nil {
			return fmt.Errorf("mount volume %s: %w", name, err)
		}
	}
	if s.used[name] == nil {
		s.used[name] = map[string]bool{}
	}
	s.used[name][user] = true
	return nil
}

// Release takes a user away; the last one's going unmounts.
func (s *Store) Release(name, user string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.used[name][user] {
		return nil
	}
	delete(s.used[name], user)
	if len(s.used[name]) > 0 {
		return nil
	}
	delete(s.used, name)
	return kernel.Unmount(s.Path(name))
}

// mounted tells a mount point by its device number; a bind of the same file system by the kernel's word.
func mounted(path string) bool {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, 0, &st); err != nil {
		return false
	}
	return st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// mount puts the device of a volume's options on its folder.
func mount(v *Volume, target string) error {
	kind, device := v.Options["type"], v.Options["device"]
	flags, data := parseOptions(v.Options["o"])
	if flags&unix.MS_BIND != 0 || kind == "none" || kind == "bind" {
		if !filepath.IsAbs(device) {
			return fmt.Errorf("bind %q: not an absolute path", device)
		}
		return kernel.BindAt(device, target, flags&unix.MS_REC != 0, flags&unix.MS_RDONLY != 0)
	}
	var params []kernel.Param
	for _, d := range data {
		k, val, ok := strings.Cut(d, "=")
		params = append(params, kernel.Param{Key: k, Value: val, Flag: !ok})
	}
	if err := resolveServer(kind, params); err != nil {
		return err
	}
	t, err := kernel.NewFilesystem(kind, device, attrsOf(flags), params...)
	if errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("this kernel has no file system %q: load its module (modprobe %s): %w", kind, kind, err)
	}
	if err != nil {
		return err
	}
	defer t.Close()
	return t.AttachPath(target)
}

// resolveServer turns the name of an NFS or CIFS server into the address that the kernel wants.
func resolveServer(kind string, params []kernel.Param) error {
	if !strings.HasPrefix(kind, "nfs") && kind != "cifs" {
		return nil
	}
	for i, p := range params {
		key := map[bool]string{true: "ip", false: "addr"}[kind == "cifs"]
		if p.Key != "addr" && p.Key != key {
			continue
		}
		if _, err := netip.ParseAddr(p.Value); err != nil {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			found, err := net.DefaultResolver.LookupHost(ctx, p.Value)
			cancel()
			if err != nil {
				return fmt.Errorf("find file server %s: %w", p.Value, err)
			}
			params[i].Value = found[0]
		}
		params[i].Key = key
		return nil
	}
	return fmt.Errorf("%w: file system %s needs the server's address: o=addr=HOST", ErrInvalid, kind)
}

func attrsOf(flags int) int {
	out := 0
	for _, p := range [][2]int{{unix.MS_RDONLY, unix.MOUNT_ATTR_RDONLY}, {unix.MS_NOSUID, unix.MOUNT_ATTR_NOSUID}, {unix.MS_NODEV, unix.MOUNT_ATTR_NODEV}, {unix.MS_NOEXEC, unix.MOUNT_ATTR_NOEXEC}, {unix.MS_NOATIME, unix.MOUNT_ATTR_NOATIME}} {
		if flags&p[0] != 0 {
			out |= p[1]
		}
	}
	return out
}

// parseOptions splits mount(8)'s option string into flags and the file system's own.
func parseOptions(o string) (flags int, data []string) {
	for _, opt := range strings.Split(o, ",") {
		switch opt {
		case "", "rw", "defaults", "suid", "dev", "exec":
		case "ro":
			flags |= unix.MS_RDONLY
		case "bind":
			flags |= unix.MS_BIND
		case "rbind":
			flags |= unix.MS_BIND | unix.MS_REC
		case "nosuid":
			flags |= unix.MS_NOSUID
		case "nodev":
			flags |= unix.MS_NODEV
		case "noexec":
			flags |= unix.MS_NOEXEC
		case "noatime":
			flags |= unix.MS_NOATIME
		default:
			data = append(data, opt)
		}
	}
	return flags, data
}

// Size is how long the files of a volume's own content are, as Docker has it; what is mounted on it from elsewhere is not counted.
func (s *Store) Size(name string) int64 {
	if mounted(s.Path(name)) {
		return 0
	}
	n, err := diskuse.Lengths(s.Path(name))
	if err != nil {
		return 0 // it goes away right now
	}
	return n
}
