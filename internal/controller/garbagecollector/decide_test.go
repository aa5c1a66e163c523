package garbagecollector

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

func ref(uid string, blocking ...bool) metav1.OwnerReference {
	r := metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: uid, UID: types.UID(uid)}
	if len(blocking) > 0 {
		r.BlockOwnerDeletion = &blocking[0]
	}
	return r
}

func object(uid string, refs ...metav1.OwnerReference) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: uid, UID: types.UID(uid), OwnerReferences: refs},
	}
}

func deletingWith(o *metav1.PartialObjectMetadata, finalizer string) *metav1.PartialObjectMetadata {
	o.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
	o.Finalizers = []string{finalizer}
	return o
}

func TestJudge(t *testing.T) {
	a, b := ref("a"), ref("b")
	busy, waiting := &node{uid: "d"}, &node{uid: "d", foreground: true}
	for _, c := range []struct {
		name       string
		refs       []metav1.OwnerReference
		owners     []owner
		finalizer  string
		dependents []*node
		want       string
	}{
		{"no owner", nil, nil, "", nil, "[] false "},
		{"an owner", []metav1.OwnerReference{a}, []owner{solid}, "", nil, "[] false "},
		{"owner gone", []metav1.OwnerReference{a}, []owner{absent}, "", nil, "[] false Background"},
		{"one of two gone", []metav1.OwnerReference{a, b}, []owner{absent, solid}, "", nil, "[a] false "},
		{"one leaving, one stays", []metav1.OwnerReference{a, b}, []owner{leaving, solid}, "", nil, "[a] false "},
		{"both gone", []metav1.OwnerReference{a, b}, []owner{absent, absent}, "", nil, "[] false Background"},
		{"owner not to be found out", []metav1.OwnerReference{a, b}, []owner{absent, unknown}, "", nil, "[a] false "},
		{"owner leaving", []metav1.OwnerReference{a}, []owner{leaving}, "", nil, "[] false Background"},
		{"owner leaving, dependents", []metav1.OwnerReference{a}, []owner{leaving}, "", []*node{busy}, "[] false Foreground"},
		{"a circle", []metav1.OwnerReference{a}, []owner{leaving}, "", []*node{waiting}, "[] true Foreground"},
		{"asked to orphan", []metav1.OwnerReference{a}, []owner{absent}, metav1.FinalizerOrphanDependents, nil, "[] false Orphan"},
		{"asked to wait", []metav1.OwnerReference{a}, []owner{absent}, metav1.FinalizerDeleteDependents, nil, "[] false Foreground"},
	} {
		o := object("x", c.refs...)
		if c.finalizer != "" {
			o.Finalizers = []string{c.finalizer}
		}
		v := judge(o, c.owners, c.dependents)
		if got := fmt.Sprintf("%v %v %s", v.unhook, v.unblock, v.remove); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestGraph(t *testing.T) {
	g := newGraph()
	see := func(o *metav1.PartialObjectMetadata) string {
		return listed(g.observe(nodeOf(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}, schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, o)))
	}
	check := func(step, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %s, want %s", step, got, want)
		}
	}
	check("dependent before owner", see(object("child", ref("owner", true))), "[] []")
	check("owner", see(object("owner")), "[] []")
	check("stray", see(object("stray", ref("nobody"))), "[] []")
	check("settle", listed(g.settle()), "[stray] []")
	check("late stray", see(object("late", ref("nobody"))), "[late] []")
	check("late stray again", see(object("late", ref("nobody"))), "[] []")
	check("second child", see(object("other", ref("owner"))), "[] []")
	check("foreground", see(deletingWith(object("owner"), metav1.FinalizerDeleteDependents)), "[child other owner] []")
	if n := len(held("owner", g.of("owner"))); n != 1 {
		t.Errorf("%d hold the owner", n)
	}
	check("unblocks", see(object("child", ref("owner", false))), "[owner] []")
	check("lets go", see(object("child")), "[] []")
	check("child gone", listed(g.forget("other")), "[owner] []")
	check("owner gone", listed(g.forget("owner")), "[] []")
	check("orphans", see(deletingWith(object("p"), metav1.FinalizerOrphanDependents)), "[] [p]")
	check("q", see(object("q", ref("p"))), "[] []")
	check("p gone", listed(g.forget("p")), "[q] []")
	if len(g.dependents["p"]) != 1 || len(g.dependents) != 2 {
		t.Errorf("dependents: %v", g.dependents)
	}
}

func listed(t todo) string {
	list := func(uids []types.UID) string {
		var out []string
		for _, u := range uids {
			if !slices.Contains(out, string(u)) {
				out = append(out, string(u))
			}
		}
		slices.Sort(out)
		return "[" + strings.Join(out, " ") + "]"
	}
	return list(t.remove) + " " + list(t.orphan)
}
