//go:build vm

package guest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"nau/test/e2e/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// limited is a pod of every class's settings: its container's limits differ from its own by the second container's.
const limited = `
apiVersion: v1
kind: Pod
metadata: {name: limited}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: a
    image: busybox
    command: [sleep, "1000"]
    resources: {requests: {cpu: 100m, memory: 32Mi}, limits: {cpu: 200m, memory: 64Mi}}
  - name: b
    image: busybox
    command: [sleep, "1000"]
    resources: {requests: {cpu: 50m, memory: 16Mi}, limits: {cpu: 300m, memory: 32Mi}}
`

const greedy = `
apiVersion: v1
kind: Pod
metadata: {name: greedy}
spec:
  restartPolicy: Never
  containers:
  - name: c
    image: busybox
    command: [sh, -c, "tail /dev/zero"]
    resources: {limits: {cpu: 500m, memory: 24Mi}}
`

func apply(t *testing.T, m *harness.Machine, manifest string) {
	t.Helper()
	if r := m.Do(manifest, "kubectl", "apply", "-f", "-"); r.Code != 0 {
		t.Fatalf("kubectl apply: %s", r.Stderr)
	}
}

// files reads a cgroup's files and compares them.
func files(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	for file, value := range want {
		got, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Error(err)
		} else if strings.TrimSpace(string(got)) != value {
			t.Errorf("%s is %q, want %q", filepath.Join(dir, file), strings.TrimSpace(string(got)), value)
		}
	}
}

// cgroupOf is the folder of a process's only cgroup.
func cgroupOf(t *testing.T, pid string) string {
	t.Helper()
	data, err := os.ReadFile("/proc/" + strings.TrimSpace(pid) + "/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	path, ok := strings.CutPrefix(strings.TrimSpace(string(data)), "0::")
	if !ok {
		t.Fatalf("process %s is in %q: not one cgroup of version 2", pid, data)
	}
	return filepath.Join("/sys/fs/cgroup", path)
}

func TestCgroup2(t *testing.T) {
	var fs unix.Statfs_t
	if err := unix.Statfs("/sys/fs/cgroup", &fs); err != nil || fs.Type != unix.CGROUP2_SUPER_MAGIC {
		t.Fatalf("this machine's cgroups are not version 2 alone: %v, type %x", err, fs.Type)
	}
	m := harness.New(t) // at its end the instance is purged, and nothing may be left
	m.Registry()
	m.Up()
	t.Run("pod", func(t *testing.T) { pod(t, m.In(t)) })
	t.Run("pod out of memory", func(t *testing.T) {
		m := m.In(t)
		apply(t, m, greedy)
		m.Until("OOMKilled 137", "kubectl", "get", "pod", "greedy", "-o", "jsonpath={.status.containerStatuses[0].state.terminated.reason} {.status.containerStatuses[0].state.terminated.exitCode}")
		m.Kubectl("delete", "pod", "greedy")
	})
	t.Run("docker limits", func(t *testing.T) { dockerLimits(t, m.In(t)) })
	t.Run("docker out of memory", func(t *testing.T) {
		m := m.In(t)
		if r := m.Do("", "docker", "run", "--name", "greedy", "-m", "16m", "--memory-swap", "16m", "busybox", "tail", "/dev/zero"); r.Code != 137 {
			t.Errorf("a container out of memory ended with %d: %s", r.Code, r.Stderr)
		}
		if out := m.Must("docker", "inspect", "-f", "{{.State.OOMKilled}} {{.State.ExitCode}}", "greedy"); out != "true 137\n" {
			t.Errorf("it is told as %q", out)
		}
		m.Must("docker", "rm", "greedy")
	})
	t.Run("pause", func(t *testing.T) { pause(t, m.In(t)) })
	t.Run("processes", func(t *testing.T) {
		m := m.In(t)
		r := m.Do("", "docker", "run", "--rm", "--pids-limit", "5", "busybox", "sh", "-c", "cat /sys/fs/cgroup/pids.max; for i in 1 2 3 4 5 6; do sleep 100 & done")
		if !strings.HasPrefix(r.Stdout, "5\n") || !strings.Contains(r.Stderr, "fork") {
			t.Errorf("a sixth process was made: %+v", r)
		}
	})
	t.Run("devices", func(t *testing.T) { devices(t, m.In(t)) })
	t.Run("statistics", func(t *testing.T) { statistics(t, m.In(t)) })
	t.Run("restart", func(t *testing.T) {
		m := m.In(t)
		before := m.Must("docker", "inspect", "-f", "{{.State.Pid}}", "limited")
		m.Kill()
		m.Up()
		if after := m.Must("docker", "inspect", "-f", "{{.State.Pid}}", "limited"); after != before {
			t.Errorf("the container was started again: %s, before %s", after, before)
		}
		m.Kubectl("exec", "limited", "-c", "a", "--", "true")
	})
	t.Run("delete", func(t *testing.T) {
		m := m.In(t)
		m.Kubectl("delete", "pod", "limited")
		m.Must("docker", "rm", "-f", "limited")
		// The node takes the pod's cgroup away after the object is gone.
		m.Until("0", "sh", "-c", "ls -d /sys/fs/cgroup/nau*/kubepods/*/pod* 2>/dev/null | wc -l")
	})
}

func pod(t *testing.T, m *harness.Machine) {
	apply(t, m, limited)
	m.Kubectl("wait", "--for=condition=Ready", "pod/limited", "--timeout=120s")
	// What the container sees is what the node set.
	for file, want := range map[string]string{"cpu.max": "20000 100000", "memory.max": "67108864", "cpu.weight": "17"} {
		if got := m.Kubectl("exec", "limited", "-c", "a", "--", "cat", "/sys/fs/cgroup/"+file); got != want+"\n" {
			t.Errorf("%s in the container is %q, want %q", file, got, want)
		}
	}
	uid := m.Kubectl("get", "pod", "limited", "-o", "jsonpath={.metadata.uid}")
	found, _ := filepath.Glob("/sys/fs/cgroup/*/kubepods/burstable/pod" + uid)
	if len(found) != 1 {
		t.Fatalf("the pod's own cgroup: %v", found)
	}
	files(t, found[0], map[string]string{"cpu.max": "50000 100000", "memory.max": strconv.Itoa(96 << 20), "cpu.weight": "24"})
	// In place: the container keeps running, its limits change.
	before := m.Kubectl("get", "pod", "limited", "-o", "jsonpath={.status.containerStatuses[0].containerID}")
	m.Kubectl("patch", "pod", "limited", "--subresource", "resize", "--patch",
		`{"spec":{"containers":[{"name":"a","resources":{"requests":{"cpu":"150m","memory":"48Mi"},"limits":{"cpu":"400m","memory":"96Mi"}}}]}}`)
	m.Until("40000 100000", "kubectl", "exec", "limited", "-c", "a", "--", "cat", "/sys/fs/cgroup/cpu.max")
	m.Until("100663296", "kubectl", "exec", "limited", "-c", "a", "--", "cat", "/sys/fs/cgroup/memory.max")
	files(t, found[0], map[string]string{"cpu.max": "70000 100000", "memory.max": strconv.Itoa(128 << 20)})
	if after := m.Kubectl("get", "pod", "limited", "-o", "jsonpath={.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount}"); after != before+" 0" {
		t.Errorf("resizing replaced the container: %s, before %s", after, before)
	}
}

func dockerLimits(t *testing.T, m *harness.Machine) {
	m.Must("docker", "run", "-d", "--name", "limited", "-m", "64m", "--memory-reservation", "32m", "--memory-swap", "64m", "--cpus", "0.5", "--cpu-shares", "512", "--pids-limit", "50",
		"--cpuset-cpus", "0", "busybox", "sleep", "1000")
	dir := cgroupOf(t, m.Must("docker", "inspect", "-f", "{{.State.Pid}}", "limited"))
	files(t, dir, map[string]string{"memory.max": "67108864", "memory.low": "33554432", "cpu.max": "50000 100000", "cpu.weight": "59", "pids.max": "50", "cpuset.cpus": "0"})
	if out := m.Must("docker", "exec", "limited", "cat", "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/cpu.max", "/proc/self/cgroup"); out != "67108864\n50000 100000\n0::/\n" {
		t.Errorf("inside the container: %q", out)
	}
	m.Must("docker", "update", "-m", "128m", "--memory-swap", "128m", "--cpus", "1.5", "--pids-limit", "70", "limited")
	files(t, dir, map[string]string{"memory.max": "134217728", "cpu.max": "150000 100000", "pids.max": "70", "cpu.weight": "59"})
}

func pause(t *testing.T, m *harness.Machine) {
	dir := cgroupOf(t, m.Must("docker", "inspect", "-f", "{{.State.Pid}}", "limited"))
	m.Must("docker", "pause", "limited")
	files(t, dir, map[string]string{"cgroup.freeze": "1"})
	if out := m.Must("docker", "ps", "--filter", "name=limited", "--format", "{{.Status}}"); !strings.Contains(out, "(Paused)") {
		t.Errorf("docker ps says %q", out)
	}
	m.Must("docker", "unpause", "limited")
	files(t, dir, map[string]string{"cgroup.freeze": "0"})
	// What is frozen can be killed.
	m.Must("docker", "run", "-d", "--name", "frozen", "busybox", "sleep", "1000")
	m.Must("docker", "pause", "frozen")
	m.Must("docker", "rm", "-f", "frozen")
}

// devices shows that the kernel program that stands for the device list works: the node's disk is there to be named, and cannot be opened.
func devices(t *testing.T, m *harness.Machine) {
	for _, c := range []struct {
		name string
		args []string
		ok   bool
	}{
		{"a device that is not listed", []string{"sh", "-c", "mknod /tmp/disk b 254 0 && dd if=/tmp/disk of=/dev/null bs=512 count=1"}, false},
		{"the null device", []string{"sh", "-c", "dd if=/dev/zero of=/dev/null bs=512 count=1"}, true},
	} {
		r := m.Do("", "docker", append([]string{"run", "--rm", "busybox"}, c.args...)...)
		if (r.Code == 0) != c.ok || !c.ok && !strings.Contains(r.Stderr, "Operation not permitted") {
			t.Errorf("%s: %+v", c.name, r)
		}
	}
	if r := m.Do("", "docker", "run", "--rm", "--device", "/dev/vda:/dev/disk:r", "busybox", "dd", "if=/dev/disk", "of=/dev/null", "bs=512", "count=1"); r.Code != 0 {
		t.Errorf("a device that is listed: %+v", r)
	}
	if r := m.Do("", "docker", "run", "--rm", "--device", "/dev/vda:/dev/disk:r", "busybox", "sh", "-c", ": >>/dev/disk"); r.Code == 0 || !strings.Contains(r.Stderr, "Operation not permitted") {
		t.Errorf("a device listed for reading was opened for writing: %+v", r)
	}
	if r := m.Do("", "docker", "run", "--rm", "--privileged", "busybox", "dd", "if=/dev/vda", "of=/dev/null", "bs=512", "count=1"); r.Code != 0 {
		t.Errorf("a privileged container: %+v", r)
	}
}

func statistics(t *testing.T, m *harness.Machine) {
	var s struct{ MemUsage, PIDs string }
	if err := json.Unmarshal([]byte(m.Must("docker", "stats", "--no-stream", "--format", "json", "limited")), &s); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(s.MemUsage, "/ 128MiB") || strings.HasPrefix(s.MemUsage, "0B") || s.PIDs != "1" {
		t.Errorf("docker stats: %+v", s)
	}
	var summary struct {
		Pods []struct {
			PodRef     struct{ Name string }
			Containers []struct {
				Name   string
				CPU    struct{ UsageCoreNanoSeconds uint64 }
				Memory struct{ WorkingSetBytes uint64 }
			}
		}
	}
	if err := json.Unmarshal([]byte(m.Kubectl("get", "--raw", "/api/v1/nodes/node-1/proxy/stats/summary")), &summary); err != nil {
		t.Fatal(err)
	}
	for _, p := range summary.Pods {
		if p.PodRef.Name != "limited" {
			continue
		}
		for _, c := range p.Containers {
			if c.CPU.UsageCoreNanoSeconds == 0 || c.Memory.WorkingSetBytes == 0 {
				t.Errorf("the summary of container %s: %+v", c.Name, c)
			}
		}
		if len(p.Containers) == 2 {
			return
		}
	}
	t.Errorf("the summary has not the pod's two containers: %+v", summary)
}
