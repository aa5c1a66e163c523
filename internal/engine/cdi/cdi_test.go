package cdi

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

const gpus = `
cdiVersion: "0.6.0"
kind: vendor.example/gpu
containerEdits:
  env: ["COMMON=1"]
  hooks: [{hookName: createContainer, path: /bin/hook, args: [hook]}]
devices:
- name: "0"
  containerEdits:
    deviceNodes: [{path: /dev/gpu0, hostPath: /dev/null, permissions: rw}]
    env: ["PATH=/gpu"]
- name: "1"
  containerEdits:
    mounts: [{hostPath: /etc, containerPath: /gpu/etc, options: [ro]}]
    additionalGids: [0, 44]
`

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func blank() *specs.Spec {
	return &specs.Spec{Process: &specs.Process{Env: []string{"PATH=/bin", "A=b"}}, Linux: &specs.Linux{}, Mounts: []specs.Mount{{Destination: "/proc"}, {Destination: "/gpu/etc/deeper"}}}
}

func TestInject(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "gpus.yaml", gpus)
	write(t, dir, "notes.txt", "no description")
	s := blank()
	if err := Load([]string{dir, dir + "/none"}).Inject(s, []string{"vendor.example/gpu=0", "vendor.example/gpu=1"}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.Process.Env, []string{"A=b", "COMMON=1", "PATH=/gpu"}) {
		t.Errorf("environment %q", s.Process.Env)
	}
	d := s.Linux.Devices[0]
	if d.Path != "/dev/gpu0" || d.Type != "c" || d.Major != 1 || d.Minor != 3 {
		t.Errorf("device %+v", d)
	}
	if r := s.Linux.Resources.Devices[0]; r.Access != "rw" || *r.Major != 1 || *r.Minor != 3 || !r.Allow {
		t.Errorf("rule %+v", r)
	}
	if m := s.Mounts[1]; m.Destination != "/gpu/etc" || !slices.Equal(m.Options, []string{"rbind", "ro"}) || s.Mounts[2].Destination != "/gpu/etc/deeper" {
		t.Errorf("mounts %+v", s.Mounts)
	}
	if len(s.Hooks.CreateContainer) != 1 || !slices.Equal(s.Process.User.AdditionalGids, []uint32{44}) {
		t.Errorf("hooks %+v, groups %v", s.Hooks, s.Process.User.AdditionalGids)
	}
}

func TestUnresolvable(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "gpus.yaml", gpus)
	write(t, dir, "damaged.json", "{")
	err := Load([]string{dir}).Inject(blank(), []string{"vendor.example/gpu=7", "other.example/x=y"})
	if !errors.Is(err, ErrUnresolvable) || !strings.Contains(err.Error(), "unresolvable CDI devices vendor.example/gpu=7, other.example/x=y") || !strings.Contains(err.Error(), "damaged.json") {
		t.Error(err)
	}
}

// A later folder wins over an earlier one; two files of one folder that name the same device are an error, not a choice.
func TestPriorities(t *testing.T) {
	low, high := t.TempDir(), t.TempDir()
	text := func(v string) string {
		return `{"cdiVersion":"0.5.0","kind":"v/c","devices":[{"name":"d","containerEdits":{"env":["FROM=` + v + `"]}}]}`
	}
	write(t, low, "a.json", text("low"))
	write(t, high, "a.json", text("high"))
	s := blank()
	if err := Load([]string{low, high}).Inject(s, []string{"v/c=d"}); err != nil || !slices.Contains(s.Process.Env, "FROM=high") {
		t.Error(s.Process.Env, err)
	}
	write(t, high, "b.json", text("other"))
	if err := Load([]string{low, high}).Inject(blank(), []string{"v/c=d"}); err == nil || !strings.Contains(err.Error(), "two descriptions") {
		t.Error(err)
	}
}

func TestRefusedDescriptions(t *testing.T) {
	for text, want := range map[string]string{
		`{"cdiVersion":"9.0.0","kind":"v/c","devices":[{"name":"d"}]}`:                                                                    "cdiVersion",
		`{"cdiVersion":"0.5.0","kind":"v","devices":[{"name":"d"}]}`:                                                                      "vendor/class",
		`{"cdiVersion":"0.5.0","kind":"v/c"}`:                                                                                             "no devices",
		`{"cdiVersion":"0.5.0","kind":"v/c","devices":[{"name":"-"}]}`:                                                                    "device name",
		`{"cdiVersion":"0.5.0","kind":"v/c","devices":[{"name":"d","containerEdits":{"deviceNodes":[{"path":"dev/x"}]}}]}`:                "not absolute",
		`{"cdiVersion":"0.5.0","kind":"v/c","devices":[{"name":"d","containerEdits":{"hooks":[{"hookName":"x","path":"/h"}]}}]}`:          "hook",
		`{"cdiVersion":"0.5.0","kind":"v/c","devices":[{"name":"d","containerEdits":{"env":["x"]}}]}`:                                     "NAME=VALUE",
		`{"cdiVersion":"1.1.0","kind":"v/c","devices":[{"name":"d","containerEdits":{"netDevices":[{"hostInterfaceName":"e"}]}}]}`:        "netDevices",
		`{"cdiVersion":"0.5.0","kind":"v/c","devices":[{"name":"d","containerEdits":{"mounts":[{"hostPath":"/","containerPath":"x"}]}}]}`: "mount of",
	} {
		if _, err := parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	for name, want := range map[string]bool{"v.example/c=d": true, "v/c=a:b.c": true, "/dev/x": false, "v/c": false, "v/c=": false, "/c=d": false} {
		if IsName(name) != want {
			t.Errorf("%q", name)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(gpus))
	f.Add([]byte(`{"cdiVersion":"0.5.0","kind":"v/c","devices":[{"name":"d","containerEdits":{"mounts":[{"hostPath":"/","containerPath":"/x"}]}}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := parse(b)
		if err != nil {
			return
		}
		for _, dev := range d.Devices {
			dev.Edits.Nodes = nil // they look at the host
			if err := dev.Edits.apply(blank()); err != nil {
				t.Error(err)
			}
		}
	})
}
