package admission

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	testclock "k8s.io/utils/clock/testing"

	"nau/internal/apiserver/identity"
)

func TestEventRateLimit(t *testing.T) {
	clock := testclock.NewFakeClock(time.Unix(1e9, 0))
	l := NewEventRateLimit(clock)
	write := func(user *identity.User, group, namespace string, size int) error {
		return l.Validate(t.Context(), &Request{Operation: Create, User: user, Namespace: namespace,
			Resource: schema.GroupVersionResource{Group: group, Version: "v1", Resource: "events"}, Object: &corev1.Event{Message: strings.Repeat("x", size)}})
	}
	// passed counts how many of n are let through; the rest is refused in the way that clients know.
	passed := func(n int, user *identity.User, namespace string, size int) (ok int) {
		for i := range n {
			switch err := write(user, []string{"", "events.k8s.io"}[i%2], namespace, size); {
			case err == nil:
				ok++
			case !apierrors.IsTooManyRequests(err):
				t.Fatal(err)
			}
		}
		return ok
	}
	eve, bob := &identity.User{Name: "eve"}, &identity.User{Name: "bob"}
	node := &identity.User{Name: "system:node:a", Groups: []string{identity.Nodes}}
	if n := passed(600, eve, "red", 10); n != 500 {
		t.Errorf("%d of a user's burst, want 500", n)
	}
	if err := write(eve, "", "red", 10); err == nil || !strings.Contains(err.Error(), "limit reached on type User for key eve") {
		t.Errorf("the refusal: %v", err)
	}
	clock.Step(2 * time.Second)
	if n := passed(600, eve, "red", 10); n != 10 {
		t.Errorf("%d in two seconds, want 10", n)
	}
	if n := passed(1000, bob, "blue", 99<<10); n != 5 {
		t.Errorf("%d events of 99 KiB, want 5", n)
	}
	if n := passed(6000, node, "red", 10); n != 6000 {
		t.Errorf("%d of a node's, want all", n)
	}
	if n := passed(600, &identity.User{Name: "carl"}, "red", 10) + passed(600, &identity.User{Name: "dora"}, "red", 10); n != 1000-510+20 {
		t.Errorf("%d more in a namespace, want 510", n)
	}
	all := 0
	for i := range 20 {
		all += passed(500, &identity.User{Name: fmt.Sprint("u", i)}, fmt.Sprint("n", i), 10)
	}
	if all < 3000 || all > 5000 {
		t.Errorf("%d more in all namespaces", all)
	}
	if err := l.Validate(t.Context(), &Request{Operation: Create, User: eve, Namespace: "red", Resource: schema.GroupVersionResource{Version: "v1", Resource: "pods"}, Object: &corev1.Pod{}}); err != nil {
		t.Errorf("a pod is no event: %v", err)
	}
	// Buckets are forgotten when they are full again.
	clock.Step(time.Hour)
	for i := range 3 * fullBuckets {
		if err := write(&identity.User{Name: fmt.Sprint("x", i)}, "", "red", 10); err != nil {
			clock.Step(time.Hour)
		}
	}
	if n := len(l.buckets); n > 2*fullBuckets {
		t.Errorf("%d buckets", n)
	}
}
