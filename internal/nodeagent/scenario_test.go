package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clientgotesting "k8s.io/client-go/testing"

	"nau/internal/nodeagent/fakecri"
)

// stage is an agent over a fake runtime and a fake API server, in a bubble whose time goes on when all wait for it.
type stage struct {
	t       *testing.T
	runtime *fakecri.Runtime
	client  *fake.Clientset
	agent   *Agent
	stop    func()

	mu     sync.Mutex
	events []string
	rv     int
}

type recorder struct{ s *stage }

func (r recorder) Event(_ runtime.Object, kind, reason, message string) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.s.events = append(r.s.events, reason+": "+message)
}
func (r recorder) Eventf(o runtime.Object, kind, reason, format string, args ...any) {
	r.Event(o, kind, reason, fmt.Sprintf(format, args...))
}
func (r recorder) AnnotatedEventf(o runtime.Object, _ map[string]string, kind, reason, format string, args ...any) {
	r.Eventf(o, kind, reason, format, args...)
}

func newStage(t *testing.T, opts fakecri.Options, objects ...runtime.Object) *stage {
	t.Helper()
	s := &stage{t: t}
	s.runtime = fakecri.New(opts)
	s.client = fake.NewClientset(objects...)
	s.versions()
	s.start()
	return s
}

// versions gives objects resource versions that grow, which the fake clientset does not.
func (s *stage) versions() {
	bump := func(o runtime.Object) {
		if m, ok := o.(metav1.Object); ok {
			s.mu.Lock()
			s.rv++
			m.SetResourceVersion(fmt.Sprint(s.rv))
			s.mu.Unlock()
		}
	}
	s.client.PrependReactor("create", "*", func(a clientgotesting.Action) (bool, runtime.Object, error) {
		bump(a.(clientgotesting.CreateAction).GetObject())
		return false, nil, nil
	})
	s.client.PrependReactor("update", "*", func(a clientgotesting.Action) (bool, runtime.Object, error) {
		o := a.(clientgotesting.UpdateAction).GetObject()
		if m, ok := o.(metav1.Object); ok && m.GetResourceVersion() != "" {
			now, err := s.client.Tracker().Get(a.GetResource(), a.GetNamespace(), m.GetName())
			if err == nil && now.(metav1.Object).GetResourceVersion() != m.GetResourceVersion() {
				return true, nil, apierrors.NewConflict(a.GetResource().GroupResource(), m.GetName(), errors.New("somebody else was first"))
			}
		}
		bump(o)
		return false, nil, nil
	})
}

func (s *stage) start() {
	s.t.Helper()
	a, err := New(Config{NodeName: "n1", NodeIPs: []net.IP{net.ParseIP("192.0.2.1")}, Client: s.client, Runtime: s.runtime, Images: s.runtime, Listen: "-", Simulated: true,
		Capacity: corev1.ResourceList{"cpu": resource.MustParse("4"), "memory": resource.MustParse("8Gi")}, Recorder: recorder{s},
		Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		s.t.Fatal(err)
	}
	s.agent = a
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = a.Run(ctx) }()
	var once sync.Once
	s.stop = func() { once.Do(func() { cancel(); <-done }) }
	s.t.Cleanup(s.stop)
	select {
	case <-a.ready:
	case <-time.After(10 * time.Second):
		s.t.Fatal("the agent is not ready")
	}
}

func (s *stage) create(p *corev1.Pod) *corev1.Pod {
	s.t.Helper()
	p.Namespace, p.UID, p.Spec.NodeName = "default", types.UID("uid-"+p.Name), "n1"
	p.Generation = 1
	got, err := s.client.CoreV1().Pods("default").Create(s.t.Context(), p, metav1.CreateOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	return got
}

// await waits until the pod satisfies f. While it does not, and nothing goes on, time passes: by step, or by a millisecond.
func (s *stage) await(name, what string, step time.Duration, f func(*corev1.Pod) bool) *corev1.Pod {
	s.t.Helper()
	var last *corev1.Pod
	for range 2000 {
		synctest.Wait()
		p, err := s.client.CoreV1().Pods("default").Get(s.t.Context(), name, metav1.GetOptions{})
		if err != nil {
			p = nil
		}
		if f(p) {
			return p
		}
		last = p
		time.Sleep(max(step, time.Millisecond))
	}
	var status any
	if last != nil {
		status = last.Status
	}
	s.t.Fatalf("pod %s never was %s; status %+v\nevents:\n%s", name, what, status, strings.Join(s.log(), "\n"))
	return nil
}

func (s *stage) log() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.events...)
}

func (s *stage) saw(event string) bool {
	for _, e := range s.log() {
		if strings.HasPrefix(e, event) {
			return true
		}
	}
	return false
}

func ready(p *corev1.Pod) bool {
	if p == nil {
		return false
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func phase(want corev1.PodPhase) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool { return p != nil && p.Status.Phase == want }
}

func gone(p *corev1.Pod) bool { return p == nil }

func pod(name string, containers ...string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyAlways}}
	for _, c := range containers {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: c, Image: "busybox:1", ImagePullPolicy: corev1.PullIfNotPresent})
	}
	return p
}

func (s *stage) delete(name string, grace int64) {
	s.t.Helper()
	p, err := s.client.CoreV1().Pods("default").Get(s.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	now := metav1.Now()
	p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &now, &grace
	if _, err := s.client.CoreV1().Pods("default").Update(s.t.Context(), p, metav1.UpdateOptions{}); err != nil {
		s.t.Fatal(err)
	}
}

func TestPodRunsAndGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, fakecri.Options{})
		s.create(pod("a", "one", "two"))
		p := s.await("a", "ready", 0, ready)
		if p.Status.Phase != corev1.PodRunning || p.Status.PodIP == "" || p.Status.HostIP != "192.0.2.1" || p.Status.StartTime == nil || len(p.Status.ContainerStatuses) != 2 ||
			p.Status.QOSClass != corev1.PodQOSBestEffort || !strings.HasPrefix(p.Status.ContainerStatuses[0].ContainerID, "fake://") {
			t.Errorf("status %+v", p.Status)
		}
		for _, e := range []string{"Pulled: Container image", "Created: Container created", "Started: Container started"} {
			if !s.saw(e) {
				t.Errorf("no event %q in %q", e, s.log())
			}
		}
		s.delete("a", 5)
		s.await("a", "gone", 10*time.Millisecond, gone)
		if !s.saw("Killing: Stopping container one") {
			t.Errorf("events %q", s.log())
		}
		synctest.Wait()
		if b, c := s.runtime.Count(); b+c != 0 {
			t.Fatal("records were left in the runtime")
		}
	})
}

func TestCrashLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s *stage
		s = newStage(t, fakecri.Options{Started: func(id string, _ *runtimeConfig) { go s.runtime.Exit(id, 3, "", "") }})
		s.create(pod("a", "c"))
		p := s.await("a", "in back-off", 0, func(p *corev1.Pod) bool {
			return p != nil && len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].State.Waiting != nil && p.Status.ContainerStatuses[0].State.Waiting.Reason == "CrashLoopBackOff"
		})
		c := p.Status.ContainerStatuses[0]
		if c.RestartCount != 1 || c.LastTerminationState.Terminated == nil || c.LastTerminationState.Terminated.ExitCode != 3 || p.Status.Phase != corev1.PodRunning ||
			!strings.HasPrefix(c.State.Waiting.Message, "back-off 10s restarting failed container=c pod=a_default(uid-a)") {
			t.Errorf("status %+v", c)
		}
		if !s.saw("BackOff: Back-off restarting failed container c in pod a_default(uid-a)") {
			t.Errorf("events %q", s.log())
		}
		time.Sleep(9 * time.Second)
		s.await("a", "restarted again", time.Second, func(p *corev1.Pod) bool { return p.Status.ContainerStatuses[0].RestartCount == 2 })
	})
}

func TestInitContainersAndSidecars(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		always := corev1.ContainerRestartPolicyAlways
		var s *stage
		var order []string
		var mu sync.Mutex
		s = newStage(t, fakecri.Options{Started: func(id string, c *runtimeConfig) {
			mu.Lock()
			order = append(order, c.Metadata.Name)
			mu.Unlock()
			if strings.HasPrefix(c.Metadata.Name, "init") || c.Metadata.Name == "main" {
				go s.runtime.Exit(id, 0, "", "")
			}
		}})
		p := pod("a", "main")
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		p.Spec.InitContainers = []corev1.Container{{Name: "init1", Image: "i"}, {Name: "side", Image: "i", RestartPolicy: &always}, {Name: "init2", Image: "i"}}
		s.create(p)
		got := s.await("a", "succeeded", 10*time.Millisecond, phase(corev1.PodSucceeded))
		mu.Lock()
		defer mu.Unlock()
		if fmt.Sprint(order) != "[init1 side init2 main]" {
			t.Errorf("order %v", order)
		}
		if got.Status.InitContainerStatuses[1].State.Terminated == nil {
			t.Errorf("the sidecar still runs: %+v", got.Status.InitContainerStatuses[1].State)
		}
		for _, c := range got.Status.Conditions {
			if c.Type == corev1.PodReady && (c.Status != corev1.ConditionFalse || c.Reason != "PodCompleted") {
				t.Errorf("condition %+v", c)
			}
		}
	})
}

func TestAdmissionRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, fakecri.Options{})
		p := pod("a", "c")
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{"cpu": resource.MustParse("5")}
		s.create(p)
		got := s.await("a", "failed", 10*time.Millisecond, phase(corev1.PodFailed))
		if got.Status.Reason != "OutOfcpu" || got.Status.Message != "Pod was rejected: Node didn't have enough resource: cpu, requested: 5000, used: 0, capacity: 4000" {
			t.Errorf("status %q %q", got.Status.Reason, got.Status.Message)
		}
		if n := len(got.Status.ContainerStatuses); n != 0 {
			t.Errorf("%d statuses of containers that never were, the first %+v", n, got.Status.ContainerStatuses[0].State)
		}
	})
}

func TestImageErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, fakecri.Options{Images: map[string]*runtimeImage{}})
		s.create(pod("a", "c"))
		waits := func(reason string) func(*corev1.Pod) bool {
			return func(p *corev1.Pod) bool {
				return p != nil && len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].State.Waiting != nil && p.Status.ContainerStatuses[0].State.Waiting.Reason == reason
			}
		}
		s.await("a", "failing", 0, waits("ErrImagePull"))
		p := s.await("a", "backing off", 100*time.Millisecond, waits("ImagePullBackOff"))
		if m := p.Status.ContainerStatuses[0].State.Waiting.Message; !strings.HasPrefix(m, `Back-off pulling image "busybox:1": ErrImagePull: `) {
			t.Errorf("message %q", m)
		}
		for _, e := range []string{`Pulling: Pulling image "busybox:1"`, `Failed: Failed to pull image "busybox:1": `, "Failed: Error: ErrImagePull", `BackOff: Back-off pulling image "busybox:1"`} {
			if !s.saw(e) {
				t.Errorf("no event %q in %q", e, s.log())
			}
		}
	})
}

func TestRestartOfTheAgentTouchesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, fakecri.Options{})
		s.create(pod("a", "c"))
		before := s.await("a", "ready", 0, ready)
		s.stop()
		starts, stops := s.runtime.Calls("StartContainer"), s.runtime.Calls("StopContainer")
		s.start()
		s.runtime.Exit(s.runtime.Find("a", "c"), 1, "", "")
		s.await("a", "restarted", 0, func(p *corev1.Pod) bool { return p.Status.ContainerStatuses[0].RestartCount == 1 && ready(p) })
		if got := s.runtime.Calls("StartContainer") - starts; got != 1 {
			t.Errorf("%d starts after the agent came back, want the one after the exit", got)
		}
		if got := s.runtime.Calls("StopContainer") - stops; got != 0 {
			t.Errorf("%d stops after the agent came back", got)
		}
		if before.Status.PodIP == "" {
			t.Error("no pod IP")
		}
	})
}

func TestSandboxDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, fakecri.Options{})
		s.create(pod("a", "c"))
		first := s.await("a", "ready", 0, ready)
		for _, id := range s.sandboxes() {
			s.runtime.KillSandbox(id)
		}
		s.await("a", "ready in a new sandbox", time.Second, func(p *corev1.Pod) bool {
			return ready(p) && p.Status.PodIP != first.Status.PodIP && p.Status.ContainerStatuses[0].RestartCount == 1
		})
	})
}

func (s *stage) sandboxes() []string {
	var out []string
	for _, p := range s.agent.Pods() {
		for _, b := range s.agent.worker(string(p.UID)).observed().Sandboxes {
			out = append(out, b.ID)
		}
	}
	return out
}

func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, fakecri.Options{})
		p := pod("a", "c")
		ten := int64(10)
		p.Spec.ActiveDeadlineSeconds = &ten
		s.create(p)
		s.await("a", "ready", 0, ready)
		got := s.await("a", "failed", time.Second, phase(corev1.PodFailed))
		if got.Status.Reason != "DeadlineExceeded" {
			t.Errorf("reason %q", got.Status.Reason)
		}
	})
}

func TestLivenessRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		bad := false
		s := newStage(t, fakecri.Options{Exec: func(_ *runtimeConfig, cmd []string) ([]byte, int32, error) {
			mu.Lock()
			defer mu.Unlock()
			if bad && cmd[0] == "live" {
				return []byte("no life"), 1, nil
			}
			return nil, 0, nil
		}})
		p := pod("a", "c")
		p.Spec.Containers[0].LivenessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"live"}}}, PeriodSeconds: 1, FailureThreshold: 2, TimeoutSeconds: 1}
		p.Spec.Containers[0].ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"ready"}}}, PeriodSeconds: 1, TimeoutSeconds: 1}
		s.create(p)
		s.await("a", "ready", 100*time.Millisecond, ready)
		mu.Lock()
		bad = true
		mu.Unlock()
		s.await("a", "restarted", 100*time.Millisecond, func(p *corev1.Pod) bool {
			mu.Lock()
			defer mu.Unlock()
			if p.Status.ContainerStatuses[0].RestartCount == 0 {
				return false
			}
			bad = false
			return true
		})
		if !s.saw("Killing: Container c failed liveness probe, will be restarted") || !s.saw("Unhealthy: Liveness probe failed: no life") {
			t.Errorf("events %q", s.log())
		}
	})
}

// TestReadinessDuringAStop holds that a container's readiness is told while another one takes its time to stop.
func TestReadinessDuringAStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dead, unready atomic.Bool
		hold := make(chan struct{})
		t.Cleanup(func() { close(hold) })
		s := newStage(t, fakecri.Options{
			Exec: func(_ *runtimeConfig, cmd []string) ([]byte, int32, error) {
				if dead.Load() && cmd[0] == "live" || unready.Load() && cmd[0] == "ready" {
					return nil, 1, nil
				}
				return nil, 0, nil
			},
			Fail: func(op, _ string) error {
				if op == "StopContainer" {
					<-hold
				}
				return nil
			}})
		probe := func(what string) *corev1.Probe {
			return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{what}}}, PeriodSeconds: 1, FailureThreshold: 1, TimeoutSeconds: 1}
		}
		p := pod("a", "slow", "served")
		p.Spec.Containers[0].LivenessProbe = probe("live")
		p.Spec.Containers[1].ReadinessProbe = probe("ready")
		s.create(p)
		s.await("a", "ready", 100*time.Millisecond, ready)
		dead.Store(true)
		s.await("a", "stopping slow", 100*time.Millisecond, func(*corev1.Pod) bool { return s.saw("Killing: Container slow") })
		unready.Store(true)
		got := s.await("a", "unready", 100*time.Millisecond, func(p *corev1.Pod) bool { return !ready(p) })
		for _, c := range got.Status.ContainerStatuses {
			if c.Ready != (c.Name == "slow") {
				t.Errorf("container %s: ready %v", c.Name, c.Ready)
			}
		}
		unready.Store(false)
		s.await("a", "ready again", 100*time.Millisecond, ready)
	})
}

func TestConfigErrorHeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, fakecri.Options{})
		p := pod("a", "c")
		p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "X", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}, Key: "k"}}}}
		s.create(p)
		got := s.await("a", "waiting", 0, func(p *corev1.Pod) bool {
			return p != nil && len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].State.Waiting != nil && p.Status.ContainerStatuses[0].State.Waiting.Reason == "CreateContainerConfigError"
		})
		if m := got.Status.ContainerStatuses[0].State.Waiting.Message; m != `configmaps "cm" not found` && m != `configmap "cm" not found` {
			t.Errorf("message %q", m)
		}
		if _, err := s.client.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "cm", Namespace: "default"}, Data: map[string]string{"k": "v"}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		s.await("a", "ready", 0, ready)
		if env := s.runtime.Config(s.runtime.Find("a", "c")).Envs; len(env) != 1 || string(env[0].Value) != "v" {
			t.Errorf("environment %v", env)
		}
	})
}

func TestShorterGraceCutsAHookShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, fakecri.Options{})
		p := pod("a", "c")
		p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 3600}}}
		s.create(p)
		s.await("a", "ready", 0, ready)
		s.delete("a", 3600)
		s.await("a", "being killed", 0, func(*corev1.Pod) bool { return s.saw("Killing: Stopping container c") })
		s.delete("a", 1)
		s.await("a", "gone", 0, gone)
	})
}

func TestForcedDeletionKills(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, fakecri.Options{})
		s.create(pod("a", "c"))
		s.await("a", "ready", 0, ready)
		if err := s.client.CoreV1().Pods("default").Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		s.await("a", "erased", 0, func(*corev1.Pod) bool { b, c := s.runtime.Count(); return b == 0 && c == 0 })
	})
}

func TestOrphansAreReaped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, fakecri.Options{})
		s.create(pod("a", "c"))
		s.await("a", "ready", 0, ready)
		s.stop()
		if err := s.client.CoreV1().Pods("default").Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		s.start()
		s.await("a", "reaped", 0, func(*corev1.Pod) bool { b, c := s.runtime.Count(); return b == 0 && c == 0 })
	})
}

func TestRuntimeRestartIsSurvived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, fakecri.Options{})
		s.create(pod("a", "c"))
		s.await("a", "ready", 0, ready)
		s.runtime.BreakEvents()
		s.runtime.Exit(s.runtime.Find("a", "c"), 1, "", "") // nobody hears it: the next full look has to see it
		s.await("a", "restarted", 10*time.Millisecond, func(p *corev1.Pod) bool { return p.Status.ContainerStatuses[0].RestartCount == 1 && ready(p) })
	})
}

func TestALifeIsTwoStatusWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, fakecri.Options{})
		s.create(pod("a", "one", "two", "three"))
		s.await("a", "ready", 0, ready)
		s.delete("a", 5)
		s.await("a", "gone", 0, gone)
		if writes := s.statusWrites(); len(writes) != 2 {
			t.Errorf("%d status writes, want one when it runs and one when it has ended: %q", len(writes), writes)
		}
	})
}

// statusWrites are the verbs by which statuses of pods were written.
func (s *stage) statusWrites() (out []string) {
	for _, x := range s.client.Actions() {
		if x.GetSubresource() == "status" && x.GetResource().Resource == "pods" {
			out = append(out, x.GetVerb())
		}
	}
	return out
}

func TestAStatusOfAnOldVersionIsPatchedIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, fakecri.Options{})
		var once sync.Once
		s.client.Lock() // the agent runs already
		s.client.PrependReactor("update", "pods", func(a clientgotesting.Action) (bool, runtime.Object, error) {
			if a.GetSubresource() == "status" {
				once.Do(func() { // somebody else writes a condition in between
					now, err := s.client.Tracker().Get(a.GetResource(), a.GetNamespace(), "a")
					if err != nil {
						t.Error(err)
						return
					}
					p := now.(*corev1.Pod).DeepCopy()
					p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: "example.com/gate", Status: corev1.ConditionTrue})
					p.ResourceVersion += "0"
					if err := s.client.Tracker().Update(a.GetResource(), p, a.GetNamespace()); err != nil {
						t.Error(err)
					}
				})
			}
			return false, nil, nil
		})
		s.client.Unlock()
		s.create(pod("a", "c"))
		p := s.await("a", "ready", 0, ready)
		if len(p.Status.Conditions) == 0 || !slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == "example.com/gate" }) {
			t.Errorf("conditions %v", p.Status.Conditions)
		}
		if writes := s.statusWrites(); len(writes) < 2 || writes[0] != "update" || writes[1] != "patch" {
			t.Errorf("writes %q, want an update that is refused and a patch", writes)
		}
	})
}

// A runtime that sends events is never listed again; one that has none is listed each second, and what happens in it is seen then.
func TestRuntimesAreListedOnlyWhereTheySendNoEvents(t *testing.T) {
	const hour = time.Hour / time.Second
	for _, c := range []struct {
		name   string
		events bool
		lists  int // in an hour without anything happening
	}{{"events", true, 0}, {"no events", false, int(hour)}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, fakecri.Options{Fail: func(op, _ string) error {
					if op == "GetContainerEvents" && !c.events {
						return status.Error(codes.Unimplemented, "unknown method GetContainerEvents")
					}
					return nil
				}})
				s.create(pod("a", "c"))
				s.await("a", "ready", 0, ready)
				before := s.runtime.Calls("ListContainers")
				time.Sleep(time.Hour)
				synctest.Wait()
				if n := s.runtime.Calls("ListContainers") - before; n < c.lists-1 || n > c.lists {
					t.Errorf("%d lists in an hour, want %d", n, c.lists)
				}
				s.runtime.Exit(s.runtime.Find("a", "c"), 1, "", "")
				ended := time.Now()
				s.await("a", "restarted", 0, func(p *corev1.Pod) bool { return p.Status.ContainerStatuses[0].RestartCount == 1 && ready(p) })
				if d := time.Since(ended); d > lookPeriod+100*time.Millisecond {
					t.Errorf("the end was seen after %v", d)
				}
			})
		})
	}
}
