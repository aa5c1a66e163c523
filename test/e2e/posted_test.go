//go:build e2e

package e2e

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nau/test/e2e/harness"
)

// What testcontainers of other languages and the docker CLI before 23 do when they want BuildKit: they post the build to the old endpoint.
func TestPostedBuild(t *testing.T) {
	needDocker(t)
	m := harness.New(t)
	m.Registry()
	m.Up()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(m.Dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	archive := func(name, dockerfile string) {
		t.Helper()
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		if err := w.WriteHeader(&tar.Header{Name: "Dockerfile", Mode: 0o644, Size: int64(len(dockerfile))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(dockerfile)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		write(name, b.String())
	}
	// post gives the messages of a build by what they are.
	post := func(name, query string) map[string][]string {
		t.Helper()
		out := map[string][]string{}
		for line := range strings.Lines(m.Must("curl", "-s", "-X", "POST", "--unix-socket", filepath.Join(m.RunDir, "docker.sock"), "-H", "Content-Type: application/x-tar",
			"--data-binary", "@"+filepath.Join(m.Dir, name), "http://docker/v1.43/build?version=2&"+query)) {
			var doc struct {
				ID, Error, Stream, Message string
				Aux                        json.RawMessage
			}
			if err := json.Unmarshal([]byte(line), &doc); err != nil {
				t.Fatalf("%v in %q", err, line)
			}
			for kind, text := range map[string]string{doc.ID: string(doc.Aux), "error": doc.Error, "stream": doc.Stream, "message": doc.Message} {
				if kind != "" && text != "" {
					out[kind] = append(out[kind], text)
				}
			}
		}
		return out
	}
	archive("good.tar", "FROM busybox\nARG A\nRUN --mount=type=cache,target=/c echo $A >/said\nCMD [\"cat\",\"/said\"]\n")
	archive("bad.tar", "FROM busybox\nRUN exit 4\n")
	if got := post("good.tar", "t=posted:1&buildargs=%7B%22A%22%3A%22arg%22%7D"); len(got["moby.buildkit.trace"]) == 0 || len(got["moby.image.id"]) != 1 || got["error"] != nil {
		t.Errorf("build: %v", got)
	}
	if out := m.Must("docker", "run", "--rm", "posted:1"); out != "arg\n" {
		t.Errorf("run: %q", out)
	}
	id := m.Must("docker", "inspect", "-f", "{{.Id}}", "posted:1")
	if got := post("good.tar", "q=1&buildargs=%7B%22A%22%3A%22arg%22%7D"); len(got) != 1 || len(got["stream"]) != 1 || got["stream"][0] != id {
		t.Errorf("a quiet build: %v, want %s alone", got, id)
	}
	if got := post("bad.tar", "t=posted:2"); len(got["error"]) != 1 || !strings.HasSuffix(got["error"][0], `"/bin/sh -c exit 4" did not complete successfully: exit code: 4`) || got["moby.image.id"] != nil {
		t.Errorf("a build that fails: %v", got)
	}
	if got := post("good.tar", "session=nobodys&remote=client-session&networkmode=container:x"); len(got["message"]) != 1 {
		t.Errorf("a network that BuildKit has not: %v", got)
	}

	old := "/usr/bin/docker" // of the distribution, beside a newer one
	if v := m.Do("", old, "--version"); !strings.HasPrefix(v.Stdout, "Docker version 20.10.") {
		harness.Skip(t, harness.Lacking{What: "docker CLI 20.10", Remedy: harness.Package("docker.io")})
	}
	write("context/Dockerfile", "FROM busybox AS one\nRUN --mount=type=secret,id=s cat /run/secrets/s >/got\nCOPY file /\nFROM scratch\nCOPY --from=one /got /\n")
	write("context/file", "text\n")
	write("secret", "hidden\n")
	context := filepath.Join(m.Dir, "context")
	m.Must(old, "build", "--secret", "id=s,src="+filepath.Join(m.Dir, "secret"), "--target", "one", "--label", "a=b", "-t", "old:1", context)
	if out := m.Must("docker", "run", "--rm", "old:1", "cat", "/got", "/file"); out != "hidden\ntext\n" {
		t.Errorf("a folder: %q", out)
	}
	m.Must("sh", "-c", old+" build -t old:2 - <"+filepath.Join(m.Dir, "good.tar"))
	m.Must("docker", "run", "--rm", "old:2")
	m.Must("sh", "-c", "DOCKER_BUILDKIT=1 "+old+" build --secret id=s,src="+filepath.Join(m.Dir, "secret")+" -o "+m.Dir+"/files "+context)
	if b, err := os.ReadFile(filepath.Join(m.Dir, "files/got")); err != nil || string(b) != "hidden\n" {
		t.Errorf("files: %q, %v", b, err)
	}
	if r := m.Do("", "sh", "-c", old+" build - <"+filepath.Join(m.Dir, "bad.tar")); r.Code != 1 || !strings.Contains(r.Stderr, "exit code: 4") {
		t.Errorf("a build that fails: %d %s", r.Code, tail(r.Stderr))
	}
}
