//go:build vm

package guest

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"nau/test/e2e/harness"
)

// The two halves of a loss of power share folders, which the second finds on the disk as the first was cut off.
const (
	powerData = "/var/lib/nau"
	powerRun  = "/run/nau"
)

func nau(t *testing.T, args ...string) {
	t.Helper()
	args = append(args, "--data-dir", powerData, "--run-dir", powerRun)
	if out, err := exec.Command("/src/bin/nau", args...).CombinedOutput(); err != nil {
		log, _ := os.ReadFile(powerData + "/nau.log")
		t.Fatalf("nau %v: %v\n%s\n%s", args, err, out, log)
	}
}

// client runs kubectl or docker against it.
func client(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+powerData+"/kubeconfig", "DOCKER_HOST=unix://"+powerRun+"/docker.sock")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// TestPowerBefore makes things until the plug is pulled: it prints what was acknowledged, and the host acts on that.
func TestPowerBefore(t *testing.T) {
	address := harness.Serve(t)
	nau(t, "up", "-d", "--node-name", "node-1", "--registry-mirror", "docker.io=http://"+address)
	client(t, "docker", "pull", "-q", "busybox")
	// An image is on disk half a minute after its pull, or when somebody asks.
	if err := exec.Command("sync").Run(); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		name := fmt.Sprint("kept-", i)
		client(t, "docker", "create", "--name", name, "--label", "n="+name, "busybox", "echo", name)
		client(t, "kubectl", "create", "configmap", name, "--from-literal=k="+name)
	}
	client(t, "docker", "rename", "kept-4", "renamed")
	client(t, "docker", "volume", "create", "--label", "a=b", "volume")
	client(t, "docker", "network", "create", "--subnet", "172.31.7.0/24", "network")
	client(t, "docker", "run", "-d", "--name", "always", "--restart", "always", "busybox", "sleep", "1000")
	fmt.Println("acknowledged: pull the plug")
	select {} // until then
}

// TestPowerAfter looks for what was acknowledged.
func TestPowerAfter(t *testing.T) {
	nau(t, "up", "-d", "--node-name", "node-1")
	for i := range 4 {
		name := fmt.Sprint("kept-", i)
		if got := client(t, "docker", "inspect", "-f", `{{index .Config.Labels "n"}} {{.State.Status}}`, name); got != name+" created" {
			t.Errorf("container %s: %q", name, got)
		}
		if got := client(t, "docker", "start", "-a", name); got != name {
			t.Errorf("container %s says %q", name, got)
		}
		if got := client(t, "kubectl", "get", "configmap", name, "-o", "jsonpath={.data.k}"); got != name {
			t.Errorf("config map %s: %q", name, got)
		}
	}
	client(t, "docker", "inspect", "renamed")
	if got := client(t, "docker", "volume", "ls", "-q", "--filter", "label=a=b"); got != "volume" {
		t.Errorf("volumes: %q", got)
	}
	if got := client(t, "docker", "network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}", "network"); got != "172.31.7.0/24" {
		t.Errorf("the network's range: %q", got)
	}
	if got := client(t, "docker", "inspect", "-f", "{{.State.Status}}", "always"); got != "running" {
		t.Errorf("a container with a restart policy is %s", got)
	}
	nau(t, "down", "--purge")
}
