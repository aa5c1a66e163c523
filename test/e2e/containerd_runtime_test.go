//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"nau/test/e2e/harness"
)

// nau-oci is the runtime of a stock containerd: for its own client, which names it at each run, and for pods, by its configuration.
func TestRuntimeOfContainerd(t *testing.T) {
	ctr := harness.OfContainerd(t, "ctr", "containerd")
	m := harness.New(t)
	m.Registry()
	runtime := program(t, m, "nau/cmd/nau-oci")
	flag := m.Containerd(runtime)
	image := harness.PullAddress + "/library/busybox:latest"
	do := func(args string) harness.Result {
		return m.Do("", "sh", "-c", ctr+" --address "+strings.TrimPrefix(m.ContainerdEndpoint(), "unix://")+" "+args)
	}
	run := func(args string) string {
		return "run --runc-binary " + runtime + " --runc-root " + m.Dir + "/oci --cgroup /nau-ctr-test " + args
	}
	type call struct {
		args, want string
		code       int
	}
	all := func(steps []call) {
		for _, s := range steps {
			r := do(s.args)
			if out := r.Stdout + r.Stderr; r.Code != s.code || !strings.Contains(out, s.want) {
				t.Errorf("ctr %s: exit code %d, want %d; no %q in %s", s.args, r.Code, s.code, s.want, out)
			}
		}
	}
	all([]call{
		{"images pull --plain-http " + image, "", 0},
		{"images ls -q", image, 0},
		{run("--rm " + image + " once sh -c 'echo hello; echo no >&2; exit 7'"), "hello", 7},
		{run("--rm --cwd /tmp --env A=b --read-only --seccomp " + image + " once sh -c 'pwd; echo $A; touch /x'"), "/tmp\nb\n", 1},
		{run("--rm " + image + " once /no-such-program"), "no such file or directory", 1},
		{run("-d --memory-limit 67108864 " + image + " c sleep 100000"), "", 0},
	})
	if out := m.Must("cat", limitFile("memory/nau-ctr-test/memory.limit_in_bytes", "nau-ctr-test/memory.max")); out != "67108864\n" {
		t.Errorf("the memory limit is %s", out)
	}
	all([]call{
		{"tasks ls", "RUNNING", 0},
		{"tasks exec --exec-id one c echo inside", "inside", 0},
		{"tasks exec --exec-id two c sh -c 'exit 3'", "", 3},
		{"tasks exec --exec-id three c /no-such-program", "no such file or directory", 1},
		{"tasks exec -d --exec-id four c sleep 200000", "", 0},
		{"tasks ps c", "four", 0},
		{"tasks metrics c", "memory", 0},
		{"tasks pause c", "", 0},
		{"tasks ls", "PAUSED", 0},
		{"tasks resume c", "", 0},
		{"tasks ls", "RUNNING", 0},
		{"tasks kill -s SIGKILL --exec-id four c", "", 0},
		{"tasks rm -f c", "", 0},
		{"containers rm c", "", 0},
		{"containers ls -q", "", 0},
	})

	m.Up(flag)
	if r := m.Do(foreignPods, "kubectl", "apply", "-f", "-"); r.Code != 0 {
		t.Fatal(r.Stderr)
	}
	m.Kubectl("wait", "--for=condition=Ready", "pod/full", "--timeout=120s")
	if r := m.Do("typed", "kubectl", "exec", "-i", "full", "-c", "main", "--", "sh", "-c", "cat; exit 4"); r.Stdout != "typed" || r.Code != 4 {
		t.Errorf("exec -i: %+v", r)
	}
	if out := m.Must("sh", "-c", "ls "+m.Dir+"/containerd-run/io.containerd.runtime.v2.task/k8s.io/*/config.json | wc -l"); strings.TrimSpace(out) == "0" {
		t.Errorf("containerd has %s containers", out)
	}
	m.Kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/again", "--timeout=60s")
	m.Kubectl("delete", "pod", "full", "again", "once", "unwell", "--timeout=60s")
	m.Until("0", "sh", "-c", "ls "+m.Dir+"/containerd-run/io.containerd.runtime.v2.task/k8s.io | wc -l")
}
