//go:build e2e

package e2e

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nau/test/e2e/harness"
)

// The attack classes that reach through the cluster: what a pod, a tenant and a
// node may not do.
func TestSecurity(t *testing.T) {
	t.Parallel()
	m := harness.New(t)
	m.Registry()
	m.Up("--pod-max-pids", "200")
	m.Kubectl("run", "attacker", "--image=alpine", "--command", "--", "sleep", "10000")
	m.Kubectl("wait", "--for=condition=Ready", "pod/attacker", "--timeout=60s")
	exec := func(t *testing.T, script string) harness.Result {
		return m.In(t).Do("", "kubectl", "exec", "attacker", "--", "sh", "-c", script)
	}

	t.Run("scan from a pod", func(t *testing.T) {
		// Every port that something listens on in the node's network, and the
		// well-known ones, asked from inside a pod.
		ports := map[int]bool{22: true, 53: true, 2379: true, 2380: true, 4194: true, 6443: true, 10248: true, 10250: true, 10255: true, 10256: true, 10257: true, 10259: true}
		for _, port := range m.In(t).Listening() {
			ports[port] = true
		}
		var list []string
		for port := range ports {
			list = append(list, fmt.Sprint(port))
		}
		r := exec(t, `for p in `+strings.Join(list, " ")+`; do nc -w 1 `+harness.NodeIP+` $p </dev/null >/dev/null 2>&1 && echo open $p; done; true`)
		for line := range strings.Lines(r.Stdout) {
			switch strings.TrimSpace(line) {
			case "open 6443", "open 10250", "open 53": // these ask who comes, below; DNS
			default:
				t.Errorf("a pod reaches a port of the node: %s", line)
			}
		}
		for _, url := range []string{
			"https://" + harness.NodeIP + ":10250/pods", "https://" + harness.NodeIP + ":10250/metrics", "https://" + harness.NodeIP + ":10250/logs/",
			"https://" + harness.NodeIP + ":10250/containerLogs/default/attacker/attacker", "https://" + harness.NodeIP + ":10250/configz",
			"https://" + harness.NodeIP + ":6443/api/v1/secrets", "https://" + harness.NodeIP + ":6443/api", "https://" + harness.NodeIP + ":6443/metrics",
			"https://kubernetes.default.svc/api/v1/pods", "https://kubernetes.default.svc/apis",
		} {
			for name, header := range map[string]string{"anonymous": "X-Nobody: yes", "a made-up token": "Authorization: Bearer abc.def.ghi", "a forged proxy header": "X-Remote-User: admin"} {
				r := exec(t, "curl -s -k -m 5 -o /dev/null -w '%{http_code}' -H '"+header+"' "+url)
				if r.Stdout != "401" && r.Stdout != "403" {
					t.Errorf("%s with %s answers %q %s", url, name, r.Stdout, r.Stderr)
				}
			}
		}
		// The pod's own token is the default account's: it may nothing, at the agent neither.
		for _, url := range []string{"https://kubernetes.default.svc/api/v1/namespaces/default/secrets", "https://" + harness.NodeIP + ":10250/pods"} {
			r := exec(t, "curl -s -k -m 5 -o /dev/null -w '%{http_code}' -H \"Authorization: Bearer $(cat /var/run/secrets/kubernetes.io/serviceaccount/token)\" "+url)
			if r.Stdout != "403" && r.Stdout != "401" {
				t.Errorf("%s with the pod's token answers %q", url, r.Stdout)
			}
		}
	})

	t.Run("tenancy", func(t *testing.T) {
		m := m.In(t)
		for _, tenant := range []string{"red", "blue"} {
			m.Kubectl("create", "namespace", tenant)
			m.Kubectl("-n", tenant, "create", "serviceaccount", "dev")
			m.Kubectl("-n", tenant, "create", "rolebinding", "dev", "--clusterrole=edit", "--serviceaccount="+tenant+":dev")
			m.Kubectl("-n", tenant, "create", "secret", "generic", "key", "--from-literal=a=b")
		}
		m.Kubectl("-n", "red", "create", "rolebinding", "reader", "--clusterrole=view", "--user=eve")
		red, blue, eve, node := "system:serviceaccount:red:dev", "system:serviceaccount:blue:dev", "eve", "system:node:node-1"
		for _, row := range []struct {
			who, namespace, verb, what, want string
		}{
			{red, "red", "create", "deployments", "yes"},
			{red, "red", "get", "secrets", "yes"},
			{red, "red", "create", "pods --subresource=exec", "yes"},
			{red, "blue", "create", "pods --subresource=exec", "no"},
			{red, "red", "create", "rolebindings", "no"},
			{red, "red", "impersonate", "serviceaccounts", "yes"}, // upstream's edit may, within its namespace
			{red, "blue", "get", "pods", "no"},
			{red, "blue", "get", "secrets", "no"},
			{blue, "red", "delete", "deployments", "no"},
			{blue, "kube-system", "list", "secrets", "no"},
			{blue, "blue", "get", "nodes", "no"},
			{blue, "blue", "create", "clusterrolebindings", "no"},
			{blue, "blue", "impersonate", "users", "no"},
			{blue, "blue", "get", "nodes --subresource=proxy", "no"},
			{eve, "red", "list", "pods", "yes"},
			{eve, "red", "get", "secrets", "no"},
			{eve, "red", "delete", "pods", "no"},
			{eve, "default", "list", "pods", "no"},
			{node, "red", "list", "secrets", "no"},
			{node, "red", "get", "secrets/key", "no"},
			{node, "red", "create", "pods --subresource=exec", "no"},
			{node, "red", "delete", "deployments", "no"},
		} {
			args := append([]string{"auth", "can-i", row.verb}, strings.Fields(row.what)...)
			args = append(args, "-n", row.namespace, "--as", row.who)
			if row.who == node {
				args = append(args, "--as-group", "system:nodes")
			}
			got, _, _ := strings.Cut(strings.TrimSpace(m.Do("", "kubectl", args...).Stdout), " ") // a reason may follow
			if got != row.want {
				t.Errorf("%s %s %s in %s: %s, want %s", row.who, row.verb, row.what, row.namespace, got, row.want)
			}
		}
		// Escalation: a tenant's admin gives away only what they have.
		m.Kubectl("-n", "red", "create", "rolebinding", "boss", "--clusterrole=admin", "--user=boss")
		r := m.Do("", "kubectl", "-n", "red", "create", "role", "more", "--verb=*", "--resource=nodes", "--as=boss")
		if r.Code == 0 || !strings.Contains(r.Stderr, "attempting to grant RBAC permissions not currently held") {
			t.Errorf("a tenant's admin escalates: %+v", r)
		}
		r = m.Do("", "kubectl", "-n", "red", "create", "rolebinding", "more", "--clusterrole=cluster-admin", "--user=boss", "--as=boss")
		if r.Code == 0 {
			t.Errorf("a tenant's admin binds cluster-admin: %+v", r)
		}
	})

	t.Run("a node and secrets", func(t *testing.T) {
		m := m.In(t)
		as := []string{"--as=system:node:node-1", "--as-group=system:nodes", "--as-group=system:authenticated"}
		m.Kubectl("create", "secret", "generic", "mounted", "--from-literal=a=b")
		m.Kubectl("create", "secret", "generic", "other", "--from-literal=a=b")
		m.Kubectl("run", "holder", "--image=alpine", `--overrides={"spec":{"containers":[{"name":"holder","image":"alpine","command":["sleep","10000"],"envFrom":[{"secretRef":{"name":"mounted"}}]}],"terminationGracePeriodSeconds":1}}`)
		m.Kubectl("wait", "--for=condition=Ready", "pod/holder", "--timeout=60s")
		m.Kubectl(append([]string{"get", "secret", "mounted"}, as...)...)
		if r := m.Do("", "kubectl", append([]string{"get", "secret", "other"}, as...)...); r.Code == 0 || !strings.Contains(r.Stderr, "Forbidden") {
			t.Errorf("a node reads a secret that no pod of its uses: %+v", r)
		}
		other := []string{"--as=system:node:node-9", "--as-group=system:nodes", "--as-group=system:authenticated"}
		if r := m.Do("", "kubectl", append([]string{"get", "secret", "mounted"}, other...)...); r.Code == 0 {
			t.Errorf("another node reads the secret: %+v", r)
		}
		if r := m.Do("", "kubectl", append([]string{"label", "node", "node-1", "x=y"}, other...)...); r.Code == 0 {
			t.Errorf("another node changes this one: %+v", r)
		}
		if r := m.Do("", "kubectl", append([]string{"delete", "pod", "holder"}, other...)...); r.Code == 0 {
			t.Errorf("another node deletes this one's pod: %+v", r)
		}
	})

	t.Run("exe link", func(t *testing.T) { // CVE-2019-5736
		m := m.In(t)
		sealed := filepath.Join(m.RunDir, "nau-oci")
		digest := func(path string) string {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatalf("read the runtime's binary: %v", err)
			}
			return fmt.Sprintf("%x", sha256.Sum256(data))
		}
		nau, runtime := digest(m.Nau), digest(sealed)
		// The runtime is caught as every process that enters the container.
		exec(t, `(i=0; while [ $i -lt 300 ]; do for p in /proc/[0-9]*; do [ "$(readlink $p/exe)" = /bin/busybox ] || { exec 9<$p/exe && echo caught >>/tmp/caught && { echo overwritten >/proc/self/fd/9; exec 9<&-; }; } 2>/dev/null; done; i=$((i+1)); done; touch /tmp/raced) >/dev/null 2>&1 &`)
		for range 10 {
			m.Kubectl("exec", "attacker", "--", "true")
		}
		// The link as the program itself, at the start and for an exec.
		m.Do("", "kubectl", "run", "self", "--image=busybox", "--restart=Never", "--command", "--", "/proc/self/exe", "state")
		exec(t, `cp /bin/busybox /tmp/was; ln -sf /proc/self/exe /tmp/link`)
		m.Do("", "kubectl", "exec", "attacker", "--", "/tmp/link", "true")
		m.Until("", "kubectl", "get", "pod", "self", "-o", "jsonpath={.status.containerStatuses[0].state}")
		if digest(m.Nau) != nau || digest(sealed) != runtime {
			t.Error("a container changed the host's binary")
		}
		m.Kubectl("run", "sane", "--image=busybox", "--restart=Never", "--", "echo", "sane")
		m.Until("sane\n", "kubectl", "logs", "sane")
	})

	t.Run("descriptors and working directory", func(t *testing.T) { // CVE-2024-21626
		for _, who := range []string{"self", "1"} {
			r := exec(t, "cd /proc/"+who+"/fd && for d in *; do readlink $d >/dev/null && echo $d $(readlink $d); done; true")
			for line := range strings.Lines(r.Stdout) {
				fd, what, _ := strings.Cut(strings.TrimSpace(line), " ")
				if fd > "2" && !strings.HasPrefix(what, "/proc/") && !strings.Contains(what, "pipe:") {
					t.Errorf("process %s holds descriptor %s: %s", who, fd, what)
				}
			}
		}
		if r := exec(t, "readlink /proc/self/cwd; ls -d /proc/self/cwd/../../../../../../var/lib/nau "+m.DataDir+" 2>&1"); !strings.HasPrefix(r.Stdout, "/\n") || strings.Contains(r.Stdout, "\n/var/lib/nau\n") {
			t.Errorf("working directory: %s", r.Stdout)
		}
		m := m.In(t)
		m.Kubectl("run", "leaky", "--image=busybox", "--restart=Never", `--overrides={"spec":{"containers":[{"name":"leaky","image":"busybox","workingDir":"/proc/self/fd/8","command":["sh","-c","pwd; ls ../../../../etc/hostname"]}]}}`)
		if !strings.Contains(m.Until("state", "kubectl", "get", "pod", "leaky", "-o", "jsonpath=state {.status.containerStatuses[0].state}"), "state") {
			t.Error("no state")
		}
		if out := m.Do("", "kubectl", "logs", "leaky").Stdout; strings.Contains(out, "/proc/self/fd") && !strings.Contains(out, "No such file") {
			t.Errorf("a working directory on the host: %s", out)
		}
	})

	t.Run("signals", func(t *testing.T) {
		// What the machinery ignores is not what a program inherits.
		for _, pid := range []string{"1", "self"} {
			out := m.In(t).Kubectl("exec", "attacker", "--", "grep", "-E", "SigIgn|SigBlk", "/proc/"+pid+"/status")
			for line := range strings.Lines(out) {
				if _, mask, _ := strings.Cut(line, ":"); strings.Trim(mask, "0 \t\n") != "" {
					t.Errorf("process %s starts with %s", pid, line)
				}
			}
		}
	})

	t.Run("log flood", func(t *testing.T) {
		m := m.In(t)
		m.Kubectl("run", "flood", "--image=busybox", "--restart=Never", "--", "sh", "-c", "yes 0123456789012345678901234567890123456789012345678901234567890123 | head -c 150000000; echo; echo the end")
		m.Kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/flood", "--timeout=60s")
		var size int64
		filepath.WalkDir(filepath.Join(m.DataDir, "log"), func(path string, d os.DirEntry, err error) error {
			if err == nil && strings.Contains(path, "flood") && d.Type().IsRegular() {
				if info, err := d.Info(); err == nil {
					size += info.Size()
				}
			}
			return nil
		})
		if size > 80<<20 {
			t.Errorf("150 MB of output take %d MiB on disk: rotation keeps five files of 10 MiB", size>>20)
		}
		if out := m.Kubectl("logs", "flood", "--tail=1"); out != "the end\n" {
			t.Errorf("the last line is %q", out)
		}
		if out := m.Kubectl("exec", "attacker", "--", "echo", "fine"); out != "fine\n" {
			t.Errorf("another pod: %q", out)
		}
	})
	t.Run("fork bomb", func(t *testing.T) { // bounded by itself, too: it is to meet the pod's limit long before
		m := m.In(t)
		m.Kubectl("run", "bomb", "--image=busybox", "--restart=Never", "--", "sh", "-c", "for i in $(seq 2000); do sleep 1000 & done; echo all of them")
		m.Kubectl("wait", "--for=jsonpath={.status.phase}=Failed", "pod/bomb", "--timeout=60s")
		if out := m.Kubectl("logs", "bomb"); !strings.Contains(out, "can't fork") || strings.Contains(out, "all of them") {
			t.Errorf("the bomb says %q", out)
		}
		if out := m.Kubectl("exec", "attacker", "--", "sh", "-c", "echo fine | cat"); out != "fine\n" {
			t.Errorf("another pod: %q", out)
		}
	})
}
