//go:build e2e

package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"nau/test/e2e/dockercli"
	"nau/test/e2e/harness"
)

var update = flag.Bool("update", false, "write docs/docker-cli.md anew")

// dockerMajor is the major version of the CLI at hand.
func dockerMajor(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("docker", "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	major, _, _ := strings.Cut(strings.TrimPrefix(string(out), "Docker version "), ".")
	return major
}

func dockerTable(t *testing.T) []*dockercli.Command {
	t.Helper()
	text, err := os.ReadFile("testdata/docker-cli.txt")
	if err != nil {
		t.Fatal(err)
	}
	table, err := dockercli.Parse(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// Every command and flag that the CLI has is in the table, and the page says what the table says.
func TestDockerCLITableIsComplete(t *testing.T) {
	needDocker(t)
	table := dockerTable(t)
	dir := t.TempDir()
	docker := func(args ...string) (string, error) {
		cmd := exec.Command("docker", args...)
		cmd.Env = append(os.Environ(), "DOCKER_HOST=unix:///no-such.sock", "HOME="+dir)
		out, err := cmd.Output()
		if err != nil {
			return "", fmt.Errorf("docker %s: %w", strings.Join(args, " "), err)
		}
		return string(out), nil
	}
	cli, err := dockercli.Walk(func(command ...string) (string, error) { return docker(append(command, "--help")...) })
	if err != nil {
		t.Fatal(err)
	}
	if len(cli) < 100 {
		t.Fatalf("docker --help was misread: only %d commands", len(cli))
	}
	missing, extra := dockercli.Compare(dockercli.Of(table, dockerMajor(t)), cli)
	for _, what := range missing {
		t.Errorf("docker %s is in the CLI and not in testdata/docker-cli.txt: say what shows that it works, or what it is refused with", what)
	}
	for _, what := range extra {
		t.Errorf("docker %s is in testdata/docker-cli.txt and not in this CLI: mark it with the versions that have it", what)
	}
	path := filepath.Join("..", "..", "docs", "docker-cli.md")
	page := dockercli.Page(table)
	if *update {
		if err := os.WriteFile(path, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if now, err := os.ReadFile(path); err != nil || string(now) != page {
		t.Errorf("docs/docker-cli.md is not what the table says (%v): go test -tags e2e ./test/e2e -run DockerCLITable -update", err)
	}
}

// Each row of the table does what it says.
func TestDockerCLI(t *testing.T) {
	needDocker(t)
	m := harness.New(t)
	m.Registry()
	m.Up()
	shell := func(m *harness.Machine, line string) harness.Result {
		return m.Do("", "sh", "-c", line)
	}
	for _, line := range []string{
		"for i in busybox busybox:1.36 nginx alpine; do docker pull -q $i; done",
		"docker run -d --name base busybox sleep 100000",
		"docker run -d --name netted busybox sleep 100000",
		"docker run -d --name calm busybox sleep 100000",
		"docker run -d --name calm2 busybox sleep 100000",
		"docker run -d --name calm3 busybox sleep 100000",
		"docker run -d --init --name quick busybox sleep 100000",
		"docker run -d --name web -p 8124:80 nginx",
		"docker create --name never-started busybox",
		"docker run --name talker busybox sh -c 'echo first; echo last'",
		"docker run --name labelled --label shown=yes --log-opt labels=shown busybox echo text",
		"docker network create --subnet 172.30.2.0/24 joined",
	} {
		if r := shell(m, line); r.Code != 0 {
			t.Fatalf("%s: %s%s", line, r.Stdout, r.Stderr)
		}
	}
	t.Run("rows", func(t *testing.T) {
		for _, c := range dockercli.Of(dockerTable(t), dockerMajor(t)) {
			rows := c.Rows
			if c.Whole != nil {
				rows = []*dockercli.Row{c.Whole}
			}
			t.Run(strings.ReplaceAll("docker "+c.Name, " ", "_"), func(t *testing.T) {
				t.Parallel()
				m := m.In(t)
				for _, row := range rows {
					if row.Line == "" || row.Pending != "" {
						continue
					}
					r := shell(m, "export DOCKER_BUILDKIT=0; "+row.Line)
					out := r.Stdout + r.Stderr
					if (r.Code != 0) != row.Refused {
						t.Errorf("docker-cli.txt:%d: %s: exit code %d, refused should be %t\n%s", row.At, row.Line, r.Code, row.Refused, out)
						continue
					}
					for _, want := range row.Want {
						if !strings.Contains(strings.ToLower(out), strings.ToLower(want)) {
							t.Errorf("docker-cli.txt:%d: %s: no %q in\n%s", row.At, row.Line, want, out)
						}
					}
				}
			})
		}
	})
}
