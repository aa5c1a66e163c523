package spec

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func input() Input {
	return Input{
		ID: "c1", Process: Process{Args: []string{"true"}}, Rootfs: "/r", Hostname: "h", CgroupPath: "/nau/c1",
		Namespaces: Namespaces{Net: "/ns/net", IPC: "/ns/ipc", UTS: "/ns/uts"},
		Host:       Host{Seccomp: true, RecursiveRO: true, OOMScoreMin: -1000},
	}
}

func build(t *testing.T, in Input) *specs.Spec {
	t.Helper()
	s, err := Build(in)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestCommand(t *testing.T) {
	img := Image{Entrypoint: []string{"e"}, Cmd: []string{"c"}}
	for _, c := range []struct {
		p    Process
		img  Image
		want string
	}{
		{Process{}, img, "e c"},
		{Process{Args: []string{"a"}}, img, "e a"},
		{Process{Entrypoint: []string{"x"}}, img, "x"},
		{Process{Entrypoint: []string{"x"}, Args: []string{"a"}}, img, "x a"},
		{Process{Entrypoint: []string{}}, img, ""},
		{Process{}, Image{Cmd: []string{"c", "d"}}, "c d"},
		{Process{}, Image{}, ""},
	} {
		got, err := Command(c.p, c.img)
		if strings.Join(got, " ") != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%+v: got %q, %v; want %q", c.p, got, err, c.want)
		}
	}
}

func TestEnv(t *testing.T) {
	in := input()
	in.Image.Env = []string{"PATH=/bin", "A=1", "B=2"}
	in.Process.Env = []string{"A=3", "C=", "B", "=bad", "C=4"}
	in.Resolved.Home = "/root"
	want := []string{"PATH=/bin", "HOSTNAME=h", "A=3", "C=4", "HOME=/root"}
	if got := Env(in); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	in = input()
	in.Process.Terminal = true
	in.Process.Env = []string{"HOME="} // blank is none
	if got := Env(in); slices.Contains(got, "HOME=") || !slices.Contains(got, "HOME=/") {
		t.Errorf("a blank HOME: %q", got)
	}
	in.Process.Env = []string{"HOME=/h"}
	if got := Env(in); !slices.Contains(got, "TERM=xterm") || !slices.Contains(got, DefaultPath) || !slices.Contains(got, "HOME=/h") {
		t.Errorf("got %q", got)
	}
}

func TestCapabilities(t *testing.T) {
	for _, c := range []struct {
		name      string
		s         Security
		available []string
		has, not  []string
		count     int
	}{
		{name: "default", count: 14, has: []string{"CAP_CHOWN", "CAP_NET_RAW"}, not: []string{"CAP_SYS_ADMIN", "CAP_NET_ADMIN"}},
		{name: "add", s: Security{CapAdd: []string{"net_admin"}}, count: 15, has: []string{"CAP_NET_ADMIN"}},
		{name: "drop", s: Security{CapDrop: []string{"CAP_KILL", "SETUID"}}, count: 12, not: []string{"CAP_KILL", "CAP_SETUID"}},
		{name: "drop all, add one", s: Security{CapDrop: []string{"ALL"}, CapAdd: []string{"KILL"}}, count: 1, has: []string{"CAP_KILL"}},
		{name: "add all, drop one", s: Security{CapAdd: []string{"all"}, CapDrop: []string{"SYS_ADMIN"}}, count: len(known) - 1, not: []string{"CAP_SYS_ADMIN"}},
		{name: "privileged", s: Security{Privileged: true}, count: len(known)},
		{name: "not more than there is", s: Security{Privileged: true}, available: []string{"CAP_KILL"}, count: 1},
		{name: "add what there is not", s: Security{CapAdd: []string{"SYS_RESOURCE"}}, available: DefaultCapabilities, count: 14},
	} {
		got, err := Capabilities(c.s, c.available)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if len(got.Bounding) != c.count || !reflect.DeepEqual(got.Bounding, got.Effective) || !reflect.DeepEqual(got.Bounding, got.Permitted) || len(got.Inheritable) != 0 {
			t.Errorf("%s: got %v", c.name, got)
		}
		for _, h := range c.has {
			if !slices.Contains(got.Bounding, h) {
				t.Errorf("%s: no %s", c.name, h)
			}
		}
		for _, n := range c.not {
			if slices.Contains(got.Bounding, n) {
				t.Errorf("%s: has %s", c.name, n)
			}
		}
	}
	if _, err := Capabilities(Security{CapAdd: []string{"FLY"}}, nil); err == nil {
		t.Error("an unknown capability was taken")
	}
}

func TestDefaultsAreDockers(t *testing.T) {
	s := build(t, input())
	if s.Linux.Seccomp == nil || s.Linux.Seccomp.DefaultAction != specs.ActErrno {
		t.Error("no seccomp profile")
	}
	if !reflect.DeepEqual(s.Linux.MaskedPaths, DefaultMasked) || !reflect.DeepEqual(s.Linux.ReadonlyPaths, DefaultReadonly) {
		t.Error("paths are not masked")
	}
	if d := s.Linux.Resources.Devices[0]; d.Allow || d.Access != "rwm" {
		t.Errorf("devices are not denied first: %+v", d)
	}
	for _, n := range s.Linux.Namespaces {
		if n.Type == specs.PIDNamespace && n.Path != "" || n.Type == specs.NetworkNamespace && n.Path != "/ns/net" {
			t.Errorf("namespace %+v", n)
		}
	}
	if s.Hostname != "" {
		t.Error("a joined UTS namespace is renamed")
	}
	if s.Process.Cwd != "/" || !reflect.DeepEqual(s.Process.User.AdditionalGids, []uint32{0}) {
		t.Errorf("process %+v", s.Process)
	}
}

func TestPrivilegedAndHostNamespaces(t *testing.T) {
	in := input()
	in.Security = Security{Privileged: true, Seccomp: Profile{Kind: ProfileUnconfined}}
	in.Namespaces = Namespaces{HostNet: true, HostPID: true, HostIPC: true, HostUTS: true}
	in.Host.HostDevices = func() ([]specs.LinuxDevice, error) { return []specs.LinuxDevice{{Path: "/dev/kvm"}}, nil }
	s := build(t, in)
	if len(s.Linux.Namespaces) != 1 || s.Linux.Namespaces[0].Type != specs.MountNamespace {
		t.Errorf("namespaces %+v", s.Linux.Namespaces)
	}
	if s.Linux.Seccomp != nil || len(s.Linux.MaskedPaths)+len(s.Linux.ReadonlyPaths) != 0 || s.Process.NoNewPrivileges || len(s.Linux.Devices) != 1 {
		t.Error("privileged is not")
	}
	for _, m := range s.Mounts {
		if m.Destination == "/sys" && slices.Contains(m.Options, "ro") {
			t.Error("/sys is read-only")
		}
	}
}

// The files that name servers and hosts are seen over a volume that covers their folder.
func TestFilesOverVolumes(t *testing.T) {
	in := input()
	in.ResolvConf, in.Hosts = "/s/resolv", "/s/hosts"
	in.Mounts = []Mount{{Source: "/v", Target: "/etc"}}
	var order []string
	for _, m := range build(t, in).Mounts {
		if strings.HasPrefix(m.Destination, "/etc") {
			order = append(order, m.Destination)
		}
	}
	if want := []string{"/etc", "/etc/resolv.conf", "/etc/hosts"}; !slices.Equal(order, want) {
		t.Errorf("mounts below /etc: %v, want %v", order, want)
	}
}

// What is named beside Privileged holds.
func TestPrivilegedKeepsProfiles(t *testing.T) {
	in := input()
	in.Security = Security{Privileged: true, NoNewPrivs: true, Seccomp: Profile{Kind: ProfileInline, Value: `{"defaultAction":"SCMP_ACT_LOG"}`}, AppArmor: Profile{Kind: ProfileLocal, Value: "mine"}}
	in.Host.AppArmor = true
	s := build(t, in)
	if s.Linux.Seccomp == nil || s.Linux.Seccomp.DefaultAction != specs.ActLog || !s.Process.NoNewPrivileges || s.Process.ApparmorProfile != "mine" {
		t.Errorf("profiles beside privileged: %+v, no new privileges %v, %q", s.Linux.Seccomp, s.Process.NoNewPrivileges, s.Process.ApparmorProfile)
	}
}

func TestMounts(t *testing.T) {
	in := input()
	in.ResolvConf, in.Hosts, in.ShmDir = "/s/resolv", "/s/hosts", "/s/shm"
	in.Mounts = []Mount{
		{Source: "/v/deep", Target: "/data/deep/er"},
		{Source: "/v", Target: "/data/", ReadOnly: true},
		{Source: "/mine", Target: "/etc/hosts"},
		{Source: "/rro", Target: "/rro", ReadOnly: true, RecursiveReadOnly: true},
		{Source: "/slave", Target: "/slave", Propagation: PropagateSlave},
		{Type: "tmpfs", Target: "/tmp", Options: []string{"size=1m"}},
	}
	s := build(t, in)
	at := map[string]specs.Mount{}
	order := map[string]int{}
	for i, m := range s.Mounts {
		if _, twice := at[m.Destination]; twice {
			t.Errorf("two mounts at %s", m.Destination)
		}
		at[m.Destination], order[m.Destination] = m, i
	}
	for target, want := range map[string]string{
		"/data": "/v rbind,rprivate,ro", "/data/deep/er": "/v/deep rbind,rprivate,rw", "/etc/hosts": "/mine rbind,rprivate,rw",
		"/rro": "/rro rbind,rprivate,rro", "/slave": "/slave rbind,rslave,rw", "/tmp": "tmpfs size=1m", "/dev/shm": "/s/shm rbind,rw",
		"/etc/resolv.conf": "/s/resolv rbind,rprivate,rw",
	} {
		if got := at[target].Source + " " + strings.Join(at[target].Options, ","); got != want {
			t.Errorf("%s: got %q, want %q", target, got, want)
		}
	}
	if order["/data"] > order["/data/deep/er"] {
		t.Error("a mount hides the one inside it")
	}
	if s.Linux.RootfsPropagation != "rslave" {
		t.Errorf("root propagation %q", s.Linux.RootfsPropagation)
	}
	for _, bad := range []Mount{{Source: "/a", Target: "b"}, {Source: "a", Target: "/b"}, {Source: "/a", Target: "/b", RecursiveReadOnly: true},
		{Source: "/a", Target: "/b", ReadOnly: true, RecursiveReadOnly: true, Propagation: PropagateShared}} {
		in.Mounts = []Mount{bad}
		if _, err := Build(in); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

func TestLimits(t *testing.T) {
	p := func(v int64) *int64 { return &v }
	u := func(v uint64) *uint64 { return &v }
	in := input()
	in.Resources = Resources{CPUShares: u(512), CPUQuota: p(50000), Memory: p(1 << 20), Pids: p(10), Huge: map[string]uint64{"2MB": 1, "1GB": 2}, Unified: map[string]string{"memory.high": "1"}}
	adj := -998
	in.Process.OOMScore, in.Host.OOMScoreMin = &adj, -5
	in.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: 1 << 20, Soft: 1 << 10}}
	in.Host.RlimitMax = map[string]uint64{"RLIMIT_NOFILE": 4096}
	s := build(t, in)
	r := s.Linux.Resources
	if *r.CPU.Shares != 512 || *r.CPU.Quota != 50000 || *r.Memory.Limit != 1<<20 || *r.Pids.Limit != 10 || r.HugepageLimits[0].Pagesize != "1GB" || r.Unified["memory.high"] != "1" {
		t.Errorf("got %+v", r)
	}
	if *s.Process.OOMScoreAdj != -5 || s.Process.Rlimits[0].Hard != 4096 || s.Process.Rlimits[0].Soft != 1024 {
		t.Errorf("process %+v", s.Process)
	}
	with := in.Resources.With(Resources{Memory: p(2 << 20), Cpus: "0"})
	if *with.Memory != 2<<20 || with.Cpus != "0" || *with.CPUShares != 512 || *in.Resources.Memory != 1<<20 {
		t.Errorf("got %+v", with)
	}
}

func TestSeccompProfiles(t *testing.T) {
	in := input()
	in.Security.Seccomp.Kind = ProfileUnconfined
	if build(t, in).Linux.Seccomp != nil {
		t.Error("unconfined is confined")
	}
	file := filepath.Join(t.TempDir(), "p.json")
	_ = os.WriteFile(file, []byte(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_ERRNO"}]}`), 0o600)
	in.Security.Seccomp = Profile{Kind: ProfileLocal, Value: file}
	if s := build(t, in); s.Linux.Seccomp.Syscalls[0].Names[0] != "mkdir" {
		t.Errorf("got %+v", s.Linux.Seccomp)
	}
	in.Security.Seccomp.Value = "/none"
	if _, err := Build(in); err == nil {
		t.Error("a missing profile was passed over")
	}
	in = input()
	if a, b := build(t, in).Linux.Seccomp, build(t, in).Linux.Seccomp; a != b {
		t.Error("the default profile is made twice")
	}
}

func TestResolveUser(t *testing.T) {
	passwd := []byte("root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/srv:/bin/sh\nbroken\n")
	group := []byte("root:x:0:\nweb:x:33:\nlogs:x:50:web,root\naudio:x:60:web\n")
	id := func(v int64) *int64 { return &v }
	for _, c := range []struct {
		name  string
		u     User
		image string
		want  Resolved
		bad   bool
	}{
		{name: "nobody asked", want: Resolved{0, 0, []uint32{50}, "/root"}},
		{name: "image's", image: "web", want: Resolved{33, 33, []uint32{50, 60}, "/srv"}},
		{name: "image's with group", image: "web:logs", want: Resolved{33, 50, []uint32{50, 60}, "/srv"}},
		{name: "image's with a group alone", u: User{GroupAlone: true}, image: "web:logs", want: Resolved{33, 50, nil, "/srv"}},
		{name: "image's, no group to be alone", u: User{GroupAlone: true}, image: "web", want: Resolved{33, 33, []uint32{50, 60}, "/srv"}},
		{name: "name and a group alone", u: User{Name: "web:logs", GroupAlone: true, GroupNames: []string{"77"}}, want: Resolved{33, 50, []uint32{77}, "/srv"}},
		{name: "number", u: User{UID: id(33)}, image: "root", want: Resolved{33, 33, []uint32{50, 60}, "/srv"}},
		{name: "unknown number", u: User{UID: id(1000)}, want: Resolved{1000, 0, nil, "/"}},
		{name: "number and group", u: User{UID: id(1000), GID: id(2000), Groups: []int64{7, 2000}}, want: Resolved{1000, 2000, []uint32{7, 2000}, "/"}},
		{name: "strict", u: User{UID: id(33), Groups: []int64{9}, StrictGroup: true}, want: Resolved{33, 33, []uint32{9}, "/srv"}},
		{name: "names", u: User{Name: "web", GroupNames: []string{"audio", "77"}}, want: Resolved{33, 33, []uint32{50, 60, 77}, "/srv"}},
		{name: "unknown name", u: User{Name: "who"}, bad: true},
		{name: "unknown group", u: User{Name: "web:who"}, bad: true},
		{name: "too large", u: User{UID: id(1 << 33)}, bad: true},
	} {
		got, err := resolveUser(c.u, c.image, passwd, group)
		if (err != nil) != c.bad || !c.bad && !(got.UID == c.want.UID && got.GID == c.want.GID && got.Home == c.want.Home && slices.Equal(got.Groups, c.want.Groups)) {
			t.Errorf("%s: got %+v, %v; want %+v", c.name, got, err, c.want)
		}
	}
}

func FuzzResolveUser(f *testing.F) {
	f.Add("web:logs", "web:x:33:33::/srv:/bin/sh\n", "logs:x:50:web\n")
	f.Add("1000", ":::::\n\x00", "a:b:c:d:e:f")
	f.Fuzz(func(t *testing.T, name, passwd, group string) {
		r, err := resolveUser(User{Name: name}, "", []byte(passwd), []byte(group))
		if err == nil && (r.UID > 1<<31-1 || r.GID > 1<<31-1) {
			t.Fatalf("out of range: %+v", r)
		}
	})
}

func BenchmarkBuild(b *testing.B) {
	in := input()
	for b.Loop() {
		if _, err := Build(in); err != nil {
			b.Fatal(err)
		}
	}
}
