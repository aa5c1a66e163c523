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
	dir   string
	mount func(v *Volume, target string) error

	mu  sync.Mutex // never held over work on a disk or with a file server
	all map[string]*entry
}

// entry is a volume, also one that is being made or removed.
type entry struct {
	op    sync.Mutex      // held while the volume is made, mounted, unmounted or removed: a file server may take its time, and holds up this volume alone
	users map[string]bool // of a volume that is mounted; under op

	v     *Volume // nil while it is being made; under Store.mu
	going bool    // it is being removed; under Store.mu
}

// wait returns when the volume is made, or gone.
func (e *entry) wait() {
	e.op.Lock()
	defer e.op.Unlock()
}

// lock finds a volume and takes its turn.
func (s *Store) lock(name string) (*entry, error) {
	for {
		s.mu.Lock()
		e := s.all[name]
		s.mu.Unlock()
		if e == nil {
			return nil, fmt.Errorf("get %s: %w", name, ErrNotFound)
		}
		e.op.Lock()
		s.mu.Lock()
		same := s.all[name] == e
		s.mu.Unlock()
		if same {
			return e, nil
		}
		e.op.Unlock()
	}
}

// NameRule is what a name may look like. Source: Docker's local volume driver.
var NameRule = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]+$`)

// Open reads the records.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, err
	}
	s := &Store{dir: dir, mount: mount, all: map[string]*entry{}}
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
		s.all[v.Name] = &entry{v: v}
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
	e := &entry{}
	e.op.Lock()
	defer e.op.Unlock()
	for {
		old, busy := s.claim(v.Name, e)
		switch {
		case busy != nil:
			busy.wait()
		case old == nil:
			made, err := s.make(v)
			s.mu.Lock()
			defer s.mu.Unlock()
			if err != nil {
				delete(s.all, v.Name)
				return nil, false, fmt.Errorf("create volume %s: %w", v.Name, err)
			}
			e.v = made
			return made, true, nil
		case len(v.Options) > 0 && !maps.Equal(old.Options, v.Options):
			return nil, false, fmt.Errorf("create volume %s: it exists with other options: %w", v.Name, ErrInUse)
		default:
			return old, false, nil
		}
	}
}

// claim finds a volume of a name, or one that is on its way in or out, or else takes the name for e.
func (s *Store) claim(name string, e *entry) (v *Volume, busy *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch old := s.all[name]; {
	case old == nil:
		s.all[name] = e
		return nil, nil
	case old.v == nil || old.going:
		return nil, old
	default:
		return old.v, nil
	}
}

// make makes a new volume's folder and record.
func (s *Store) make(v Volume) (*Volume, error) {
	v.Created = time.Now()
	b, err := json.Marshal(&v)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(s.Path(v.Name), 0o755); err != nil {
		return nil, err
	}
	if err := record.Replace(filepath.Join(s.dir, v.Name, "volume.json"), b); err != nil {
		return nil, err
	}
	return &v, nil
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
	if e := s.all[name]; e != nil && e.v != nil {
		return e.v, nil
	}
	return nil, fmt.Errorf("get %s: %w", name, ErrNotFound)
}

// List lists all volumes by name.
func (s *Store) List() []*Volume {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*Volume, 0, len(s.all))
	for _, e := range s.all {
		if e.v != nil {
			all = append(all, e.v)
		}
	}
	slices.SortFunc(all, func(a, b *Volume) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Remove deletes a volume and its content.
func (s *Store) Remove(name string) error {
	e, err := s.lock(name)
	if err != nil {
		return err
	}
	defer e.op.Unlock()
	if len(e.users) > 0 {
		return fmt.Errorf("remove %s: %w", name, ErrInUse)
	}
	leave := func(going bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		e.going = going
	}
	leave(true)
	// Never empty what is mounted: an unmount that fails ends it here.
	if err := kernel.Unmount(s.Path(name)); err != nil {
		leave(false)
		return fmt.Errorf("remove volume %s: %w", name, err)
	}
	if err := os.RemoveAll(filepath.Join(s.dir, name)); err != nil {
		leave(false)
		return fmt.Errorf("remove volume %s: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, name)
	return nil
}

// Use mounts a volume that has a device, for one user.
func (s *Store) Use(name, user string) error {
	e, err := s.lock(name)
	if err != nil {
		return err
	}
	defer e.op.Unlock()
	v, err := s.Get(name)
	if err != nil {
		return err
	}
	if v.Options["device"] == "" || e.users[user] {
		return nil
	}
	if len(e.users) == 0 && !mounted(s.Path(name)) {
		if err := s.mount(v, s.Path(name)); err != nil {
			return fmt.Errorf("mount volume %s: %w", name, err)
		}
	}
	if e.users == nil {
		e.users = map[string]bool{}
	}
	e.users[user] = true
	return nil
}

// Release takes a user away; the last one's going unmounts.
func (s *Store) Release(name, user string) error {
	e, err := s.lock(name)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer e.op.Unlock()
	if !e.users[user] {
		return nil
	}
	if delete(e.users, user); len(e.users) > 0 {
		return nil
	}
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
