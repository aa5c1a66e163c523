//go:build e2e

package e2e

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"nau/test/e2e/harness"
)

// What `docker info` and `docker version` say is so.
func TestDockerInfo(t *testing.T) {
	needDocker(t)
	m := harness.New(t)
	cdi := filepath.Join(m.Dir, "cdi")
	write(t, filepath.Join(cdi, "gpu.json"), `{"cdiVersion":"0.6.0","kind":"vendor.example/gpu","devices":[{"name":"0","containerEdits":{"deviceNodes":[{"path":"/dev/gpu0","hostPath":"/dev/zero"}]}}]}`)
	m.Up("--insecure-registry", "registry.example:5000,198.51.100.0/24", "--registry-mirror", "docker.io=http://127.0.0.1:5999", "--cdi-spec-dir", cdi)
	if r := m.Do("", m.Nau, "up", "-d", "--data-dir", m.DataDir, "--run-dir", m.RunDir, "--userns-remap", "nobody"); r.Code != 2 || !strings.Contains(r.Stderr, "--userns-remap: remap users to nobody: /etc/subuid has no range for nobody: add a line") {
		t.Errorf("--userns-remap: code %d, %s", r.Code, r.Stderr)
	}
	events := m.Command("docker", "events")
	if err := events.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { events.Process.Kill(); events.Wait() }()
	m.Until("1\n", "docker", "info", "-f", "{{.NEventsListener}}")
	forwards := strings.TrimSpace(m.Must("cat", "/proc/sys/net/ipv4/ip_forward")) == "1"
	for format, want := range map[string]string{
		"{{json .RegistryConfig.InsecureRegistryCIDRs}}":                             `["::1/128","127.0.0.0/8","198.51.100.0/24"]`,
		`{{(index .RegistryConfig.IndexConfigs "registry.example:5000").Secure}}`:    "false",
		`{{json (index .RegistryConfig.IndexConfigs "docker.io").Mirrors}}`:          `["http://127.0.0.1:5999"]`,
		`{{json .RegistryConfig.Mirrors}}`:                                           `["http://127.0.0.1:5999"]`,
		"{{.IPv4Forwarding}}":                                                        map[bool]string{true: "true", false: "false"}[forwards],
		"{{gt .NFd 3}}":                                                              "true",
		"{{range .Plugins.Network}}{{.}} {{end}}":                                    "bridge host ",
		"{{range .DriverStatus}}{{index . 0}};{{end}}":                               "Backing Filesystem;",
		"{{range .SecurityOptions}}{{if eq . \"name=cgroupns\"}}there{{end}}{{end}}": onV1("", "there"),
		"{{.RuncCommit.ID}}{{if .InitCommit.ID}} there{{end}}":                       " there",
	} {
		if out := m.Must("docker", "info", "-f", format); !strings.Contains(out, want) {
			t.Errorf("docker info -f %s: %s, want %s", format, out, want)
		}
	}
	for _, line := range []string{"Insecure Registries:\n  registry.example:5000\n  ::1/128\n  127.0.0.0/8\n", " Registry Mirrors:\n", "Security Options:\n  seccomp\n"} {
		if out := m.Must("docker", "info"); !strings.Contains(strings.ReplaceAll(out, "\n   ", "\n  "), line) {
			t.Errorf("docker info has no %q:\n%s", line, out)
		}
	}
	var version struct{ GitCommit, BuildTime string }
	if err := json.Unmarshal([]byte(m.Must("curl", "-s", "--unix-socket", filepath.Join(m.RunDir, "docker.sock"), "http://docker/v1.48/version")), &version); err != nil {
		t.Fatal(err)
	}
	// A tree without its history builds a program without a commit: it says so by saying nothing.
	want, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output()
	if err == nil && (version.GitCommit == "" || !strings.Contains(m.Must("docker", "version"), version.GitCommit) || len(want) == 0) {
		t.Errorf("the commit is %q:\n%s", version.GitCommit, m.Must("docker", "version"))
	}
	if err == nil && version.BuildTime == "" {
		t.Error("no time of the build")
	}
	// A limit that nobody asked for is none.
	m.Must("sh", "-c", "printf 'hello' >f && tar -c f | docker import - bare")
	run(t, m, []line{
		{args: "create --name plain bare /f"},
		{args: "inspect -f '{{json .HostConfig.PidsLimit}}' plain", out: "null\n"},
		{args: "create --name endless --pids-limit -1 bare /f"},
		{args: "inspect -f '{{json .HostConfig.PidsLimit}}' endless", out: "null\n"},
	})
}
