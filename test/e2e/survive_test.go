//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"nau/test/e2e/harness"
)

// nau is killed while writers write, a deployment is scaled and containers end:
// every acknowledged write is there, no container is started again, no log line
// and no exit code is lost.
func TestKillUnderLoad(t *testing.T) {
	t.Parallel()
	m := harness.New(t)
	m.Registry()
	m.Up()
	m.Kubectl("create", "deployment", "web", "--image=nginx:alpine", "--replicas=3")
	m.Kubectl("run", "counter", "--image=busybox", "--", "sh", "-c", "i=0; while true; do i=$((i+1)); echo line $i; sleep 0.01; done")
	m.Kubectl("run", "ender", "--image=busybox", "--restart=Never", "--", "sh", "-c", "while [ ! -e /tmp/end ]; do sleep 0.05; done; echo last words; exit 42")
	m.Kubectl("rollout", "status", "deployment/web", "--timeout=60s")
	m.Kubectl("wait", "--for=condition=Ready", "pod/counter", "pod/ender", "--timeout=60s")
	before := containers(t, m)

	var mu sync.Mutex
	var acknowledged []string
	var writers sync.WaitGroup
	enough := make(chan struct{})
	for w := range 3 {
		writers.Go(func() {
			for i := 0; ; i++ {
				name := fmt.Sprintf("write-%d-%d", w, i)
				if r := m.Do("", "kubectl", "create", "configmap", name, "--from-literal=by="+name); r.Code != 0 {
					return // nau is dead
				}
				mu.Lock()
				acknowledged = append(acknowledged, name)
				if len(acknowledged) == 20 {
					close(enough)
				}
				mu.Unlock()
			}
		})
	}
	m.Kubectl("scale", "deployment/web", "--replicas=8")
	<-enough
	// It ends within the kill's reach: the shell sleeps 50 ms between its looks.
	m.Kubectl("exec", "ender", "--", "touch", "/tmp/end")
	m.Kill()
	writers.Wait()
	m.WaitNoProcess("while [ ! -e /tmp/end ]")
	started := time.Now()
	m.Up()
	t.Logf("nau up after kill -9: Ready in %v", time.Since(started).Round(time.Millisecond))

	have := strings.Fields(m.Kubectl("get", "configmaps", "-o", "jsonpath={.items[*].metadata.name}"))
	slices.Sort(have)
	for _, name := range acknowledged {
		if _, ok := slices.BinarySearch(have, name); !ok {
			t.Errorf("acknowledged write %s is gone", name)
		}
	}
	m.Kubectl("wait", "--for=jsonpath={.status.phase}=Failed", "pod/ender", "--timeout=30s")
	if code := m.Kubectl("get", "pod", "ender", "-o", "jsonpath={.status.containerStatuses[0].state.terminated.exitCode}"); code != "42" {
		t.Errorf("exit code of what ended meanwhile: %q, want 42", code)
	}
	if out := m.Kubectl("logs", "ender"); out != "last words\n" {
		t.Errorf("its log: %q", out)
	}
	m.Kubectl("rollout", "status", "deployment/web", "--timeout=60s")
	if ready := m.Kubectl("get", "deployment", "web", "-o", "jsonpath={.status.readyReplicas}"); ready != "8" {
		t.Errorf("replicas ready: %s, want 8", ready)
	}
	after := containers(t, m)
	for name, was := range before {
		if is := after[name]; name != "ender" && is != was {
			t.Errorf("container of %s was disturbed: %+v, before %+v", name, is, was)
		}
	}
	for name, is := range after {
		if is.Restarts != 0 {
			t.Errorf("container of %s was started again", name)
		}
	}
	lines := strings.Split(strings.TrimSpace(m.Kubectl("logs", "counter")), "\n")
	for i, line := range lines {
		if line != fmt.Sprint("line ", i+1) {
			t.Fatalf("log line %d is %q", i+1, line)
		}
	}
}

// After a reboot nothing of the node is there but its disk: pods come back by
// their restart policy.
func TestReboot(t *testing.T) {
	t.Parallel()
	m := harness.New(t)
	m.Registry()
	m.Up()
	m.Kubectl("create", "deployment", "web", "--image=nginx:alpine", "--replicas=2")
	m.Kubectl("expose", "deployment/web", "--port=80")
	m.Kubectl("run", "once", "--image=busybox", "--restart=Never", "--", "sleep", "1000")
	m.Kubectl("run", "done", "--image=busybox", "--restart=OnFailure", "--", "true")
	m.Kubectl("rollout", "status", "deployment/web", "--timeout=60s")
	m.Kubectl("wait", "--for=condition=Ready", "pod/once", "--timeout=60s")
	m.Kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/done", "--timeout=60s")
	before := containers(t, m)
	m.Reboot()
	m.Registry()
	m.Up()
	m.Kubectl("wait", "--for=jsonpath={.status.phase}=Failed", "pod/once", "--timeout=60s")
	m.Until(" 1 ", "kubectl", "get", "pods", "-l", "app=web", "--no-headers")
	m.Kubectl("wait", "--for=condition=Ready", "pod", "-l", "app=web", "--timeout=60s")
	after := containers(t, m)
	for name, was := range before {
		is := after[name]
		switch {
		case strings.HasPrefix(name, "web-"):
			if is.Restarts != 1 || is.ID == was.ID {
				t.Errorf("container of %s did not come back once: %+v, before %+v", name, is, was)
			}
		case is.Restarts != 0:
			t.Errorf("container of %s was started again against its policy", name)
		}
	}
	if phase := m.Kubectl("get", "pod", "done", "-o", "jsonpath={.status.phase}"); phase != "Succeeded" {
		t.Errorf("the pod that was done is %s", phase)
	}
	ip := m.Kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
	m.Answers("http://"+ip+"/", "nginx")
}

// Two instances with directories, ports and ranges of their own know nothing of
// each other.
func TestTwoInstances(t *testing.T) {
	t.Parallel()
	a := harness.New(t)
	a.Registry()
	b := a.Beside()
	a.Up()
	b.Up("--api-port", "7443", "--agent-port", "11250", "--registry-port", "5002", "--pod-cidr", "10.44.0.0/16", "--service-cidr", "10.45.0.0/16", "--node-name", "node-2")
	for name, m := range map[string]*harness.Machine{"a": a, "b": b} {
		m.Kubectl("create", "deployment", "web-"+name, "--image=nginx:alpine", "--replicas=2")
		m.Kubectl("expose", "deployment/web-"+name, "--port=80")
		m.Kubectl("rollout", "status", "deployment/web-"+name, "--timeout=60s")
		m.Answers("http://"+m.Kubectl("get", "service", "web-"+name, "-o", "jsonpath={.spec.clusterIP}")+"/", "nginx")
	}
	if out := b.Kubectl("get", "deployments", "-o", "name"); strings.TrimSpace(out) != "deployment.apps/web-b" {
		t.Errorf("the second instance has %s", out)
	}
	b.Down("--purge")
	ip := a.Kubectl("get", "service", "web-a", "-o", "jsonpath={.spec.clusterIP}")
	a.Answers("http://"+ip+"/", "nginx")
	a.Kubectl("scale", "deployment/web-a", "--replicas=3")
	a.Kubectl("rollout", "status", "deployment/web-a", "--timeout=60s")
}

// containers gives the state of every pod's first container.
func containers(t *testing.T, m *harness.Machine) map[string]containerState {
	t.Helper()
	out := map[string]containerState{}
	for _, name := range strings.Fields(m.Kubectl("get", "pods", "-o", "jsonpath={.items[*].metadata.name}")) {
		out[name] = podState(t, m, name)
	}
	return out
}
