//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"nau/test/e2e/harness"
)

// What the program says about itself and the machine.
func TestCommands(t *testing.T) {
	t.Parallel()
	m := harness.New(t)
	m.Registry()
	here := []string{"--data-dir", m.DataDir, "--run-dir", m.RunDir}
	nau := func(args ...string) harness.Result { return m.Do("", m.Nau, args...) }
	says := func(what string, r harness.Result, code int, wants ...string) {
		t.Helper()
		if r.Code != code {
			t.Errorf("%s: exit code %d, want %d: %s", what, r.Code, code, r.Stderr)
		}
		for _, want := range wants {
			if !regexp.MustCompile(want).MatchString(r.Stdout + r.Stderr) {
				t.Errorf("%s lacks %q:\n%s%s", what, want, r.Stdout, r.Stderr)
			}
		}
	}
	says("version", nau("version"), 0, `^nau \S+ \(Kubernetes v1\.36\.\d+, linux/\w+, go1\.`)
	says("--version", nau("--version"), 0, `^nau \S+ \(Kubernetes v1\.36\.\d+, linux/\w+, go1\.`)
	for _, wrong := range []struct{ args, want string }{
		{"anatomy", "^nau: anatomy takes one container, or pod/NAME"}, {"build", "^nau: build takes one FOLDER or ADDRESS"},
		{"registry serve --addr x --data-dir " + m.Dir + "/r", "^nau: --addr x: missing port"}, {"status --foo", "^nau: unknown flag: --foo"}, {"down now", `^nau: unknown command "now" for "nau down"`},
	} {
		r := nau(strings.Fields(wrong.args)...)
		if says(wrong.args, r, 2, wrong.want); strings.Count(r.Stderr, "\n") != 1 || r.Stdout != "" {
			t.Errorf("%s: not one line: %q %q", wrong.args, r.Stderr, r.Stdout)
		}
	}
	says("help", nau("--help"), 0, "nau up -d", "KUBECONFIG", "status", "doctor", "down", "completion")
	for _, command := range []string{"up", "down", "status", "doctor", "version", "completion"} {
		says(command+" --help", nau(command, "--help"), 0, "Usage:\n  nau "+command, "Flags:")
	}
	says("completion", nau("completion", "bash"), 0, "complete -o default")
	says("an unknown command", nau("nonsense"), 2, `unknown command "nonsense"`)
	says("doctor", nau(append([]string{"doctor"}, here...)...), 0, "overlayfs", "nftables", "cgroups", `port 6443 .* free`)
	says("status before", nau(append([]string{"status"}, here...)...), 1, "not running", "nau up -d")
	out := m.Up()
	for _, want := range []string{`\d\.\d\d s  node Ready`, "Node node-1 is Ready", "export KUBECONFIG=" + m.Kubeconfig(), "kubectl get nodes", "export DOCKER_HOST=unix://" + m.RunDir + "/docker.sock", "docker ps"} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("nau up -d lacks %q:\n%s", want, out)
		}
	}
	says("a second up", nau(append([]string{"up", "-d"}, here...)...), 2, "already running|is running")
	m.Kubectl("create", "deployment", "web", "--image=nginx:alpine", "--replicas=2")
	m.Kubectl("rollout", "status", "deployment/web", "--timeout=60s")
	says("status", nau(append([]string{"status"}, here...)...), 0, `running, pid \d+, [\d.]+ MiB`, "node-1 Ready", "2 Running|Running 2|2 running", "Docker +"+m.RunDir+"/docker.sock")
	says("doctor while it runs", nau(append([]string{"doctor"}, here...)...), 0)
	if info, err := os.Stat(m.Kubeconfig()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the kubeconfig: %v, %v", info.Mode(), err)
	}
	if _, err := os.Stat(filepath.Join(m.Dir, ".kube", "config")); err == nil {
		t.Error("nau wrote ~/.kube/config unasked")
	}
	says("down", m.Do("", m.Nau, append([]string{"down"}, here...)...), 0, `(?s)^Stopping what runs \(2\); .*Nau is down, 2 containers stopped`)
	says("status after", nau(append([]string{"status"}, here...)...), 1, "not running")
	says("down again", m.Do("", m.Nau, append([]string{"down"}, here...)...), 0)
}

// The README's commands work as they are written.
func TestReadme(t *testing.T) {
	t.Parallel()
	m := harness.New(t)
	m.Registry()
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	makefile, err := os.ReadFile(filepath.Join("..", "..", "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	m.Up()
	ran := 0
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		for line := range strings.Lines(block[1]) {
			line = strings.TrimSpace(line)
			switch target, isMake := strings.CutPrefix(line, "make "); {
			case isMake:
				if !regexp.MustCompile(`(?m)^` + strings.Fields(target)[0] + `:.*## `).Match(makefile) {
					t.Errorf("README says %q; the Makefile has no such target", line)
				}
			case strings.HasPrefix(line, "export KUBECONFIG="):
				if line != "export KUBECONFIG=/var/lib/nau/kubeconfig" {
					t.Errorf("README names another kubeconfig: %s", line)
				}
			case strings.HasPrefix(line, "kubectl "):
				m.Must("sh", "-c", line)
				ran++
			}
		}
	}
	if ran < 3 {
		t.Errorf("only %d commands of the README ran", ran)
	}
	m.Kubectl("rollout", "status", "deployment/web", "--timeout=60s")
	m.Answers("http://"+m.Kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")+"/", "nginx")
}

// The program's size shows at once when something makes the linker keep what nobody calls.
func TestSizeOnDisk(t *testing.T) {
	m := harness.New(t)
	info, err := os.Stat(m.Nau)
	if err != nil {
		t.Fatal(err)
	}
	if size := info.Size() >> 20; size > 78 {
		t.Errorf("%s has %d MiB: docs/decisions/012-unused-methods-are-not-linked.md tells how to find what reaches for methods by name", m.Nau, size)
	}
}
