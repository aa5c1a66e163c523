//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"nau/test/e2e/harness"
)

const foreignPods = `
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {greeting: hello from a config map}
---
apiVersion: v1
kind: Secret
metadata: {name: secret}
stringData: {password: open sesame}
---
apiVersion: v1
kind: Pod
metadata: {name: full, labels: {app: full}}
spec:
  terminationGracePeriodSeconds: 20
  initContainers:
  - name: first
    image: busybox
    command: [sh, -c, "echo made by the first > /shared/first; echo first done"]
    volumeMounts: [{name: shared, mountPath: /shared}]
  - name: sidecar
    image: busybox
    restartPolicy: Always
    command: [sh, -c, "trap 'echo sidecar ends > /shared/end; exit 0' TERM; touch /shared/sidecar; while :; do sleep 0.1; done"]
    startupProbe: {exec: {command: [test, -e, /shared/sidecar]}, periodSeconds: 1}
    volumeMounts: [{name: shared, mountPath: /shared}]
  - name: second
    image: busybox
    command: [sh, -c, "test -e /shared/sidecar && cat /shared/first"]
    volumeMounts: [{name: shared, mountPath: /shared}]
  containers:
  - name: web
    image: nginx
    ports: [{containerPort: 80}]
    readinessProbe: {httpGet: {port: 80, path: /}, periodSeconds: 1}
    livenessProbe: {tcpSocket: {port: 80}, periodSeconds: 1}
  - name: main
    image: busybox
    command: [sh, -c, "trap 'echo goodbye; exit 0' TERM; echo $GREETING; cat /secret/password; echo; while :; do sleep 0.1; done"]
    env:
    - {name: GREETING, valueFrom: {configMapKeyRef: {name: settings, key: greeting}}}
    - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    readinessProbe: {exec: {command: [test, -e, /secret/password]}, periodSeconds: 1}
    resources: {limits: {memory: 64Mi, cpu: 500m}}
    volumeMounts:
    - {name: secret, mountPath: /secret}
    - {name: settings, mountPath: /settings}
    - {name: shared, mountPath: /shared}
  volumes:
  - {name: shared, emptyDir: {}}
  - {name: secret, secret: {secretName: secret}}
  - {name: settings, configMap: {name: settings}}
---
apiVersion: v1
kind: Pod
metadata: {name: again}
spec:
  restartPolicy: OnFailure
  volumes: [{name: v, emptyDir: {}}]
  containers:
  - name: c
    image: busybox
    command: [sh, -c, "if [ -e /v/tried ]; then exit 0; fi; touch /v/tried; exit 3"]
    volumeMounts: [{name: v, mountPath: /v}]
---
apiVersion: v1
kind: Pod
metadata: {name: once}
spec:
  restartPolicy: Never
  containers:
  - name: c
    image: busybox
    command: [sh, -c, "echo why it ended > /dev/termination-log; exit 7"]
---
apiVersion: v1
kind: Pod
metadata: {name: unwell}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: busybox
    command: [sleep, "1000"]
    livenessProbe: {exec: {command: [test, -e, /nothing]}, periodSeconds: 1, failureThreshold: 1}
`

// Pods on a stock containerd: everything that the node agent asks of a runtime, and nothing of Nau's own engine.
func TestContainerd(t *testing.T) {
	m := harness.New(t)
	m.Registry()
	m.Up(m.Containerd(""))
	if r := m.Do(foreignPods, "kubectl", "apply", "-f", "-"); r.Code != 0 {
		t.Fatal(r.Stderr)
	}
	if node := m.Kubectl("get", "node", "node-1", "-o", "jsonpath={.status.nodeInfo.containerRuntimeVersion}"); !strings.HasPrefix(node, "containerd://") {
		t.Errorf("the node's runtime is %q", node)
	}
	m.Kubectl("wait", "--for=condition=Ready", "pod/full", "--timeout=120s")
	t.Run("containers", func(t *testing.T) {
		m := m.In(t)
		for container, want := range map[string]string{"first": "first done\n", "second": "made by the first\n", "main": "hello from a config map\nopen sesame\n"} {
			if out := m.Kubectl("logs", "full", "-c", container); out != want {
				t.Errorf("log of %s: %q, want %q", container, out, want)
			}
		}
		if out := m.Kubectl("get", "pod", "full", "-o", "jsonpath={.status.initContainerStatuses[*].state.terminated.reason} {.status.initContainerStatuses[1].started}"); out != "Completed Completed true" {
			t.Errorf("init containers: %q", out)
		}
		if r := m.Do("", "kubectl", "exec", "full", "-c", "main", "--", "sh", "-c", "cat /settings/greeting; hostname; exit 4"); r.Stdout != "hello from a config mapfull\n" || r.Code != 4 {
			t.Errorf("exec: %+v", r)
		}
		if r := m.Do("typed", "kubectl", "exec", "-i", "full", "-c", "main", "--", "cat"); r.Stdout != "typed" {
			t.Errorf("exec -i: %+v", r)
		}
		ip := m.Kubectl("get", "pod", "full", "-o", "jsonpath={.status.podIP}")
		if out := m.Kubectl("exec", "full", "-c", "main", "--", "sh", "-c", "echo $POD_IP"); out != ip+"\n" || !strings.HasPrefix(ip, "10.42.0.") {
			t.Errorf("the pod's address %q, in the container %q", ip, out)
		}
		if r := m.Do("into the pod", "kubectl", "cp", "-c", "main", m.Kubeconfig(), "full:/tmp/copied"); r.Code != 0 {
			t.Errorf("cp: %+v", r)
		}
		m.Must("kubectl", "exec", "full", "-c", "main", "--", "grep", "-q", "apiVersion", "/tmp/copied")
	})
	t.Run("port-forward", func(t *testing.T) {
		m := m.In(t)
		forward := m.Command("kubectl", "port-forward", "pod/full", "18080:80")
		if err := forward.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { forward.Process.Kill(); forward.Wait() }()
		m.Answers("http://127.0.0.1:18080/", "nginx")
	})
	t.Run("service", func(t *testing.T) {
		m := m.In(t)
		m.Kubectl("expose", "pod", "full", "--port=80", "--name=full")
		ip := m.Kubectl("get", "service", "full", "-o", "jsonpath={.spec.clusterIP}")
		m.Answers("http://"+ip+"/", "nginx")
	})
	t.Run("volumes follow their objects", func(t *testing.T) {
		m := m.In(t)
		m.Kubectl("patch", "configmap", "settings", "-p", `{"data":{"greeting":"changed"}}`)
		m.Until("changed", "kubectl", "exec", "full", "-c", "main", "--", "cat", "/settings/greeting")
	})
	t.Run("restart policies", func(t *testing.T) {
		m := m.In(t)
		m.Kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/again", "--timeout=60s")
		if out := m.Kubectl("get", "pod", "again", "-o", "jsonpath={.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].state.terminated.exitCode}"); out != "1 0" {
			t.Errorf("a container that failed once: %q", out)
		}
		m.Kubectl("wait", "--for=jsonpath={.status.phase}=Failed", "pod/once", "--timeout=60s")
		if out := m.Kubectl("get", "pod", "once", "-o", "jsonpath={.status.containerStatuses[0].state.terminated.exitCode} {.status.containerStatuses[0].state.terminated.message}"); out != "7 why it ended\n" {
			t.Errorf("a container that ends: %q", out)
		}
		m.Until("Killing", "kubectl", "get", "events", "--field-selector=involvedObject.name=unwell", "-o", "jsonpath={.items[*].reason}")
		m.Until("restarted", "sh", "-c", `[ "$(kubectl get pod unwell -o 'jsonpath={.status.containerStatuses[0].restartCount}')" -ge 1 ] && echo restarted`)
	})
	t.Run("user namespace", func(t *testing.T) {
		m := m.In(t)
		m.Kubectl("run", "apart", "--image=busybox", `--overrides={"spec":{"hostUsers":false,"terminationGracePeriodSeconds":0}}`, "--", "sleep", "999")
		defer m.Kubectl("delete", "pod", "apart", "--timeout=60s")
		if m.Kubectl("get", "node", "node-1", "-o", `jsonpath={.status.runtimeHandlers[?(@.name=="")].features.userNamespaces}`) != "true" {
			// One that does not know the field would run the pod as the host's users.
			m.Until("does not support user namespaces", "kubectl", "get", "events", "--field-selector=involvedObject.name=apart", "-o", "jsonpath={.items[*].message}")
			return
		}
		m.Kubectl("wait", "--for=condition=Ready", "pod/apart", "--timeout=60s")
		if f := strings.Fields(m.Kubectl("exec", "apart", "--", "cat", "/proc/self/uid_map")); len(f) != 3 || f[0] != "0" || f[1] == "0" || f[2] != "65536" {
			t.Errorf("uid_map: %q", f)
		}
	})
	t.Run("nau is killed", func(t *testing.T) {
		m := m.In(t)
		ids := func() string {
			return m.Kubectl("get", "pod", "full", "-o", "jsonpath={.status.containerStatuses[*].containerID} {.status.containerStatuses[*].restartCount}")
		}
		before := ids()
		m.Kill()
		m.Up("--container-runtime-endpoint=" + m.ContainerdEndpoint())
		m.Kubectl("wait", "--for=condition=Ready", "pod/full", "--timeout=60s")
		if after := ids(); after != before {
			t.Errorf("containers %q, before %q", after, before)
		}
		m.Kubectl("exec", "full", "-c", "main", "--", "true")
	})
	t.Run("termination", func(t *testing.T) {
		m := m.In(t)
		follow := m.Command("kubectl", "logs", "-f", "full", "-c", "main")
		var out strings.Builder
		follow.Stdout = &out
		if err := follow.Start(); err != nil {
			t.Fatal(err)
		}
		m.Kubectl("delete", "pod", "full", "again", "once", "unwell", "--timeout=60s")
		follow.Wait()
		if !strings.HasSuffix(out.String(), "goodbye\n") {
			t.Errorf("the container's last words: %q", out.String())
		}
		m.Until("0", "sh", "-c", "ls "+m.Dir+"/containerd-run/io.containerd.runtime.v2.task/k8s.io | wc -l")
	})
}
