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

// What is in order is not worth a warning: from an empty directory through a deployment and a service that come and go to the end,
// the log has no line at WARN or ERROR, in slog's form or in klog's.
func TestQuiet(t *testing.T) {
	t.Parallel()
	m := harness.New(t)
	m.Registry()
	m.Up()
	m.Kubectl("create", "deployment", "web", "--image=nginx", "--replicas=2")
	m.Kubectl("expose", "deployment", "web", "--port=80")
	m.Kubectl("rollout", "status", "deployment/web", "--timeout=60s")
	m.Kubectl("run", "ask", "--image=busybox", "--restart=Never", "--", "true")
	m.Kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/ask", "--timeout=60s")
	m.Kubectl("set", "image", "deployment/web", "nginx=nginx:stable")
	m.Kubectl("rollout", "status", "deployment/web", "--timeout=60s")
	m.Kubectl("create", "namespace", "brief")
	m.Kubectl("-n", "brief", "create", "configmap", "x", "--from-literal=a=b")
	m.Kubectl("delete", "namespace", "brief")
	m.Kubectl("delete", "deployment,service", "web")
	m.Kubectl("delete", "pod", "ask")
	m.Kubectl("wait", "--for=delete", "pod", "-l", "app=web", "--timeout=60s")
	m.Down()
	m.Up()
	m.Down()
	data, err := os.ReadFile(filepath.Join(m.DataDir, "nau.log"))
	if err != nil {
		t.Fatal(err)
	}
	loud := regexp.MustCompile(`level=(WARN|ERROR)|"level":"(WARN|ERROR|warn|error)"|^[WEF]\d{4} |^panic|^goroutine |^WARNING|DATA RACE`)
	for line := range strings.Lines(string(data)) {
		if loud.MatchString(line) {
			t.Errorf("the log of a cluster in order: %s", line)
		}
	}
}
