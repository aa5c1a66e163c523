// Package idmap is the owners of a user namespace: which of the host's users and groups stand for the container's, both ways, and the namespace that
// has them.
//
// It reads no /etc/subuid and chooses no range: whoever asks for a namespace does. internal/engine and its fronts import it, and the node agent;
// internal/oci, which makes its processes by other means, does not.
package idmap

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"nau/internal/kernel"
)

// Overflow is what the kernel shows for an owner who has no place in a mapping: nobody.
const Overflow = 65534

// Map is a mapping. The zero Map is the host's own: nothing is shifted.
type Map struct {
	UIDs []specs.LinuxIDMapping `json:",omitempty"`
	GIDs []specs.LinuxIDMapping `json:",omitempty"`
}

// Range is a block of the host's ids.
type Range struct{ First, Size uint32 }

// Block maps size users and as many groups, from 0 on, to the host's from uid and gid on.
func Block(uid, gid, size uint32) Map {
	return Map{UIDs: []specs.LinuxIDMapping{{HostID: uid, Size: size}}, GIDs: []specs.LinuxIDMapping{{HostID: gid, Size: size}}}
}

// IsZero tells that nothing is shifted.
func (m Map) IsZero() bool { return len(m.UIDs)+len(m.GIDs) == 0 }

// Equal tells whether two mappings are the same.
func (m Map) Equal(o Map) bool { return slices.Equal(m.UIDs, o.UIDs) && slices.Equal(m.GIDs, o.GIDs) }

// String is the mapping in one line: "0:100000:65536" for users, and for groups after a slash where they differ.
func (m Map) String() string {
	u, g := word(m.UIDs), word(m.GIDs)
	if u == g {
		return u
	}
	return u + "/" + g
}

func word(list []specs.LinuxIDMapping) string {
	var parts []string
	for _, r := range list {
		parts = append(parts, fmt.Sprintf("%d:%d:%d", r.ContainerID, r.HostID, r.Size))
	}
	return strings.Join(parts, ",")
}

// Check tells what is wrong with a mapping: root must have a place in it, and ranges are not empty, do not pass the last id, and do not overlap.
func (m Map) Check() error {
	if m.IsZero() {
		return nil
	}
	for what, list := range map[string][]specs.LinuxIDMapping{"user": m.UIDs, "group": m.GIDs} {
		if _, ok := outside(list, 0); !ok {
			return fmt.Errorf("map ids: no host %s stands for %s 0", what, what)
		}
		for i, r := range list {
			if r.Size == 0 || uint64(r.HostID)+uint64(r.Size) > math.MaxUint32 || uint64(r.ContainerID)+uint64(r.Size) > math.MaxUint32 {
				return fmt.Errorf("map ids: %s range %s is empty or too long", what, word(list[i:i+1]))
			}
			for _, o := range list[:i] {
				if meet(r.HostID, o.HostID, r.Size, o.Size) || meet(r.ContainerID, o.ContainerID, r.Size, o.Size) {
					return fmt.Errorf("map ids: %s ranges %s overlap", what, word([]specs.LinuxIDMapping{o, r}))
				}
			}
		}
	}
	return nil
}

func meet(a, b, asize, bsize uint32) bool {
	return uint64(a) < uint64(b)+uint64(bsize) && uint64(b) < uint64(a)+uint64(asize)
}

func outside(list []specs.LinuxIDMapping, id uint32) (uint32, bool) {
	for _, r := range list {
		if id >= r.ContainerID && id-r.ContainerID < r.Size {
			return r.HostID + (id - r.ContainerID), true
		}
	}
	return 0, false
}

func inside(list []specs.LinuxIDMapping, id int) int {
	for _, r := range list {
		if n := int64(id) - int64(r.HostID); n >= 0 && n < int64(r.Size) {
			return int(r.ContainerID) + int(n)
		}
	}
	return Overflow
}

// Host is the host's user and group that stand for a container's; false where one has none.
func (m Map) Host(uid, gid int) (hostUID, hostGID int, ok bool) {
	if m.IsZero() {
		return uid, gid, true
	}
	if uid < 0 || gid < 0 || uid > math.MaxUint32 || gid > math.MaxUint32 {
		return 0, 0, false
	}
	u, ok1 := outside(m.UIDs, uint32(uid))
	g, ok2 := outside(m.GIDs, uint32(gid))
	return int(u), int(g), ok1 && ok2
}

// Inside is what the container sees of an owner: Overflow where it has no place.
func (m Map) Inside(uid, gid int) (int, int) {
	if m.IsZero() {
		return uid, gid
	}
	return inside(m.UIDs, uid), inside(m.GIDs, gid)
}

// Root is the host's user and group that stand for root.
func (m Map) Root() kernel.Owner {
	uid, gid, _ := m.Host(0, 0)
	return kernel.Owner{UID: uid, GID: gid}
}

// Hold makes a user namespace with the mapping, and namespaces of further kinds that it owns, for as long as f runs.
func (m Map) Hold(kinds []kernel.Namespace, f func(pid int) error) error {
	if err := m.Check(); err != nil {
		return err
	}
	return kernel.Hold(kinds, process(m.UIDs), process(m.GIDs), f)
}

// Namespace makes a user namespace with the mapping. The descriptor is the caller's.
func (m Map) Namespace() (fd int, err error) {
	fd = -1
	err = m.Hold(nil, func(pid int) error {
		fd, err = kernel.OpenProcLink(strconv.Itoa(pid)+"/ns", "user", unix.O_RDONLY)
		return err
	})
	if err != nil {
		kernel.Close(fd)
		return -1, err
	}
	return fd, nil
}

func process(list []specs.LinuxIDMapping) (out []syscall.SysProcIDMap) {
	for _, r := range list {
		out = append(out, syscall.SysProcIDMap{ContainerID: int(r.ContainerID), HostID: int(r.HostID), Size: int(r.Size)})
	}
	return out
}
