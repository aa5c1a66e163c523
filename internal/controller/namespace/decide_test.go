package namespace

import (
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func gvr(group, resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: group, Version: "v1", Resource: resource}
}

func TestConditions(t *testing.T) {
	tests := []struct {
		name  string
		state State
		done  bool
		want  []string // "Type=Status" and a part of the message
	}{
		{"nothing left", State{}, true, []string{"NamespaceContentRemaining=False: All content successfully removed", "NamespaceDeletionDiscoveryFailure=False"}},
		{"pods left", State{Found: []Found{{Resource: gvr("", "pods"), Count: 2}}}, false,
			[]string{"NamespaceContentRemaining=True: Some resources are remaining: pods. has 2 resource instances"}},
		{"a finalizer waits", State{Found: []Found{{Resource: gvr("apps", "deployments"), Count: 1, Finalizers: map[string]int{"x/y": 1}}}}, false,
			[]string{"NamespaceFinalizersRemaining=True: Some content in the namespace has finalizers remaining: x/y in 1 resource instances",
				"deployments.apps. has 1 resource instances"}},
		{"a group is down", State{DiscoveryErr: errors.New("metrics is down")}, false, []string{"NamespaceDeletionDiscoveryFailure=True: Discovery failed for some groups: metrics is down"}},
		{"deletion failed", State{Found: []Found{{Resource: gvr("", "secrets"), Err: errors.New("no")}}}, false, []string{"NamespaceDeletionContentFailure=True"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.state.Done() != tt.done {
				t.Errorf("done: %v", !tt.done)
			}
			var text []string
			for _, c := range Conditions(tt.state) {
				text = append(text, string(c.Type)+"="+string(c.Status)+": "+c.Message)
			}
			all := strings.Join(text, "\n")
			for _, want := range tt.want {
				if !strings.Contains(all, want) {
					t.Errorf("lacks %q:\n%s", want, all)
				}
			}
		})
	}
}

func TestMergeKeepsTransitionTimes(t *testing.T) {
	first, second := metav1.NewTime(time.Unix(1, 0)), metav1.NewTime(time.Unix(2, 0))
	at := func(now metav1.Time) func() corev1.NamespaceCondition {
		return func() corev1.NamespaceCondition { return corev1.NamespaceCondition{LastTransitionTime: now} }
	}
	conditions, changed := merge(nil, Conditions(State{}), at(first))
	if !changed {
		t.Fatal("the first conditions are no change")
	}
	if _, changed = merge(conditions, Conditions(State{}), at(second)); changed {
		t.Fatal("the same again is a change")
	}
	conditions, changed = merge(conditions, Conditions(State{Found: []Found{{Resource: gvr("", "pods"), Count: 1}}}), at(second))
	if !changed {
		t.Fatal("pods left is no change")
	}
	for _, c := range conditions {
		want := first
		if c.Type == corev1.NamespaceContentRemaining {
			want = second
		}
		if !c.LastTransitionTime.Equal(&want) {
			t.Errorf("%s: transition at %v, want %v", c.Type, c.LastTransitionTime, want)
		}
	}
}
