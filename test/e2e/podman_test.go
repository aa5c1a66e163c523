//go:build e2e

package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"nau/test/e2e/harness"
)

// nau-oci is the runtime of Debian's Podman, and nau's registry its registry.
func TestRuntimeOfPodman(t *testing.T) {
	podman := harness.Installed(t, "podman", "podman")
	needDocker(t)
	m := harness.New(t)
	m.Registry()
	m.Up()
	m.Must("docker", "pull", "-q", "busybox")
	m.Must("docker", "save", "-o", m.Dir+"/busybox.tar", "busybox")
	runtime := program(t, m, "nau/cmd/nau-oci")
	do := func(args string) harness.Result {
		return m.Do("", "sh", "-c", podman+" --root "+m.Dir+"/pod --runroot "+m.Dir+"/podrun --runtime "+runtime+
			" --cgroup-manager cgroupfs --storage-driver vfs --events-backend file --log-level error "+args)
	}
	t.Cleanup(func() { do("rm -fa -t 0") })
	const at = "127.0.0.1:5446"
	serveRegistry(t, m, "--addr", at, "--data-dir", filepath.Join(m.Dir, "registry"))
	for _, s := range []struct {
		args, want string
		code       int
	}{
		{"load -q -i " + m.Dir + "/busybox.tar", "busybox", 0},
		{"run --rm --network none busybox sh -c 'echo hello; exit 7'", "hello", 7},
		{"run -d --name c --network none busybox sleep 100000", "", 0},
		{"exec c echo inside", "inside", 0},
		{"exec c no-such-program", "executable file not found in $PATH", 127},
		{"pause c", "c", 0},
		{"inspect -f '{{.State.Status}}' c", "paused", 0},
		{"unpause c", "c", 0},
		{"top c", "sleep 100000", 0},
		{"stats --no-stream c", "c", 0},
		{"kill c", "c", 0},
		{"wait c", "137", 0},
		{"rm c", "c", 0},
		{"push --tls-verify=false busybox " + at + "/from/podman:1", "Writing manifest to image destination", 0},
		{"push --tls-verify=false --format v2s2 --compression-format zstd busybox " + at + "/from/podman:2", "Writing manifest to image destination", 0},
		{"rmi -f busybox", "", 0},
		{"pull -q --tls-verify=false " + at + "/from/podman:2", "", 0},
		{"run --rm --network none " + at + "/from/podman:2 echo and back", "and back", 0},
	} {
		r := do(s.args)
		if out := r.Stdout + r.Stderr; r.Code != s.code || !strings.Contains(out, s.want) {
			t.Errorf("podman %s: exit code %d, want %d; no %q in %s", s.args, r.Code, s.code, s.want, out)
		}
	}
	run(t, m, []line{
		{args: "pull " + at + "/from/podman:1", out: "Status: Downloaded newer image for " + at + "/from/podman:1"},
		{args: "run --rm " + at + "/from/podman:1 echo of podman", out: "of podman\n"},
	})
}
