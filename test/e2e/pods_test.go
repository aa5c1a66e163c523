//go:build e2e

package e2e

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nau/test/e2e/harness"
)

func file(name string) string {
	path, err := filepath.Abs(filepath.Join("testdata", name))
	if err != nil {
		panic(err)
	}
	return path
}

// What the node does for a pod, seen by kubectl alone.
func TestPods(t *testing.T) {
	t.Parallel()
	m := harness.New(t)
	m.Registry()
	m.Up()

	t.Run("probes", func(t *testing.T) {
		m := m.In(t)
		m.Kubectl("apply", "-f", file("probes.yaml"))
		m.Kubectl("wait", "--for=condition=Ready", "pod", "-l", "probes=yes", "--timeout=60s")
		m.Kubectl("exec", "probe-exec", "--", "rm", "/tmp/ready")
		m.Kubectl("wait", "--for=condition=Ready=false", "pod/probe-exec", "--timeout=30s")
		m.Kubectl("exec", "probe-exec", "--", "touch", "/tmp/ready")
		m.Kubectl("wait", "--for=condition=Ready", "pod/probe-exec", "--timeout=30s")
		m.Kubectl("wait", "--for=condition=Ready", "pod/probe-liveness", "--timeout=30s")
		m.Kubectl("exec", "probe-liveness", "--", "rm", "/tmp/alive")
		m.Kubectl("wait", "--for=jsonpath={.status.containerStatuses[0].restartCount}=1", "pod/probe-liveness", "--timeout=30s")
		if out := m.Kubectl("describe", "pod", "probe-liveness"); !strings.Contains(out, "Liveness probe failed") || !strings.Contains(out, "failed liveness probe, will be restarted") {
			t.Errorf("events of a failed liveness probe:\n%s", out)
		}
		m.Kubectl("delete", "-f", file("probes.yaml"), "--wait=false")
	})
	t.Run("init and sidecar containers", func(t *testing.T) {
		m := m.In(t)
		m.Kubectl("apply", "-f", file("order.yaml"))
		m.Kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/order", "--timeout=60s")
		if out, want := m.Kubectl("logs", "order", "-c", "sidecar"), "sidecar ends\nfirst\nsidecar\nsecond\nmain\nmain ends\n"; out != want {
			t.Errorf("the order was\n%s\nwant\n%s", out, want)
		}
	})
	t.Run("downward API and configuration", func(t *testing.T) {
		m := m.In(t)
		m.Kubectl("apply", "-f", file("downward.yaml"))
		m.Kubectl("wait", "--for=condition=Ready", "pod/downward", "--timeout=60s")
		ip := m.Kubectl("get", "pod", "downward", "-o", "jsonpath={.status.podIP}")
		got := m.Kubectl("exec", "downward", "--", "sh", "-c", "echo $NAME $IP $NODE $CPU $BOTH; cat /settings/colour; echo; cat /about/labels; echo; cat /about/limit")
		if want := "downward " + ip + " node-1 200 downward-green\ngreen\ntier=\"front\"\n64"; got != want {
			t.Errorf("the pod sees\n%s\nwant\n%s", got, want)
		}
		m.Kubectl("patch", "configmap", "settings", "-p", `{"data":{"colour":"blue"}}`)
		m.Until("blue", "kubectl", "exec", "downward", "--", "cat", "/settings/colour")
		m.Kubectl("label", "pod", "downward", "--overwrite", "tier=back")
		m.Until(`tier="back"`, "kubectl", "exec", "downward", "--", "cat", "/about/labels")
		m.Kubectl("delete", "pod", "downward", "--wait=false")
	})
	t.Run("pull secret", func(t *testing.T) {
		m := m.In(t)
		image := harness.PrivateRegistry + "/library/nginx:alpine"
		m.Kubectl("run", "locked", "--image="+image)
		m.Until("ImagePullBackOff", "kubectl", "get", "pod", "locked", "--no-headers")
		m.Kubectl("delete", "pod", "locked", "--grace-period=1")
		m.Kubectl("create", "secret", "docker-registry", "key", "--docker-server="+harness.PrivateRegistry,
			"--docker-username="+harness.RegistryUser, "--docker-password="+harness.RegistryPassword)
		m.Kubectl("run", "opened", "--image="+image, `--overrides={"spec":{"imagePullSecrets":[{"name":"key"}]}}`)
		m.Kubectl("wait", "--for=condition=Ready", "pod/opened", "--timeout=60s")
	})
	t.Run("graceful end", func(t *testing.T) {
		m := m.In(t)
		m.Kubectl("run", "polite", "--image=busybox", "--restart=Never", "--", "sh", "-c", "trap 'echo asked; sleep 0.5; echo gone; exit 3' TERM; echo up; while true; do sleep 0.1; done")
		m.Until("up\n", "kubectl", "logs", "polite")
		follow := m.Terminal("kubectl", "logs", "-f", "polite")
		follow.Expect("up")
		started := time.Now()
		m.Kubectl("delete", "pod", "polite")
		if took := time.Since(started); took > 15*time.Second {
			t.Errorf("the end took %v, far beyond what the container needs", took)
		}
		follow.Expect("gone")
	})
	t.Run("terminal", func(t *testing.T) {
		m := m.In(t)
		m.Kubectl("run", "shell", "--image=busybox", "-it", "--restart=Never", "--attach=false", "--stdin", "--tty", "--command", "--", "sh")
		m.Kubectl("wait", "--for=condition=Ready", "pod/shell", "--timeout=60s")
		term := m.Terminal("kubectl", "exec", "-it", "shell", "--", "sh")
		term.Expect("# ")
		term.Type("stty size; tty; echo su''m $((40+2))\n")
		term.Expect("24 80")
		term.Expect("/dev/pts/")
		term.Expect("sum 42")
		term.Resize(50, 132)
		term.Type("sleep 0.3; stty size\n")
		term.Expect("50 132")
		term.Type("echo sleep''ing; sleep 100\n")
		term.Expect("sleeping") // the shell no longer reads: Ctrl-C is the sleep's
		term.Type("\x03")
		term.Type("echo still he''re\n")
		term.Expect("still here")
		term.Type("exit 9\n")
		if code := term.Wait(); code != 9 {
			t.Errorf("exit code %d, want 9", code)
		}
		attached := m.Terminal("kubectl", "attach", "-it", "shell")
		attached.Type("\necho attach''ed\n")
		attached.Expect("attached")
		attached.Type("exit 4\n")
		attached.Wait()
		m.Kubectl("wait", "--for=jsonpath={.status.containerStatuses[0].state.terminated.exitCode}=4", "pod/shell", "--timeout=30s")
	})
	t.Run("debug", func(t *testing.T) {
		m := m.In(t)
		m.Kubectl("run", "patient", "--image=nginx:alpine")
		m.Kubectl("wait", "--for=condition=Ready", "pod/patient", "--timeout=60s")
		m.Kubectl("debug", "patient", "--image=busybox", "--container=doctor", "--target=patient", "--", "sh", "-c", "ps; hostname")
		m.Kubectl("wait", "--for=jsonpath={.status.ephemeralContainerStatuses[0].state.terminated.exitCode}=0", "pod/patient", "--timeout=30s")
		if out := m.Kubectl("logs", "patient", "-c", "doctor"); !strings.Contains(out, "nginx") || !strings.Contains(out, "patient") {
			t.Errorf("the ephemeral container does not see its target:\n%s", out)
		}
	})
	t.Run("top", func(t *testing.T) {
		m := m.In(t)
		if r := m.Do("", "kubectl", "top", "pods"); r.Code != 1 || !strings.Contains(r.Stderr, "Metrics API not available") {
			t.Errorf("top without metrics: %+v", r)
		}
	})
}

// Services of every kind, from a pod and from the host.
func TestServices(t *testing.T) {
	t.Parallel()
	m := harness.New(t)
	m.Registry()
	m.Up()
	m.Kubectl("apply", "-f", file("services.yaml"))
	m.Kubectl("rollout", "status", "deployment/app", "--timeout=60s")
	m.Kubectl("wait", "--for=condition=Ready", "pod/client", "pod/host-port", "--timeout=60s")
	// answers gives who answered, of n questions from the client pod.
	answers := func(t *testing.T, url, n string) map[string]int {
		t.Helper()
		out := m.In(t).Kubectl("exec", "client", "--", "sh", "-c", "for i in $(seq "+n+"); do curl -s -m 5 -d hello "+url+" || echo nobody; done")
		who := map[string]int{}
		for line := range strings.Lines(out) {
			who[strings.TrimSpace(line)]++
		}
		return who
	}
	t.Run("all replicas answer", func(t *testing.T) {
		m.In(t).Answers("http://"+m.Kubectl("get", "service", "plain", "-o", "jsonpath={.spec.clusterIP}")+"/", "app v1")
		if who := answers(t, "http://plain/", "60"); len(who) != 3 || who["nobody"] > 0 {
			t.Errorf("answers came from %v", who)
		}
	})
	t.Run("session affinity", func(t *testing.T) {
		if who := answers(t, "http://sticky/", "30"); len(who) != 1 || who["nobody"] > 0 {
			t.Errorf("answers came from %v", who)
		}
	})
	t.Run("UDP", func(t *testing.T) {
		if who := answers(t, "udp://plain:81", "40"); len(who) != 3 || who["nobody"] > 0 {
			t.Errorf("answers came from %v", who)
		}
	})
	t.Run("headless", func(t *testing.T) {
		m := m.In(t)
		out := m.Kubectl("exec", "client", "--", "nslookup", "headless.default.svc.cluster.local")
		for _, ip := range strings.Fields(m.Kubectl("get", "pods", "-l", "app=app", "-o", "jsonpath={.items[*].status.podIP}")) {
			if !strings.Contains(out, ip) {
				t.Errorf("the name lacks %s:\n%s", ip, out)
			}
		}
	})
	t.Run("node port", func(t *testing.T) {
		m := m.In(t)
		m.Answers("http://"+harness.NodeIP+":32080/", "app v1")
		m.Answers("http://127.0.0.1:32080/", "app v1")
	})
	t.Run("host port", func(t *testing.T) {
		m := m.In(t)
		m.Answers("http://"+harness.NodeIP+":18088/", "nginx")
		m.Answers("http://127.0.0.1:18088/", "nginx")
	})
	t.Run("hairpin", func(t *testing.T) {
		m := m.In(t)
		m.Kubectl("expose", "pod/host-port", "--name=self", "--port=80", "--selector=self=yes")
		m.Kubectl("label", "pod", "host-port", "self=yes")
		m.Until("nginx", "kubectl", "exec", "host-port", "--", "curl", "-s", "-m", "2", "http://self/")
	})
}
