package core

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestANodeRegistersWithItsStatus(t *testing.T) {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: corev1.NodeStatus{Capacity: corev1.ResourceList{"cpu": resource.MustParse("2")}}}
	DefaultNode(n)
	if f := node().Strategy.PrepareCreate; f != nil {
		f(n)
	}
	if n.Status.Capacity.Cpu().Value() != 2 || n.Status.Allocatable.Cpu().Value() != 2 {
		t.Errorf("capacity %v, allocatable %v", n.Status.Capacity, n.Status.Allocatable)
	}
	later := n.DeepCopy()
	later.Status = corev1.NodeStatus{}
	node().Strategy.PrepareUpdate(later, n)
	if later.Status.Capacity.Cpu().Value() != 2 {
		t.Error("an update of the node changed its status")
	}
}
