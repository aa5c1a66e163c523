//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"nau/test/e2e/harness"
)

// What the docker CLI prints, command by command, and with what exit code it ends: the transcripts below testdata/docker hold what it prints
// before a Docker Engine 29, identities aside; a remark tells where Nau's own words stand in theirs.
func TestDockerAnswers(t *testing.T) {
	needDocker(t)
	m := harness.New(t)
	m.Registry()
	m.Up()
	m.Must("docker", "pull", "-q", "busybox")
	scripts, err := filepath.Glob(file("docker/*.txt"))
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, script := range scripts {
		t.Run(filepath.Base(script), func(t *testing.T) {
			dir := filepath.Join(m.Dir, filepath.Base(script)+".d")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			m := m.In(t)
			m.Transcript(script, dir)
			m.Must("sh", "-c", "docker ps -aq | xargs -r docker rm -fv; docker network prune -f; docker volume prune -af")
		})
	}
}
