//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"nau/test/e2e/harness"
)

// firstID is the host's user who is root in a pod's container.
func firstID(t *testing.T, m *harness.Machine, pod, container string) string {
	t.Helper()
	f := strings.Fields(m.Kubectl("exec", pod, "-c", container, "--", "cat", "/proc/self/uid_map"))
	if len(f) != 3 || f[0] != "0" || f[2] != "65536" {
		t.Fatalf("uid_map of %s: %q", pod, f)
	}
	return f[1]
}

// Pods with hostUsers: false are root inside and nobody outside, and their volumes' owners read right.
func TestUsernsPods(t *testing.T) {
	t.Parallel()
	m := harness.New(t)
	m.Registry()
	m.Up()
	host := filepath.Join(m.Dir, "host")
	text, err := os.ReadFile(file("userns.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	pods := strings.ReplaceAll(string(text), "HOSTPATH", host)
	apply := func(t *testing.T) {
		if r := m.In(t).Do(pods, "kubectl", "apply", "-f", "-"); r.Code != 0 {
			t.Fatal(r.Stderr)
		}
		m.In(t).Kubectl("wait", "--for=condition=Ready", "pod", "-l", "userns=yes", "--timeout=60s")
	}
	if got := m.Kubectl("get", "node", "-o", `jsonpath={.items[0].status.runtimeHandlers[?(@.name=="")].features.userNamespaces}`); got != "true" {
		t.Fatalf("the node says userNamespaces: %q", got)
	}
	apply(t)
	exec := func(m *harness.Machine, pod, container, command string) string {
		return m.Kubectl("exec", pod, "-c", container, "--", "sh", "-c", command)
	}

	t.Run("ids", func(t *testing.T) {
		m := m.In(t)
		a, b := firstID(t, m, "apart", "main"), firstID(t, m, "together", "plain")
		x, _ := strconv.Atoi(a)
		y, _ := strconv.Atoi(b)
		if x%65536 != 0 || y%65536 != 0 || x == y || x == 0 || y == 0 {
			t.Errorf("blocks at %s and %s", a, b)
		}
		if got := exec(m, "together", "mighty", "ps"); !strings.Contains(got, "1000     sleep") || !strings.Contains(got, "root     sleep") {
			t.Errorf("processes of the shared namespace:\n%s", got)
		}
		if user := usersOf(t, m, "sleep\x001000"); !user[a] || !user[b] || !user[strconv.Itoa(y+1000)] || user["0"] {
			t.Errorf("the host sees users %v, blocks at %s and %s", user, a, b)
		}
	})
	t.Run("owners", func(t *testing.T) {
		m := m.In(t)
		want := "0:77 /empty\n5:6 /empty/init\n0:77 /memory\n0:0 /host\n0:0 /host/f\n0:77 /told/..data/key\n0:77 /part\n0:0 /mine\n0:0 /etc/hosts\n0:0 /etc/hostname\n" +
			"0:0 /dev/shm\n0:0 /dev/termination-log\n0:0 /dev/mqueue\n0:77 /token/..data/token\n"
		var paths []string
		for line := range strings.Lines(want) {
			paths = append(paths, strings.Fields(line)[1])
		}
		if got := exec(m, "apart", "main", "stat -c '%u:%g %n' "+strings.Join(paths, " ")); got != want {
			t.Errorf("owners are\n%s\nwant\n%s", got, want)
		}
		if got := exec(m, "apart", "main", "cat /told/key; echo more >>/etc/hosts; tail -1 /etc/hosts"); got != "valuemore\n" {
			t.Errorf("the pod reads %q", got)
		}
		if got := hostOwner(t, filepath.Join(host, "f")); got != "0:0" {
			t.Errorf("what the pod's root made in a host path belongs to %s", got)
		}
	})
	t.Run("what root may not", func(t *testing.T) {
		m := m.In(t)
		for command, want := range map[string]string{
			"mknod /dev/disk b 8 0":                       "Operation not permitted",
			"echo 1 >/proc/sys/kernel/panic":              "Permission denied",
			"mkdir /sys/fs/cgroup/x /sys/fs/cgroup/cpu/x": "Permission denied",
			"cat /proc/1/root/../etc/shadow":              "No such file",
		} {
			if r := m.Do("", "kubectl", "exec", "together", "-c", "mighty", "--", "sh", "-c", command); r.Code == 0 || !strings.Contains(r.Stderr, want) {
				t.Errorf("%s: code %d, %s", command, r.Code, r.Stderr)
			}
		}
		// Privileged has no device of the host, and its own network's settings.
		if got := exec(m, "together", "mighty", "ls /dev | tr '\\n' ' '"); !regexp.MustCompile(`^(core )?fd full mqueue null ptmx pts random shm stderr stdin stdout termination-log tty urandom zero $`).MatchString(got) {
			t.Errorf("devices: %s", got)
		}
		if got := exec(m, "together", "mighty", "cat /proc/sys/net/ipv4/ip_local_port_range; mount -t tmpfs none /mnt 2>/dev/null || mount -t tmpfs none /home; echo 1 >/proc/sys/net/ipv4/ip_forward && echo may"); got != "1024\t2000\nmay\n" {
			t.Errorf("what the pod may: %q", got)
		}
	})
	t.Run("logs, ports, ends", func(t *testing.T) {
		m := m.In(t)
		if got := m.Kubectl("logs", "apart", "-c", "main"); got != "begun\n0\n" {
			t.Errorf("log: %q", got)
		}
		if got := m.Do("", "kubectl", "get", "--raw", "/api/v1/namespaces/default/pods/apart:8080/proxy/key"); got.Stdout != "value" {
			t.Errorf("through the API: %q %s", got.Stdout, got.Stderr)
		}
		exec(m, "apart", "main", "kill 1; kill -9 $(pidof httpd)")
		m.Until("1", "kubectl", "get", "pod", "apart", "-o", "jsonpath={.status.containerStatuses[0].restartCount}")
		m.Kubectl("wait", "--for=condition=Ready", "pod/apart", "--timeout=60s")
		if got := m.Kubectl("get", "pod", "apart", "-o", "jsonpath={.status.containerStatuses[0].lastState.terminated.message}"); got != "bye\n" {
			t.Errorf("termination message %q", got)
		}
		if got := exec(m, "apart", "main", "stat -c %u:%g /empty/init"); got != "5:6\n" {
			t.Errorf("after a restart of the container /empty/init is %s", got)
		}
	})
	t.Run("after a restart", func(t *testing.T) {
		m := m.In(t)
		before := firstID(t, m, "apart", "main") + " " + firstID(t, m, "together", "plain")
		m.Kill()
		m.Up()
		m.Kubectl("run", "third", "--image=busybox", `--overrides={"spec":{"hostUsers":false}}`, "--", "sleep", "999")
		m.Kubectl("wait", "--for=condition=Ready", "pod/third", "pod/apart", "pod/together", "--timeout=60s")
		after := firstID(t, m, "apart", "main") + " " + firstID(t, m, "together", "plain")
		if before != after || strings.Contains(after, firstID(t, m, "third", "third")) {
			t.Errorf("blocks %s, then %s and %s", before, after, firstID(t, m, "third", "third"))
		}
		m.Kubectl("debug", "apart", "--image=busybox", "--target=main", "-c", "look", "--", "sleep", "998")
		m.Until("running", "kubectl", "get", "pod", "apart", "-o", `jsonpath={.status.ephemeralContainerStatuses[0].state}`)
		if got := exec(m, "apart", "look", "ps; cat /proc/1/root/mine && echo seen"); !strings.Contains(got, "sleep 1000") || !strings.Contains(got, "seen") {
			t.Errorf("a debugging container sees\n%s", got)
		}
	})
	t.Run("refused", func(t *testing.T) {
		m := m.In(t)
		for _, field := range []string{"hostNetwork", "hostPID", "hostIPC"} {
			r := m.Do("", "kubectl", "run", "no", "--image=busybox", `--overrides={"spec":{"hostUsers":false,"`+field+`":true}}`)
			if r.Code == 0 || !strings.Contains(r.Stderr, field+": Forbidden: when `hostUsers` is false") {
				t.Errorf("%s: code %d, %s", field, r.Code, r.Stderr)
			}
		}
	})
}

// usersOf are the users who run a command on this machine, below the test's own cgroup.
func usersOf(t *testing.T, m *harness.Machine, command string) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	own := m.Kubectl("get", "pods", "-o", "jsonpath={range .items[*]}{.metadata.uid} {end}")
	for _, dir := range dirs {
		line, err1 := os.ReadFile(filepath.Join(dir, "cmdline"))
		cgroup, err2 := os.ReadFile(filepath.Join(dir, "cgroup"))
		status, err3 := os.ReadFile(filepath.Join(dir, "status"))
		if err1 != nil || err2 != nil || err3 != nil || !strings.HasPrefix(string(line), command) {
			continue
		}
		for _, uid := range strings.Fields(own) {
			if strings.Contains(string(cgroup), uid) {
				_, rest, _ := strings.Cut(string(status), "\nUid:\t")
				id, _, _ := strings.Cut(rest, "\t")
				out[id] = true
			}
		}
	}
	return out
}
