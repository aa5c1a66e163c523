//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"nau/test/e2e/harness"
)

// The manifests of the lectures, applied as written with the stock kubectl on a
// fresh machine whose registry serves images of the names that they use.
func TestLectures(t *testing.T) {
	t.Parallel()
	m := harness.New(t)
	m.Registry()
	m.Up()

	t.Run("namespaces", func(t *testing.T) {
		m := m.In(t)
		m.Apply("01-namespace-prod.yaml")
		m.Apply("02-namespace-k3s.yaml")
		out := m.Kubectl("get", "ns", "--show-labels")
		for _, want := range []string{"app=MyBigWebApp,kubernetes.io/metadata.name=prod", "diving-into-k3s", "kube-system", "default"} {
			if !strings.Contains(out, want) {
				t.Errorf("get ns lacks %q:\n%s", want, out)
			}
		}
	})
	t.Run("pod with attributes", func(t *testing.T) {
		m := m.In(t)
		m.Apply("03-pod-container-attributes.yaml")
		m.Until("isAwesome\n", "kubectl", "logs", "pod-example")
		// It ends at once and is started again, with growing pauses.
		m.Until("CrashLoopBackOff", "kubectl", "get", "pod", "pod-example", "--no-headers")
		m.Kubectl("delete", "-f", m.Example("03-pod-container-attributes.yaml"), "--grace-period=1")
	})
	t.Run("pod that waits for a labelled node", func(t *testing.T) {
		m := m.In(t)
		m.Apply("04-pod-node-selector.yaml")
		m.Until("didn't match Pod's node affinity/selector", "kubectl", "describe", "pod", "pod-label-example")
		m.Kubectl("label", "node", "node-1", "gpu=nvidia")
		m.Kubectl("wait", "--for=condition=Ready", "pod/pod-label-example", "--timeout=60s")
	})
	t.Run("node port", func(t *testing.T) {
		m := m.In(t)
		m.Apply("05-service-nodeport.yaml")
		m.Answers("http://"+harness.NodeIP+":32410/", "nginx")
		m.Kubectl("delete", "-f", m.Example("04-pod-node-selector.yaml"), "--grace-period=1")
	})
	t.Run("replica set", func(t *testing.T) {
		m := m.In(t)
		m.Apply("08-replicaset.yaml")
		m.Kubectl("wait", "--for=jsonpath={.status.readyReplicas}=3", "rs/rs-example", "--timeout=60s")
		m.Answers("http://"+harness.NodeIP+":32410/", "nginx")
		m.Kubectl("delete", "pod", "-l", "app=nginx", "--grace-period=1", "--wait=false")
		m.Kubectl("wait", "--for=jsonpath={.status.readyReplicas}=3", "rs/rs-example", "--timeout=60s")
		m.Kubectl("delete", "-f", m.Example("08-replicaset.yaml"))
	})
	t.Run("rolling deployment", func(t *testing.T) {
		m := m.In(t)
		m.Apply("09-deployment-rolling.yaml")
		m.Kubectl("rollout", "status", "deployment/deploy-example", "--timeout=60s")
		m.Kubectl("set", "image", "deployment/deploy-example", "nginx=nginx:alpine")
		m.Kubectl("rollout", "status", "deployment/deploy-example", "--timeout=60s")
		if out := m.Kubectl("get", "replicaset"); strings.Count(out, "deploy-example-") != 2 {
			t.Errorf("two revisions expected:\n%s", out)
		}
		if out := m.Kubectl("rollout", "history", "deployment/deploy-example"); !strings.Contains(out, "\n2 ") {
			t.Errorf("history lacks revision 2:\n%s", out)
		}
		m.Kubectl("rollout", "undo", "deployment/deploy-example")
		m.Kubectl("rollout", "status", "deployment/deploy-example", "--timeout=60s")
		if image := m.Kubectl("get", "deployment", "deploy-example", "-o", "jsonpath={.spec.template.spec.containers[0].image}"); image != "nginx:stable-alpine" {
			t.Errorf("image after undo: %s", image)
		}
		m.Kubectl("scale", "deployment/deploy-example", "--replicas=5")
		m.Kubectl("wait", "--for=jsonpath={.status.readyReplicas}=5", "deployment/deploy-example", "--timeout=60s")
	})
	t.Run("deployment with resources, and its service", func(t *testing.T) {
		m := m.In(t)
		m.Apply("10-deployment-resources.yaml")
		m.Apply("11-service-app.yaml")
		m.Kubectl("-n", "diving-into-k3s", "rollout", "status", "deployment/app", "--timeout=60s")
		ip := m.Kubectl("-n", "diving-into-k3s", "get", "service", "app", "-o", "jsonpath={.spec.clusterIP}")
		m.Answers("http://"+ip+"/", "")
		if class := m.Kubectl("-n", "diving-into-k3s", "get", "pods", "-l", "app=app", "-o", "jsonpath={.items[0].status.qosClass}"); class != "Burstable" {
			t.Errorf("QoS class %s", class)
		}
	})
	t.Run("shared volume", func(t *testing.T) {
		m := m.In(t)
		m.Apply("18-volumes-shared-emptydir.yaml")
		m.Kubectl("wait", "--for=condition=Ready", "pod/volume-example", "--timeout=60s")
		m.Until("20", "kubectl", "exec", "volume-example", "-c", "nginx", "--", "cat", "/usr/share/nginx/html/index.html")
		r := m.Do("", "kubectl", "exec", "volume-example", "-c", "nginx", "--", "touch", "/usr/share/nginx/html/x")
		if r.Code == 0 || !strings.Contains(r.Stderr, "Read-only file system") {
			t.Errorf("writing to a read-only mount: code %d, %s", r.Code, r.Stderr)
		}
		m.Kubectl("delete", "pod", "volume-example", "--grace-period=1")
	})
	t.Run("configuration file", func(t *testing.T) {
		m := m.In(t)
		m.Apply("22-configmap-nginx-subpath.yaml")
		m.Kubectl("-n", "diving-into-k3s", "rollout", "status", "deployment/nginx", "--timeout=60s")
		ip := m.Kubectl("-n", "diving-into-k3s", "get", "pods", "-l", "app=nginx", "-o", "jsonpath={.items[0].status.podIP}")
		m.Answers("http://"+ip+"/", "hello from a ConfigMap")
	})
	t.Run("secret", func(t *testing.T) {
		m := m.In(t)
		m.Apply("23-secret.yaml")
		if user := m.Kubectl("get", "secret", "manifest-secret", "-o", "jsonpath={.data.username}"); user != "ZXhhbXBsZQ==" {
			t.Errorf("username %q", user)
		}
	})
}

// What kubectl's everyday commands print and do.
func TestKubectl(t *testing.T) {
	t.Parallel()
	m := harness.New(t)
	m.Registry()
	m.Up()
	m.Kubectl("create", "deployment", "web", "--image=nginx:alpine")
	m.Kubectl("rollout", "status", "deployment/web", "--timeout=60s")
	pod := m.Kubectl("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[0].metadata.name}")

	t.Run("get", func(t *testing.T) {
		m := m.In(t)
		head := strings.Fields(strings.SplitN(m.Kubectl("get", "pods", "-o", "wide"), "\n", 2)[0])
		if got := strings.Join(head, " "); got != "NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES" {
			t.Errorf("columns of pods: %s", got)
		}
		if out := m.Kubectl("get", "nodes"); !strings.Contains(out, "Ready") || !strings.Contains(out, "v1.36") {
			t.Errorf("nodes:\n%s", out)
		}
	})
	t.Run("describe", func(t *testing.T) {
		out := m.In(t).Kubectl("describe", "pod", pod)
		for _, want := range []string{"Successfully assigned", "Pulled", "Created", "Started", "kube-api-access", "QoS Class:"} {
			if !strings.Contains(out, want) {
				t.Errorf("describe lacks %q:\n%s", want, out)
			}
		}
	})
	t.Run("explain", func(t *testing.T) {
		if out := m.In(t).Kubectl("explain", "pod.spec.containers.image"); !strings.Contains(out, "FIELD: image <string>") || !strings.Contains(out, "Container image name") {
			t.Errorf("explain:\n%s", out)
		}
	})
	t.Run("exec", func(t *testing.T) {
		m := m.In(t)
		if out := m.Kubectl("exec", pod, "--", "echo", "hello"); out != "hello\n" {
			t.Errorf("exec printed %q", out)
		}
		if r := m.Do("from stdin", "kubectl", "exec", "-i", pod, "--", "cat"); r.Stdout != "from stdin" || r.Code != 0 {
			t.Errorf("exec -i: %+v", r)
		}
		if r := m.Do("", "kubectl", "exec", pod, "--", "sh", "-c", "exit 7"); r.Code != 7 {
			t.Errorf("exit code %d, want 7", r.Code)
		}
	})
	t.Run("cp", func(t *testing.T) {
		m := m.In(t)
		m.Kubectl("cp", m.Example("23-secret.yaml"), pod+":/tmp/copied.yaml")
		if out := m.Kubectl("exec", pod, "--", "cat", "/tmp/copied.yaml"); !strings.Contains(out, "manifest-secret") {
			t.Errorf("copied file: %q", out)
		}
	})
	t.Run("port-forward", func(t *testing.T) {
		m := m.In(t)
		forward := m.Command("kubectl", "port-forward", "pod/"+pod, "18080:80")
		if err := forward.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { forward.Process.Kill(); forward.Wait() }()
		m.Answers("http://127.0.0.1:18080/", "nginx")
	})
	t.Run("logs", func(t *testing.T) {
		m := m.In(t)
		m.Kubectl("run", "talker", "--image=busybox", "--restart=Never", "--", "sh", "-c", "echo one; echo two; echo three")
		m.Until("one\ntwo\nthree\n", "kubectl", "logs", "-f", "talker")
		if out := m.Kubectl("logs", "talker", "--tail=1"); out != "three\n" {
			t.Errorf("--tail=1: %q", out)
		}
		m.Kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/talker", "--timeout=30s")
	})
	t.Run("apply --server-side, diff", func(t *testing.T) {
		m := m.In(t)
		m.Kubectl("apply", "--server-side", "-f", m.Example("23-secret.yaml"))
		if r := m.Do("", "kubectl", "diff", "-f", m.Example("23-secret.yaml")); r.Code != 0 {
			t.Errorf("diff of what was just applied: code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
		}
	})
	t.Run("auth can-i", func(t *testing.T) {
		m := m.In(t)
		if out := m.Kubectl("auth", "can-i", "delete", "nodes"); out != "yes\n" {
			t.Errorf("admin: %q", out)
		}
		if r := m.Do("", "kubectl", "auth", "can-i", "list", "secrets", "--as=system:serviceaccount:default:default"); r.Stdout != "no\n" || r.Code != 1 {
			t.Errorf("default service account: %+v", r)
		}
	})
	t.Run("api-resources", func(t *testing.T) {
		if out := m.In(t).Kubectl("api-resources"); !strings.Contains(out, "deployments") || !strings.Contains(out, "rbac.authorization.k8s.io/v1") {
			t.Errorf("api-resources:\n%s", out)
		}
	})
	t.Run("mistakes", func(t *testing.T) {
		m := m.In(t)
		r := m.Do(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"Bad_Name"},"spec":{"containers":[{"name":"c"}]}}`, "kubectl", "apply", "-f", "-")
		for _, want := range []string{`metadata.name: Invalid value: "Bad_Name"`, "spec.containers[0].image: Required value"} {
			if r.Code != 1 || !strings.Contains(r.Stderr, want) {
				t.Errorf("a bad manifest: code %d, lacks %q: %s", r.Code, want, r.Stderr)
			}
		}
		r = m.Do(`{"apiVersion":"v1","kind":"Service","metadata":{"name":"twice"},"spec":{"type":"NodePort","ports":[{"port":80,"nodePort":32555}]}}`, "kubectl", "apply", "-f", "-")
		if r.Code != 0 {
			t.Fatalf("first use of a node port: %s", r.Stderr)
		}
		r = m.Do(`{"apiVersion":"v1","kind":"Service","metadata":{"name":"again"},"spec":{"type":"NodePort","ports":[{"port":80,"nodePort":32555}]}}`, "kubectl", "apply", "-f", "-")
		if r.Code != 1 || !strings.Contains(r.Stderr, "provided port is already allocated") {
			t.Errorf("second use of a node port: code %d, %s", r.Code, r.Stderr)
		}
		m.Kubectl("run", "nope", "--image=nothing/of-this-name:ever")
		m.Until("ImagePullBackOff", "kubectl", "get", "pod", "nope", "--no-headers")
		m.Kubectl("delete", "pod", "nope", "--grace-period=0", "--force")
	})
	t.Run("names", func(t *testing.T) {
		m := m.In(t)
		m.Kubectl("expose", "deployment/web", "--port=80")
		ip := m.Kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
		m.Until(ip, "kubectl", "exec", pod, "--", "nslookup", "web.default.svc.cluster.local")
	})
}

// A killed nau disturbs no container and loses no acknowledged write.
func TestKillAndRestart(t *testing.T) {
	t.Parallel()
	m := harness.New(t)
	m.Registry()
	m.Up()
	m.Kubectl("run", "counter", "--image=busybox", "--", "sh", "-c", "i=0; while true; do i=$((i+1)); echo line $i; sleep 0.05; done")
	m.Kubectl("wait", "--for=condition=Ready", "pod/counter", "--timeout=60s")
	before := podState(t, m, "counter")
	m.Kubectl("create", "configmap", "acknowledged", "--from-literal=a=b")
	m.Kill()
	m.Up()
	if got := m.Kubectl("get", "configmap", "acknowledged", "-o", "jsonpath={.data.a}"); got != "b" {
		t.Errorf("the acknowledged write is gone: %q", got)
	}
	m.Kubectl("wait", "--for=condition=Ready", "pod/counter", "--timeout=60s")
	if after := podState(t, m, "counter"); after != before {
		t.Errorf("the container was disturbed: %+v, before %+v", after, before)
	}
	lines := strings.Split(strings.TrimSpace(m.Kubectl("logs", "counter")), "\n")
	for i, line := range lines {
		if line != fmt.Sprint("line ", i+1) {
			t.Fatalf("log line %d is %q", i+1, line)
		}
	}
}

type containerState struct {
	ID       string
	Restarts int
	Started  string
}

func podState(t *testing.T, m *harness.Machine, name string) containerState {
	t.Helper()
	var pod struct {
		Status struct {
			ContainerStatuses []struct {
				ContainerID  string
				RestartCount int
				State        struct{ Running struct{ StartedAt string } }
			}
		}
	}
	if err := json.Unmarshal([]byte(m.Kubectl("get", "pod", name, "-o", "json")), &pod); err != nil {
		t.Fatal(err)
	}
	if len(pod.Status.ContainerStatuses) != 1 {
		t.Fatalf("pod %s has %d container statuses", name, len(pod.Status.ContainerStatuses))
	}
	s := pod.Status.ContainerStatuses[0]
	return containerState{s.ContainerID, s.RestartCount, s.State.Running.StartedAt}
}

// What is purged leaves nothing: the harness compares the machine before and
// after, here after a crash with pods running.
func TestPurgeAfterACrash(t *testing.T) {
	t.Parallel()
	m := harness.New(t)
	m.Registry()
	before := m.Kernel()
	m.Up()
	m.Kubectl("create", "deployment", "web", "--image=nginx:alpine", "--replicas=3")
	m.Kubectl("expose", "deployment/web", "--port=80")
	m.Kubectl("rollout", "status", "deployment/web", "--timeout=60s")
	m.Kill()
	m.Down("--purge")
	before.Equal(t, m.Kernel())
}

// Mistakes on the command line are one line and exit code 2.
func TestCommandLine(t *testing.T) {
	t.Parallel()
	m := harness.New(t)
	tests := []struct {
		args []string
		want string
	}{
		{[]string{"up", "--pod-cidr", "10.42.0.1/16"}, "--pod-cidr 10.42.0.1/16 has host bits set; write 10.42.0.0/16"},
		{[]string{"up", "--pod-cidr", "nonsense"}, "--pod-cidr"},
		{[]string{"up", "--no-such-flag"}, "unknown flag: --no-such-flag"},
		{[]string{"up", "--api-port", "99999"}, "--api-port 99999 is no port"},
	}
	for _, tt := range tests {
		r := m.Do("", m.Nau, append(tt.args, "--data-dir", m.DataDir, "--run-dir", m.RunDir)...)
		if r.Code != 2 || !strings.Contains(r.Stderr, tt.want) || strings.Count(r.Stderr, "\n") != 1 {
			t.Errorf("nau %s: code %d, %q; want code 2 and one line with %q", strings.Join(tt.args, " "), r.Code, r.Stderr, tt.want)
		}
	}
	defer m.Occupy(6443)()
	r := m.Do("", m.Nau, "up", "-d", "--data-dir", m.DataDir, "--run-dir", m.RunDir)
	if r.Code != 2 || !strings.Contains(r.Stderr, "--api-port 6443") {
		t.Errorf("a busy port: code %d, %q", r.Code, r.Stderr)
	}
}
