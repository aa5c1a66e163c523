package nodeagent

import (
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nau/internal/nodeagent/fakecri"
)

// sized is a pod whose only container requests and may use as much cpu.
func sized(name, cpu string) *corev1.Pod {
	p := pod(name, "c")
	l := corev1.ResourceList{"cpu": resource.MustParse(cpu), "memory": resource.MustParse("64Mi")}
	p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: l, Limits: l.DeepCopy()}
	return p
}

func (s *stage) resize(name, cpu string) {
	s.t.Helper()
	p, err := s.client.CoreV1().Pods("default").Get(s.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	p.Generation++
	p.Spec.Containers[0].Resources = sized(name, cpu).Spec.Containers[0].Resources
	if _, err := s.client.CoreV1().Pods("default").Update(s.t.Context(), p, metav1.UpdateOptions{}); err != nil {
		s.t.Fatal(err)
	}
}

// holds tells whether the status says that the container is granted, and has, this much cpu.
func holds(cpu string, pending string) func(*corev1.Pod) bool {
	want := resource.MustParse(cpu)
	return func(p *corev1.Pod) bool {
		if p == nil || p.Status.ObservedGeneration != p.Generation || len(p.Status.ContainerStatuses) != 1 {
			return false
		}
		reason := ""
		for _, c := range p.Status.Conditions {
			switch c.Type {
			case corev1.PodResizePending:
				reason = c.Reason
			case corev1.PodResizeInProgress:
				return false
			}
		}
		s := p.Status.ContainerStatuses[0]
		granted, limit := s.AllocatedResources[corev1.ResourceCPU], s.Resources.Limits[corev1.ResourceCPU]
		return reason == pending && granted.Cmp(want) == 0 && limit.Cmp(want) == 0 && s.State.Running != nil
	}
}

func TestResizeInPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, fakecri.Options{})
		s.create(sized("a", "100m"))
		before := s.await("a", "running", 0, holds("100m", ""))
		s.resize("a", "300m")
		after := s.await("a", "larger", 0, holds("300m", ""))
		if is, was := after.Status.ContainerStatuses[0], before.Status.ContainerStatuses[0]; is.ContainerID != was.ContainerID || is.RestartCount != 0 {
			t.Errorf("the container was restarted: %+v", is)
		}
		st := s.agent.readContainer(t.Context(), after.Status.ContainerStatuses[0].ContainerID[len("fake://"):])
		if st.Resources.CpuQuota != 30000 {
			t.Errorf("the runtime has %+v", st.Resources)
		}
		// Another life of the agent neither takes nor gives anything.
		s.stop()
		s.start()
		s.resize("a", "200m")
		s.await("a", "smaller", 0, holds("200m", ""))
	})
}

func TestResizeByRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, fakecri.Options{})
		p := sized("a", "100m")
		p.Spec.Containers[0].ResizePolicy = []corev1.ContainerResizePolicy{{ResourceName: corev1.ResourceCPU, RestartPolicy: corev1.RestartContainer}}
		s.create(p)
		s.await("a", "running", 0, holds("100m", ""))
		s.resize("a", "300m")
		after := s.await("a", "larger", 10*time.Millisecond, holds("300m", ""))
		if is := after.Status.ContainerStatuses[0]; is.RestartCount != 1 {
			t.Errorf("restarts: %d, want 1", is.RestartCount)
		}
	})
}

// The node has 4 CPUs.
func TestResizeWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, fakecri.Options{})
		s.create(sized("a", "1"))
		s.create(sized("b", "2"))
		s.await("a", "running", 0, holds("1", ""))
		s.await("b", "running", 0, holds("2", ""))
		s.resize("a", "5")
		s.await("a", "refused", 0, holds("1", corev1.PodReasonInfeasible))
		s.resize("a", "3")
		s.await("a", "waiting", 0, holds("1", corev1.PodReasonDeferred))
		// What was not granted is not held by the next life of the agent either.
		s.stop()
		s.start()
		s.await("a", "still waiting", 0, holds("1", corev1.PodReasonDeferred))
		s.resize("b", "1")
		s.await("b", "smaller", 0, holds("1", ""))
		s.await("a", "larger", 0, holds("3", ""))
	})
}
