//go:build e2e

package e2e

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"nau/test/e2e/harness"
)

// serveRegistry runs `nau registry serve` until the test ends and returns once it listens.
func serveRegistry(t *testing.T, m *harness.Machine, args ...string) {
	t.Helper()
	cmd := m.Command(m.Nau, append([]string{"registry", "serve"}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("nau registry serve ended with %v", err)
		}
	})
	if !bufio.NewScanner(out).Scan() {
		t.Fatal("nau registry serve says nothing")
	}
}

// `nau registry serve` with TLS, users and tokens, a mirror before it, and stock clients.
func TestRegistryServe(t *testing.T) {
	needDocker(t)
	m := harness.New(t)
	m.Registry()
	m.Up()
	m.Must("docker", "pull", "-q", "busybox")
	hash, err := bcrypt.GenerateFromPassword([]byte("open-sesame"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	users, data := filepath.Join(m.Dir, "users"), filepath.Join(m.Dir, "registry")
	if err := os.WriteFile(users, []byte("ann:"+string(hash)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	serveRegistry(t, m, "--addr", "127.0.0.1:5443", "--data-dir", data, "--tls-self", "--auth", "token", "--htpasswd", users, "--anonymous-pull")
	const at = "127.0.0.1:5443"
	run(t, m, []line{
		{args: "tag busybox " + at + "/team/box:1"},
		{args: "push " + at + "/team/box:1", code: 1, err: "unauthorized: authentication required"},
		{args: "login -u ann -p wrong " + at, code: 1, err: "401 Unauthorized"},
		{args: "login -u ann -p open-sesame " + at, out: "Login Succeeded"},
		{args: "push " + at + "/team/box:1", out: "1: digest: sha256:"},
		{args: "push " + at + "/team/box:1", out: "Layer already exists"},
		{args: "logout " + at},
		{args: "rmi " + at + "/team/box:1 busybox"},
		{args: "pull " + at + "/team/box:1", out: "Status: Downloaded newer image for " + at + "/team/box:1"},
		{args: "run --rm " + at + "/team/box:1 echo served", out: "served\n"},
		{args: "search " + at + "/box", out: "team/box"},
	})
	if r := m.Do("", m.Nau, "registry", "serve", "--addr", "127.0.0.1:5444", "--data-dir", data); r.Code != 2 || !strings.Contains(r.Stderr, "another registry runs on this data directory") {
		t.Errorf("a second registry on one data directory: %+v", r)
	}
	if out := m.Must(m.Nau, "registry", "collect", "--data-dir", data); !strings.Contains(out, "freed 0 bytes") {
		t.Errorf("collect beside the running registry: %s", out)
	}
	mirrored := filepath.Join(m.Dir, "mirror")
	serveRegistry(t, m, "--addr", "127.0.0.1:5445", "--data-dir", mirrored, "--mirror-of", "http://127.0.0.1:5000")
	run(t, m, []line{
		{args: "pull 127.0.0.1:5445/library/nginx:latest", out: "Status: Downloaded newer image"},
		{args: "tag 127.0.0.1:5445/library/nginx:latest 127.0.0.1:5445/mine:1"},
		{args: "push 127.0.0.1:5445/mine:1", code: 1, err: "read-only"},
	})
	if _, err := exec.LookPath("skopeo"); err != nil {
		return // the stock docker CLI has shown it; skopeo is a second opinion where it is installed
	}
	m.Must("skopeo", "copy", "--src-tls-verify=false", "--dest-tls-verify=false", "--dest-creds", "ann:open-sesame", "docker://127.0.0.1:5000/library/nginx:latest", "docker://"+at+"/copied:1")
	if out := m.Must("skopeo", "inspect", "--tls-verify=false", "docker://"+at+"/copied:1"); !strings.Contains(out, `"Name": "`+at+`/copied"`) {
		t.Errorf("skopeo inspect: %s", out)
	}
	m.Must("skopeo", "delete", "--tls-verify=false", "--creds", "ann:open-sesame", "docker://"+at+"/copied:1")
}

// OCI's conformance suite of the distribution specification against all ways in which the registry is served: by plain HTTP, with TLS and tokens,
// and inside of `nau up`. On is all that the suite has, optional and newer parts too, but sparse images: docs/conformance.md.
func TestDistributionConformance(t *testing.T) {
	needDocker(t)
	suite := filepath.Join(harness.Client(t, "distribution-conformance"), "distribution-conformance")
	m := harness.New(t)
	m.Up()
	hash, err := bcrypt.GenerateFromPassword([]byte("open-sesame"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	users := filepath.Join(m.Dir, "users")
	if err := os.WriteFile(users, []byte("ann:"+string(hash)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	serveRegistry(t, m, "--addr", "127.0.0.1:5447", "--data-dir", filepath.Join(m.Dir, "plain"))
	serveRegistry(t, m, "--addr", "127.0.0.1:5448", "--data-dir", filepath.Join(m.Dir, "tokens"), "--tls-self", "--auth", "token", "--htpasswd", users)
	// With users, a blob is mounted from nowhere but a repository that the client names and may read.
	const anonymous = "blob-mount-anonymous: Skip\n"
	for name, registry := range map[string][]string{
		"serve":        {"OCI_REGISTRY=127.0.0.1:5447", "OCI_TLS=disabled"},
		"serve tokens": {"OCI_REGISTRY=127.0.0.1:5448", "OCI_TLS=enabled", "SSL_CERT_FILE=" + filepath.Join(m.Dir, "tokens", "tls", "cert.pem"), "OCI_USERNAME=ann", "OCI_PASSWORD=open-sesame"},
		"up":           {"OCI_REGISTRY=127.0.0.1:5001", "OCI_TLS=disabled"},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"OCI_VERSION=dev", "OCI_RESULTS_DIR=" + t.TempDir()}, registry...)
			r := m.Do("", "env", append(args, suite)...)
			passed := regexp.MustCompile(`(?m)^  Pass\.*: +(\d+)$`).FindStringSubmatch(r.Stdout)
			if r.Code != 0 || passed == nil || len(passed[1]) < 3 || !strings.Contains(r.Stdout, "\nOCI Conformance Result: Pass\n") || strings.Contains(strings.ReplaceAll(r.Stdout, anonymous, ""), ": Skip\n") ||
				(strings.Count(r.Stdout, anonymous) > 0) != (name == "serve tokens") {
				for line := range strings.Lines(r.Stdout) {
					if strings.HasSuffix(line, ": FAIL\n") || strings.HasSuffix(line, ": Skip\n") || strings.Contains(line, " - ") {
						t.Error(strings.TrimSpace(line))
					}
				}
				t.Errorf("exit code %d, passed %q\n%s%s", r.Code, passed, tail(r.Stdout), tail(r.Stderr))
			}
		})
	}
}

// Whole repositories are pulled and pushed, and what an image's name stands for is told.
func TestDockerManyImages(t *testing.T) {
	needDocker(t)
	m := harness.New(t)
	m.Registry()
	m.Up()
	serveRegistry(t, m, "--addr", "127.0.0.1:5446", "--data-dir", filepath.Join(m.Dir, "registry"))
	const repo = "127.0.0.1:5446/many"
	run(t, m, []line{
		{args: "pull -q busybox"},
		{args: "tag busybox " + repo + ":1"},
		{args: "tag busybox " + repo + ":2"},
		{args: "push -a " + repo, out: "2: digest: sha256:"},
		{args: "rmi " + repo + ":1 " + repo + ":2"},
		{args: "pull -a " + repo, out: "Status: "},
		{args: "image ls --format {{.Tag}} " + repo, out: "1\n2\n"},
		{args: "pull -a " + repo + ":1", code: 1, err: "tag can't be used with --all-tags/-a"},
		{args: "push -a 127.0.0.1:5446/nothing", code: 1, err: "An image does not exist locally with the tag: 127.0.0.1:5446/nothing"},
		{args: "image inspect --platform linux/s390x busybox", code: 1, err: "does not provide the specified platform (linux/s390x)"},
		{args: "image ls --tree", out: "busybox"},
		{args: "image ls --filter dangling=maybe", code: 1, err: "invalid filter"},
		{args: "volume create -d local -o type=nfs -o o=addr=192.0.2.77,rw -o device=:/export share", out: "share"},
		{args: "volume create -o type=nfs -o o=rw -o device=:/export nowhere", out: "nowhere"},
		{args: "run --rm -v nowhere:/x busybox true", code: 125, err: "needs the server's address: o=addr=HOST"},
		{args: "volume rm share nowhere"},
		{args: "volume create -d rexray other", code: 1, err: "plugin"},
	})
	out := m.Must("curl", "-s", "--unix-socket", filepath.Join(m.RunDir, "docker.sock"), "http://docker/v1.47/images/json?manifests=1")
	for _, want := range []string{`"Kind":"image"`, `"Available":true`, `"Unpacked":`} {
		if !strings.Contains(out, want) {
			t.Errorf("the list with manifests has no %s: %s", want, out)
		}
	}
}
