package oci

import (
	"fmt"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"nau/internal/kernel"
)

var kinds = map[specs.LinuxNamespaceType]kernel.Namespace{specs.PIDNamespace: kernel.PID, specs.NetworkNamespace: kernel.Net, specs.MountNamespace: kernel.Mount,
	specs.IPCNamespace: kernel.IPC, specs.UTSNamespace: kernel.UTS, specs.UserNamespace: kernel.User, specs.CgroupNamespace: kernel.Cgroup, specs.TimeNamespace: kernel.Time}

// namespaces is the plan: which are made, which are joined.
type namespaces struct {
	new   uint64 // CLONE_NEW… bits, without cgroup and time, which are not made by clone3
	newCg bool
	newTm bool
	join  []joined // in the order of joining
	user  int      // a user namespace to join, or -1
}

type joined struct {
	kind kernel.Namespace
	fd   int
}

// planNamespaces opens the namespaces that are given by path.
func planNamespaces(l *specs.Linux) (*namespaces, error) {
	n := &namespaces{user: -1}
	if l == nil {
		return n, nil
	}
	for _, ns := range l.Namespaces {
		kind, ok := kinds[ns.Type]
		if !ok {
			n.close()
			return nil, fmt.Errorf("%w: namespace type %q is unknown", ErrInvalid, ns.Type)
		}
		if ns.Path == "" {
			switch kind {
			case kernel.Cgroup:
				n.newCg = true
			case kernel.Time:
				n.newTm = true
			default:
				n.new |= uint64(kind.Flag())
			}
			continue
		}
		fd, err := kernel.OpenNamespace(ns.Path, kind)
		if err != nil {
			n.close()
			return nil, err
		}
		if kind == kernel.User {
			n.user = fd
			continue
		}
		j := joined{kind, fd}
		if kind == kernel.Mount {
			n.join = append(n.join, j) // last: the others' paths are open already, but order costs nothing
		} else {
			n.join = append([]joined{j}, n.join...)
		}
	}
	return n, nil
}

func (n *namespaces) close() {
	kernel.Close(n.user)
	for _, j := range n.join {
		kernel.Close(j.fd)
	}
}

// userns tells whether the container's user namespace is not the runtime's.
func (n *namespaces) userns() bool { return n.user >= 0 || n.new&unix.CLONE_NEWUSER != 0 }

// forks tells that a process which has joined a user namespace needs another one to live in a new PID namespace. Where a PID namespace is joined there
// must be none: its number would be told as it is in there.
func (n *namespaces) forks() bool { return n.user >= 0 && n.new&unix.CLONE_NEWPID != 0 }

// enter is what the building thread joins of the new process: everything new but the user namespace.
func (n *namespaces) enter() int { return int(n.new &^ unix.CLONE_NEWUSER) }

// mapIDs words mappings for /proc/PID/uid_map.
func mapIDs(m []specs.LinuxIDMapping) string {
	var b strings.Builder
	for _, e := range m {
		fmt.Fprintf(&b, "%d %d %d\n", e.ContainerID, e.HostID, e.Size)
	}
	return b.String()
}

// writeMaps gives a process's new user namespace its mappings.
func writeMaps(pid int, uid, gid []specs.LinuxIDMapping) error {
	dir := strconv.Itoa(pid)
	if len(gid) > 0 {
		if err := kernel.WriteProc(dir+"/gid_map", mapIDs(gid)); err != nil {
			return fmt.Errorf("map groups: %w", err)
		}
	}
	if len(uid) > 0 {
		if err := kernel.WriteProc(dir+"/uid_map", mapIDs(uid)); err != nil {
			return fmt.Errorf("map users: %w", err)
		}
	}
	return nil
}

// hostID maps a container's id by the mappings.
func hostID(m []specs.LinuxIDMapping) func(uint32) (int, bool) {
	return func(id uint32) (int, bool) {
		for _, e := range m {
			if id >= e.ContainerID && id-e.ContainerID < e.Size {
				return int(e.HostID + id - e.ContainerID), true
			}
		}
		return 0, false
	}
}

// readMaps reads the mappings of the user namespace fd, through a process in it... of which there may be none; the
// configuration's own mappings are taken then. text is a uid_map.
func parseMaps(text string) (m []specs.LinuxIDMapping) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		a, err1 := strconv.ParseUint(f[0], 10, 32)
		b, err2 := strconv.ParseUint(f[1], 10, 32)
		c, err3 := strconv.ParseUint(f[2], 10, 32)
		if err1 == nil && err2 == nil && err3 == nil {
			m = append(m, specs.LinuxIDMapping{ContainerID: uint32(a), HostID: uint32(b), Size: uint32(c)})
		}
	}
	return m
}
