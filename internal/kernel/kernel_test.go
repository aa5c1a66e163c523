package kernel

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseZombie(t *testing.T) {
	const line = "28475 (a) b) Z 1 28472 28472 0 -1 4194304 55 0 0 0 0 0 0 0 20 0 1 0 481792 0 0 18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 1536\n"
	ws, err := parseZombie(line)
	if err != nil || !ws.Exited() || ws.ExitStatus() != 6 {
		t.Errorf("status %v, %v", ws, err)
	}
	if _, err := parseZombie("1 (x) S 0"); err == nil {
		t.Error("a living process was read")
	}
}

func TestParseCgroupMounts(t *testing.T) {
	const (
		v2     = "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
		cpu    = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
		memory = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
		named  = "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
		hybrid = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
		again  = "99 31 0:32 /sub /elsewhere\\040x rw - cgroup cgroup rw,memory\n"
		other  = "22 27 0:21 / /proc rw,relatime - proc proc rw\ngarbage\n"
	)
	for _, c := range []struct {
		name, text string
		mode       CgroupMode
		mounts     []string
	}{
		{"none", other, CgroupNone, nil},
		{"v2", other + v2, CgroupV2, []string{"/sys/fs/cgroup"}},
		{"v1", cpu + memory + named, CgroupV1, []string{"/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/systemd"}},
		{"hybrid, a part mounted elsewhere first", again + memory + hybrid, CgroupHybrid, []string{"/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified"}},
		{"only a part", again, CgroupV1, []string{"/elsewhere x"}},
	} {
		l := ParseCgroupMounts(c.text)
		var mounts []string
		for _, h := range l.Hierarchies {
			mounts = append(mounts, h.Mount)
		}
		if l.Mode != c.mode || cmp.Diff(c.mounts, mounts) != "" {
			t.Errorf("%s: mode %s, mounts %q", c.name, l.Mode, mounts)
		}
	}
	h, ok := ParseCgroupMounts(cpu).Controller("cpuacct")
	if !ok || h.Dir("/a/b") != "/sys/fs/cgroup/cpu,cpuacct/a/b" {
		t.Errorf("controller: %+v", h)
	}
}

func TestCPUWeight(t *testing.T) {
	for shares, want := range map[uint64]uint64{0: 1, 2: 1, 102: 17, 512: 59, 1024: 100, 262144: 10000, 1 << 40: 10000} {
		if got := CPUWeight(shares); got != want {
			t.Errorf("weight of %d shares: %d, want %d", shares, got, want)
		}
	}
	for shares := uint64(3); shares < 262144; shares++ {
		if CPUWeight(shares) < CPUWeight(shares-1) {
			t.Fatalf("%d shares weigh less than %d", shares, shares-1)
		}
	}
}
