package oci

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*specs.Spec)
		want   string // part of the error; empty: valid
	}{
		{"example", func(*specs.Spec) {}, ""},
		{"version", func(s *specs.Spec) { s.Version = "2.0.0" }, "ociVersion"},
		{"no root", func(s *specs.Spec) { s.Root = nil }, "root.path"},
		{"no arguments", func(s *specs.Spec) { s.Process.Args = nil }, "process.args"},
		{"relative cwd", func(s *specs.Spec) { s.Process.Cwd = "x" }, "process.cwd"},
		{"unknown limit", func(s *specs.Spec) { s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_X"}} }, "RLIMIT_X"},
		{"soft above hard", func(s *specs.Spec) {
			s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_CORE", Soft: 2, Hard: 1}}
		}, "soft limit"},
		{"namespace twice", func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.PIDNamespace})
		}, "given twice"},
		{"user namespace without a mount namespace", func(s *specs.Spec) {
			s.Linux.Namespaces = []specs.LinuxNamespace{{Type: specs.UserNamespace}}
		}, "give the container a mount namespace"},
		{"host's sysctl", func(s *specs.Spec) { s.Linux.Sysctl = map[string]string{"vm.swappiness": "1"} }, "belongs to no namespace"},
		{"escaping sysctl", func(s *specs.Spec) { s.Linux.Sysctl = map[string]string{"net/../../x": "1"} }, "malformed"},
		{"network sysctl", func(s *specs.Spec) { s.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "1"} }, ""},
		{"network sysctl in the host's namespace", func(s *specs.Spec) {
			s.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "1"}
			s.Linux.Namespaces = append(s.Linux.Namespaces[:1:1], s.Linux.Namespaces[2:]...)
		}, "is the host's"},
		{"systemd's cgroup path", func(s *specs.Spec) { s.Linux.CgroupsPath = "a.slice:b:c" }, "systemd"},
		{"flags of a personality", func(s *specs.Spec) {
			s.Linux.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux, Flags: []specs.LinuxPersonalityFlag{"X"}}
		}, `flag "X" is unknown`},
		{"mode of a memory policy", func(s *specs.Spec) { s.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: "X"} }, `mode "X" is unknown`},
		{"nodes of a memory policy", func(s *specs.Spec) {
			s.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: specs.MpolBind, Nodes: "3-1"}
		}, `"3-1" is no number or range`},
		{"I/O priority", func(s *specs.Spec) {
			s.Process.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: 8}
		}, "is not in 0…7"},
		{"affinity", func(s *specs.Spec) { s.Process.ExecCPUAffinity = &specs.CPUAffinity{Initial: "9000"} }, "execCPUAffinity: initial"},
		{"intelRdt", func(s *specs.Spec) { s.Linux.IntelRdt = &specs.LinuxIntelRdt{} }, "intelRdt"},
		{"relative hook", func(s *specs.Spec) { s.Hooks = &specs.Hooks{Poststop: []specs.Hook{{Path: "x"}}} }, "hooks"},
		{"device type", func(s *specs.Spec) { s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/x", Type: "z"}} }, "type"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := ExampleSpec()
			c.change(s)
			err := Validate(s)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
	s := ExampleSpec()
	s.Root, s.Process.Args, s.Process.Cwd = nil, nil, ""
	if err := Validate(s); !errors.Is(err, ErrInvalid) || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("not every fault is told: %v", err)
	}
}

func TestParseList(t *testing.T) {
	for list, want := range map[string][]uint64{"0": {1}, "0-3,7": {0x8f}, " 1 , 2": {6}, "63-64": {1 << 63, 1}} {
		if got, err := parseList(list); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %x, %v", list, got, err)
		}
	}
	for _, list := range []string{"", "x", "1-", "-1", "2-1", "0,,1", "8192", "0-99999999999"} {
		if got, err := parseList(list); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %x, %v", list, got, err)
		}
	}
}

func TestCheckID(t *testing.T) {
	for id, ok := range map[string]bool{"a": true, "A-1_b.c+d": true, "": false, ".": false, "..": false, "a/b": false, "a b": false, "ä": false} {
		if (CheckID(id) == nil) != ok {
			t.Errorf("id %q: %v", id, CheckID(id))
		}
	}
}

func TestParseStat(t *testing.T) {
	state, start, err := parseStat("12 (a) b) c) S 1 12 12 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 0 0\n")
	if err != nil || state != 'S' || start != 987654 {
		t.Errorf("%c %d %v", state, start, err)
	}
	if _, _, err := parseStat("12 (x)"); err == nil {
		t.Error("a cut line was read")
	}
}

func TestHomeOfAUser(t *testing.T) {
	const passwd = "root:x:0:0:root:/root:/bin/sh\nbad line\nuser:x:1000:1000::/home/user:\nnohome:x:5:5:::\n"
	for uid, want := range map[uint32]string{0: "/root", 1000: "/home/user", 5: "/", 7: "/"} {
		if got := parseHome(passwd, uid); got != want {
			t.Errorf("home of %d: %q, want %q", uid, got, want)
		}
	}
}

func TestProgramsAlongPath(t *testing.T) {
	for _, c := range []struct {
		command string
		env     []string
		want    string
	}{
		{"/bin/x", nil, "/bin/x"}, {"./x", nil, "./x"}, {"x", []string{"PATH=/a:/b"}, "/a/x /b/x"}, {"x", []string{"PATH=:/b"}, "./x /b/x"},
		{"x", nil, "/usr/local/sbin/x /usr/local/bin/x /usr/sbin/x /usr/bin/x /sbin/x /bin/x"},
	} {
		if got := strings.Join(programs(c.command, c.env), " "); got != c.want {
			t.Errorf("%s %v: %s, want %s", c.command, c.env, got, c.want)
		}
	}
}

// The filter is decoded apart from the rest, and shared with the last container that had the same one.
func TestDecodeSpecKnowsEveryFilter(t *testing.T) {
	config := func(seccomp string) string {
		return `{"ociVersion":"1.0.2","linux":{"cgroupsPath":"/a","seccomp":` + seccomp + `,"maskedPaths":["/b"]}}`
	}
	allow := `{"defaultAction":"SCMP_ACT_ALLOW"}`
	deny := `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"}]}`
	var last *specs.LinuxSeccomp
	for _, c := range []struct {
		text   string
		want   *specs.LinuxSeccomp
		shared bool
	}{
		{"null", nil, false},
		{allow, &specs.LinuxSeccomp{DefaultAction: specs.ActAllow}, false},
		{allow, &specs.LinuxSeccomp{DefaultAction: specs.ActAllow}, true},
		{deny, &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActAllow}}}, false},
		{allow, &specs.LinuxSeccomp{DefaultAction: specs.ActAllow}, false},
		{"null", nil, false},
	} {
		s, err := DecodeSpec([]byte(config(c.text)))
		if err != nil {
			t.Fatal(err)
		}
		if s.Linux.CgroupsPath != "/a" || len(s.Linux.MaskedPaths) != 1 || !reflect.DeepEqual(s.Linux.Seccomp, c.want) {
			t.Errorf("%s: got %+v with filter %+v", c.text, s.Linux, s.Linux.Seccomp)
		}
		if shared := s.Linux.Seccomp != nil && s.Linux.Seccomp == last; shared != c.shared {
			t.Errorf("%s: shared with the one before: %v, want %v", c.text, shared, c.shared)
		}
		last = s.Linux.Seccomp
	}
	if _, err := DecodeSpec([]byte(config(`{"defaultAction":7}`))); !errors.Is(err, ErrInvalid) {
		t.Errorf("a filter of the wrong type: %v", err)
	}
	if s, err := DecodeSpec([]byte(`{"linux":{}}`)); err != nil || s.Linux == nil || s.Linux.Seccomp != nil {
		t.Errorf("no filter: %+v, %v", s, err)
	}
}

func FuzzDecodeSpec(f *testing.F) {
	b, err := json.Marshal(ExampleSpec())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"ociVersion":"1.0.0","process":null,"linux":{"namespaces":[{"type":"x"}]}}`))
	f.Add([]byte(`{"hooks":{"prestart":[{}]},"linux":{"sysctl":{"":""}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := DecodeSpec(raw)
		if err != nil {
			return
		}
		_ = Validate(s)
	})
}
