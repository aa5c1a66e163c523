//go:build e2e

package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nau/test/e2e/harness"
)

// What kubectl prints, command by command: the transcripts below testdata/kubectl
// hold what it prints against upstream's control plane, times and identities aside.
func TestKubectlTranscripts(t *testing.T) {
	t.Parallel()
	m := harness.New(t)
	m.Registry()
	m.Up()
	dir := filepath.Join(m.Dir, "kubectl")
	if err := os.CopyFS(dir, os.DirFS(file("kubectl"))); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"objects", "rollout", "pods", "nodes"} {
		t.Run(name, func(t *testing.T) { m.In(t).Transcript(file("kubectl/"+name+".txt"), dir) })
	}
}

// A port is forwarded over a WebSocket, with no second attempt by SPDY, to many
// connections at once.
func TestPortForward(t *testing.T) {
	t.Parallel()
	m := harness.New(t)
	m.Registry()
	m.Up()
	m.Kubectl("run", "web", "--image=nginx:alpine")
	m.Kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
	forward := m.Command("kubectl", "port-forward", "pod/web", "18080:80", "-v=4")
	var said bytes.Buffer
	forward.Stderr = &said
	if err := forward.Start(); err != nil {
		t.Fatal(err)
	}
	m.Answers("http://127.0.0.1:18080/", "nginx")
	out := m.Must("sh", "-c", `for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do curl -s -m 10 -o /dev/null -w '%{http_code}\n' http://127.0.0.1:18080/ & done; wait`)
	if want := strings.Repeat("200\n", 16); out != want {
		t.Errorf("sixteen at once got\n%s", out)
	}
	forward.Process.Kill()
	forward.Wait()
	if text := said.String(); strings.Contains(text, "fallback") || !strings.Contains(text, "negotiated protocol: portforward.k8s.io") {
		t.Errorf("the port was not forwarded over a WebSocket:\n%s", text)
	}
}
