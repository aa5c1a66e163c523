package idmap

import (
	"os"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"nau/internal/kernel"
)

func TestBothWays(t *testing.T) {
	two := Map{UIDs: []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 1000}, {ContainerID: 1000, HostID: 300000, Size: 10}},
		GIDs: []specs.LinuxIDMapping{{ContainerID: 0, HostID: 200000, Size: 65536}}}
	for _, c := range []struct {
		m                Map
		uid, gid         int
		hostUID, hostGID int
		ok               bool
	}{
		{Map{}, 5, 6, 5, 6, true},
		{two, 0, 0, 100000, 200000, true},
		{two, 999, 1, 100999, 200001, true},
		{two, 1009, 65535, 300009, 265535, true},
		{two, 1010, 0, 0, 200000, false},
		{two, -1, 0, 0, 0, false},
		{two, 1 << 40, 0, 0, 0, false},
	} {
		u, g, ok := c.m.Host(c.uid, c.gid)
		if ok != c.ok || ok && (u != c.hostUID || g != c.hostGID) {
			t.Errorf("Host(%d, %d) of %s = %d, %d, %v", c.uid, c.gid, c.m, u, g, ok)
		}
		if !ok {
			continue
		}
		if u, g := c.m.Inside(c.hostUID, c.hostGID); u != c.uid || g != c.gid {
			t.Errorf("Inside(%d, %d) of %s = %d, %d", c.hostUID, c.hostGID, c.m, u, g)
		}
	}
	if u, g := two.Inside(0, 0); u != Overflow || g != Overflow {
		t.Errorf("the host's root is %d:%d inside", u, g)
	}
}

func TestCheck(t *testing.T) {
	block := func(c, h, n uint32) specs.LinuxIDMapping {
		return specs.LinuxIDMapping{ContainerID: c, HostID: h, Size: n}
	}
	for _, c := range []struct {
		name string
		ids  []specs.LinuxIDMapping
		want string
	}{
		{"good", []specs.LinuxIDMapping{block(0, 100000, 10), block(10, 5, 5)}, ""},
		{"no root", []specs.LinuxIDMapping{block(1, 100000, 10)}, "stands for"},
		{"empty", []specs.LinuxIDMapping{block(0, 1, 10), block(10, 50, 0)}, "empty"},
		{"too long", []specs.LinuxIDMapping{block(0, 4294967000, 65536)}, "too long"},
		{"host ids twice", []specs.LinuxIDMapping{block(0, 100000, 10), block(10, 100009, 5)}, "overlap"},
		{"ids twice", []specs.LinuxIDMapping{block(0, 100000, 10), block(9, 200000, 5)}, "overlap"},
	} {
		err := Map{UIDs: c.ids, GIDs: []specs.LinuxIDMapping{block(0, 1, 1)}}.Check()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// The namespace has the mapping, and leaves no process behind.
func TestNamespace(t *testing.T) {
	for _, p := range []*kernel.Probe{kernel.Root, kernel.UserNS} {
		if err := p.Check(); err != nil {
			t.Skip(err)
		}
	}
	m := Block(70000, 80000, 65536)
	var pid int
	err := m.Hold([]kernel.Namespace{kernel.Net, kernel.UTS}, func(p int) error {
		pid = p
		for _, kind := range []kernel.Namespace{kernel.User, kernel.Net, kernel.UTS} {
			own, err := os.Readlink("/proc/self/ns/" + string(kind))
			if err != nil {
				return err
			}
			if other, err := os.Readlink(kernelPath(p, "ns/"+string(kind))); err != nil || other == own {
				t.Errorf("the %s namespace is not new: %s, %v", kind, other, err)
			}
		}
		b, err := os.ReadFile(kernelPath(p, "gid_map"))
		if f := strings.Fields(string(b)); err != nil || len(f) != 3 || f[0] != "0" || f[1] != "80000" || f[2] != "65536" {
			t.Errorf("gid_map is %q: %v", b, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(pid, 0); err != unix.ESRCH {
		t.Errorf("the process is still there: %v", err)
	}
	fd, err := m.Namespace()
	if err != nil {
		t.Fatal(err)
	}
	kernel.Close(fd)
}

func kernelPath(pid int, name string) string {
	return "/proc/" + strconv.Itoa(pid) + "/" + name
}
