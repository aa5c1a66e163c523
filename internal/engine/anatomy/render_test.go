package anatomy

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files anew")

// pod is a container as Kubernetes makes them, on a hybrid host.
func pod() *Anatomy {
	const id = "4ba9a43c8360464a196c8af7337e888c84d74ded83fef48cf0aa7c889c11c0c5"
	const pin = "/run/nau/ns/e7820e48e81b4e3b40055c95c52f1195981ca3fea3e8143e218a67715e2f9827"
	at := time.Date(2026, 11, 21, 23, 57, 2, 0, time.UTC)
	eth0 := Link{Name: "eth0", Index: 2, Kind: "veth", MAC: "0a:6e:0a:2a:00:02", MTU: 1500, State: "up", Peer: 4, Addrs: []string{"10.42.0.2/32", "fd42::2/128"}}
	host := Link{Name: "naue7820e48e8", Index: 4, Kind: "veth", MAC: "56:b2:b6:3a:49:c2", MTU: 1500, State: "up", Peer: 2}
	bridge := Link{Name: "nau0", Index: 3, Kind: "bridge", MAC: "0a:6e:0a:2a:00:01", MTU: 1500, State: "up", Addrs: []string{"10.42.0.1/24", "fd42::1/64"}}
	lo := Link{Name: "lo", Index: 1, MTU: 65536, State: "up", Addrs: []string{"127.0.0.1/8", "::1/128"}}
	caps := []string{"CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE"}
	cg := "/nau/kubepods/burstable/podcef17592/" + id
	a := &Anatomy{
		Container: Container{ID: id, Name: "k8s_nginx_web_default_cef17592_0", State: "running", Pid: 26086, Created: at, Started: at.Add(time.Second),
			Command: []string{"nginx", "-g", "daemon off;"}, Dir: "/", Hostname: "web", Sandbox: "e7820e48", Siblings: []string{"side"},
			Bundle: "/run/nau/containers/" + id},
		Namespaces: []Namespace{{Kind: "mnt", Inode: 4026532533}, {Kind: "uts", Inode: 4026532319, Shared: []string{"side"}, Pin: pin + "-uts"},
			{Kind: "ipc", Inode: 4026532320, Shared: []string{"side"}, Pin: pin + "-ipc"}, {Kind: "net", Inode: 4026532388, Shared: []string{"side"}, Pin: pin + "-net"},
			{Kind: "pid", Inode: 4026532534}, {Kind: "user", Inode: 4026531837, Shared: []string{Host}}},
		Cgroups: Cgroups{Mode: "hybrid", Groups: []Cgroup{
			{Controllers: []string{"cpu"}, Path: cg, Dir: "/sys/fs/cgroup/cpu" + cg, Files: []CgroupFile{{Name: "cpu.shares", Value: "102", Limit: true},
				{Name: "cpu.cfs_quota_us", Value: "50000", Limit: true}, {Name: "cpu.cfs_period_us", Value: "100000", Limit: true}}},
			{Controllers: []string{"devices"}, Path: cg, Dir: "/sys/fs/cgroup/devices" + cg, Files: []CgroupFile{{Name: "devices.list", Value: "c 1:3 rwm; c 1:5 rwm", Limit: true}}},
			{Controllers: []string{"memory"}, Path: cg, Dir: "/sys/fs/cgroup/memory" + cg, Files: []CgroupFile{{Name: "memory.limit_in_bytes", Value: "134217728", Limit: true},
				{Name: "memory.memsw.limit_in_bytes", Value: "9223372036854771712", Limit: true}, {Name: "../memory.limit_in_bytes", Value: "268435456", Limit: true}, {Name: "memory.usage_in_bytes", Value: "1396736"}}},
			{Controllers: []string{"name=systemd"}, Path: cg, Dir: "/sys/fs/cgroup/systemd" + cg},
			{Unified: true, Path: cg, Dir: "/sys/fs/cgroup/unified" + cg, Files: []CgroupFile{{Name: "cgroup.freeze", Value: "0", Limit: true}}},
		}},
		Image: Image{Reference: "nginx@sha256:0e5f", ID: "sha256:5c65", Manifest: "sha256:0e5f", Size: 6200434, Compressed: 2779896, Layers: []Layer{
			{DiffID: "sha256:1f154b16f4fee47f", Digest: "sha256:c66bd93675b1e7fb", MediaType: "application/vnd.oci.image.layer.v1.tar+gzip", Compressed: 2779236,
				Blob: "/var/lib/nau/content/blobs/sha256/c66bd93675b1e7fb", Size: 6200000, Disk: 6203392, Inodes: 8, Dir: "/var/lib/nau/layers/l0/fs"},
			{DiffID: "sha256:c5e27dbd3d4fc7dc", Digest: "sha256:e6aeeb0575d01e92", MediaType: "application/vnd.oci.image.layer.v1.tar+zstd", Compressed: 660,
				Size: 434, Inodes: 18, Dir: "/var/lib/nau/layers/l2/fs"}}},
		Root: Root{Target: "/run/nau/containers/" + id + "/rootfs", Lower: []string{"/var/lib/nau/layers/l2/fs", "/var/lib/nau/layers/l0/fs", "/var/lib/nau/layers/r"},
			Places: []Place{{Path: "dev"}, {Path: "etc"}, {Path: "etc/hosts", File: true}},
			Upper:  "/var/lib/nau/layers/s3/u", Work: "/var/lib/nau/layers/s3/w", Options: []string{"uuid=on"}, Bytes: 28672, Inodes: 10,
			Devices: []Device{{Name: "null", Kind: "c", Major: 1, Minor: 3, Mode: "666"}, {Name: "fd", Link: "/proc/self/fd"}}},
		Mounts: []Mount{{ID: 1, Target: "/", Type: "overlay", Source: "overlay", Root: "/", Options: "rw,relatime"},
			{ID: 2, Parent: 1, Target: "/proc", Type: "proc", Source: "proc", Root: "/", Options: "rw,nosuid,nodev,noexec,relatime", Super: "rw"},
			{ID: 3, Parent: 2, Target: "/proc/sys", Type: "proc", Source: "proc", Root: "/sys", Options: "ro,nosuid,nodev,noexec,relatime", Super: "rw"},
			{ID: 4, Parent: 2, Target: "/proc/keys", Type: "devtmpfs", Source: "devtmpfs", Root: "/null", Host: "/dev/null", Options: "rw,relatime", Super: "rw"},
			{ID: 5, Parent: 1, Target: "/data", Type: "ext4", Source: "/dev/vda", Root: "/v/it's", Host: "/var/lib/v/it's", Options: "ro,relatime", Super: "rw"},
			{ID: 6, Parent: 1, Target: "/sys", Type: "sysfs", Source: "sysfs", Root: "/", Options: "ro,nosuid", Super: "rw"},
			{ID: 7, Parent: 6, Target: "/sys/fs/cgroup", Type: "tmpfs", Source: "cgroup", Root: "/", Options: "ro,nosuid,relatime", Super: "rw,mode=755"},
			{ID: 8, Parent: 7, Target: "/sys/fs/cgroup/cpu", Type: "cgroup", Source: "cgroup", Root: cg, Options: "ro,nosuid,relatime", Super: "rw,cpu"},
			{ID: 9, Parent: 1, Target: "/etc/hosts", Type: "ext4", Source: "/dev/vda", Root: "/h", Host: "/run/nau/h", File: true, Options: "rw,relatime", Super: "rw"},
			{ID: 10, Parent: 1, Target: "/dev", Type: "tmpfs", Source: "tmpfs", Root: "/", Options: "rw,nosuid", Super: "rw,mode=755"}},
		Network: Network{Netns: pin + "-net", Links: []Link{lo, eth0}, Veths: []Veth{{Inside: eth0, Host: host, Bridge: &bridge}},
			Routes: []Route{{To: "default", Via: "10.42.0.1", Dev: "eth0"}, {To: "10.42.0.1/32", Dev: "eth0", Scope: "link"},
				{To: "fd42::2/128", Dev: "eth0", Auto: true}},
			HostRoutes: []Route{{To: "10.42.0.2/32", Dev: "nau0", Scope: "link"}}, Neighbours: []string{"10.42.0.1 lladdr 0a:6e:0a:2a:00:01 dev eth0"}},
		Packets: []Table{{Family: "inet", Name: "nau", Sets: []PacketSet{{"ports4", true, "type inet_proto . inet_service : ipv4_addr . inet_service;"}},
			Chains: []PacketChain{{"prerouting", "nat prerouting -100"}, {"hostports", ""}}, Elements: []PacketEntry{{"ports4", "tcp . 8088 : 10.42.0.2 . 80"}},
			Rules: []PacketRule{{"prerouting", "nat prerouting -100", "fib daddr type local jump hostports"},
				{"hostports", "", "meta nfproto ipv4 dnat ip to meta l4proto . th dport map @ports4"}}}},
		Security: Security{UID: []int{101, 101, 101, 101}, GID: []int{101, 101, 101, 101}, Groups: []int{}, NoNewPrivs: true, Seccomp: "filter", Filters: 1,
			DefaultAction: "SCMP_ACT_ERRNO", Syscalls: 377, OOMScoreAdj: "998", UIDMap: []IDMap{{0, 100000, 65536}}, GIDMap: []IDMap{{0, 0, 4294967295}},
			Capabilities: Capabilities{Bounding: caps, Permitted: caps, Effective: caps, Inheritable: []string{}, Ambient: []string{"CAP_NET_BIND_SERVICE"}}},
		Rlimits: []Rlimit{{Name: "open files", Soft: "1024", Hard: "20000", Unit: "files"}, {Name: "cpu time", Soft: "unlimited", Hard: "unlimited", Unit: "seconds"}},
		Processes: []Process{{Pid: 26086, Inside: 1, Parent: 26057, State: "S (sleeping)", Threads: 1, RSS: 1 << 21, Command: "nginx: master process"},
			{Pid: 26090, Inside: 7, Parent: 26086, Depth: 1, State: "S (sleeping)", UID: 101, Threads: 2, RSS: 1 << 20, Command: "nginx: \x1b[31mworker"}},
		Missing: []string{"manifest: no such file"},
	}
	explain(&a.Cgroups)
	return a
}

// machine is a container of the host's network on a version 2 host, privileged.
func machine() *Anatomy {
	a := &Anatomy{
		Container:  Container{ID: "c0f7abf5ed40f791", Name: "agent", State: "running", Pid: 7, Command: []string{"sh"}, Sandbox: "s", Bundle: "/run/nau/containers/c0f7"},
		Namespaces: []Namespace{{Kind: "mnt", Inode: 10}, {Kind: "net", Inode: 11, Shared: []string{Host}}, {Kind: "pid", Inode: 12, Shared: []string{"other"}}},
		Cgroups: Cgroups{Mode: "v2", Groups: []Cgroup{{Unified: true, Path: "/nau/s/c0f7", Dir: "/sys/fs/cgroup/nau/s/c0f7", Files: []CgroupFile{
			{Name: "cpu.max", Value: "max 100000", Limit: true}, {Name: "memory.max", Value: "67108864", Limit: true}, {Name: "memory.current", Value: "1048576"},
			{Name: "pids.max", Value: "100", Limit: true}, {Name: "../pids.max", Value: "4096", Limit: true}}}}},
		Image:   Image{Reference: "sha256:aa", ID: "sha256:aa", Layers: []Layer{{DiffID: "sha256:bb", Size: 10, Inodes: 1, Dir: "/l/l0/fs"}}, Size: 10},
		Network: Network{Host: true},
	}
	explain(&a.Cgroups)
	return a
}

// resting is a container that has ended.
func resting() *Anatomy {
	return &Anatomy{Container: Container{ID: "0123456789abcdef", State: "exited", Sandbox: "s", Bundle: "/b"},
		Image: Image{Reference: "busybox", ID: "sha256:cc", Layers: []Layer{}}, Root: Root{Lower: []string{"/l/l0/fs"}, Upper: "/l/s1/u", Work: "/l/s1/w"}}
}

func TestPages(t *testing.T) {
	for name, a := range map[string]*Anatomy{"pod": pod(), "host-network": machine(), "exited": resting()} {
		t.Run(name, func(t *testing.T) {
			a.ByHand = Recipes(a)
			var text, doc bytes.Buffer
			if err := Render(&text, a, Style{}); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(text.String(), "\x1b") {
				t.Error("an escape sequence in a page without colours")
			}
			enc := json.NewEncoder(&doc)
			enc.SetEscapeHTML(false)
			enc.SetIndent("", "  ")
			if err := enc.Encode(a); err != nil {
				t.Fatal(err)
			}
			golden(t, name+".txt", text.Bytes())
			golden(t, name+".json", doc.Bytes())
		})
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not as before; `go test -update` writes it anew. Now:\n%s", path, got)
	}
}

func TestColoursOnlyWhenAsked(t *testing.T) {
	var text bytes.Buffer
	if err := Render(&text, resting(), Style{Color: true}); err != nil || !strings.Contains(text.String(), bold+"Image"+plain) {
		t.Errorf("no colour, error %v", err)
	}
}

func TestAbbreviate(t *testing.T) {
	got := strings.Join(abbreviate([]string{"cd /var/lib/nau", "cat /var/lib/nau/c", "x /var/lib/nauc", "echo '/var/lib/nau'"}, "p", "/var/lib/nau"), "\n")
	want := "p=/var/lib/nau\ncd $p\ncat $p/c\nx ${p}c\necho '/var/lib/nau'"
	if got != want {
		t.Errorf("got:\n%s", got)
	}
}
