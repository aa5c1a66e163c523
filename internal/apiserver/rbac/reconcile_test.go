package rbac

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clientgotesting "k8s.io/client-go/testing"
)

func writes(c *fake.Clientset) (out []string) {
	for _, a := range c.Actions() {
		if a.GetVerb() != "list" {
			out = append(out, a.GetVerb()+" "+a.GetResource().Resource)
		}
	}
	c.ClearActions()
	return out
}

func TestReconcile(t *testing.T) {
	ctx, c, p := t.Context(), fake.NewClientset(), Default()
	if err := Reconcile(ctx, c, p); err != nil {
		t.Fatal(err)
	}
	if n := len(writes(c)); n < len(p.ClusterRoles)+len(p.ClusterRoleBindings)+len(p.Roles)+len(p.RoleBindings) {
		t.Errorf("first start: %d writes", n)
	}
	if err := Reconcile(ctx, c, Default()); err != nil {
		t.Fatal(err)
	}
	if w := writes(c); len(w) != 0 {
		t.Errorf("second start writes %v", w)
	}

	roles, bindings := c.RbacV1().ClusterRoles(), c.RbacV1().ClusterRoleBindings()
	more, _ := roles.Get(ctx, "system:discovery", metav1.GetOptions{})
	more.Rules = []rbacv1.PolicyRule{paths("/mine", "get")}
	roles.Update(ctx, more, metav1.UpdateOptions{})
	off, _ := roles.Get(ctx, "system:basic-user", metav1.GetOptions{})
	off.Rules, off.Annotations[autoUpdate] = nil, "false"
	roles.Update(ctx, off, metav1.UpdateOptions{})
	roles.Delete(ctx, "system:kube-dns", metav1.DeleteOptions{})
	moved, _ := bindings.Get(ctx, "system:discovery", metav1.GetOptions{})
	moved.RoleRef.Name = "cluster-admin"
	bindings.Update(ctx, moved, metav1.UpdateOptions{})
	lost, _ := bindings.Get(ctx, "system:basic-user", metav1.GetOptions{})
	lost.Subjects = []rbacv1.Subject{user("extra")}
	bindings.Update(ctx, lost, metav1.UpdateOptions{})
	writes(c)

	if err := Reconcile(ctx, c, Default()); err != nil {
		t.Fatal(err)
	}
	w := writes(c)
	slices.Sort(w)
	if !slices.Equal(w, []string{"create clusterrolebindings", "create clusterroles", "delete clusterrolebindings", "update clusterrolebindings", "update clusterroles"}) {
		t.Errorf("repair writes %v", w)
	}
	if r, _ := roles.Get(ctx, "system:discovery", metav1.GetOptions{}); len(r.Rules) < 2 || r.Rules[0].NonResourceURLs[0] != "/mine" {
		t.Errorf("repair: %+v", r.Rules)
	}
	if r, _ := roles.Get(ctx, "system:basic-user", metav1.GetOptions{}); len(r.Rules) != 0 {
		t.Errorf("a protected role was changed: %+v", r.Rules)
	}
	if b, _ := bindings.Get(ctx, "system:discovery", metav1.GetOptions{}); b.RoleRef.Name != "system:discovery" {
		t.Errorf("role of the binding: %+v", b.RoleRef)
	}
	if b, _ := bindings.Get(ctx, "system:basic-user", metav1.GetOptions{}); len(b.Subjects) != 2 {
		t.Errorf("subjects: %+v", b.Subjects)
	}
}

func TestReconcileMakesNamespaces(t *testing.T) {
	c := fake.NewClientset()
	c.PrependReactor("create", "roles", func(a clientgotesting.Action) (bool, runtime.Object, error) {
		_, err := c.Tracker().Get(corev1.SchemeGroupVersion.WithResource("namespaces"), "", a.GetNamespace())
		return err != nil, nil, err
	})
	if err := Reconcile(t.Context(), c, Default()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CoreV1().Namespaces().Get(t.Context(), "kube-public", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
}

func TestGather(t *testing.T) {
	label := func(name string, l map[string]string, rs ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
		return &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: l}, Rules: rs}
	}
	a, b := on("core", "pods", "get"), on("core", "nodes", "get")
	role := label("all", map[string]string{"x": "1"}, on("core", "old", "get"))
	role.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{
		{MatchLabels: map[string]string{"x": "1"}}, {MatchLabels: map[string]string{"y": "1"}}, {MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "z", Operator: "Maybe"}}}}}
	got, err := gather(role, []*rbacv1.ClusterRole{label("n2", map[string]string{"y": "1"}, b, a), role, label("n1", map[string]string{"x": "1"}, a), label("n3", nil, on("*", "*", "*"))})
	if err == nil || len(got) != 2 || got[0].Resources[0] != "pods" || got[1].Resources[0] != "nodes" {
		t.Errorf("%v %v", got, err)
	}
}

func TestAggregationFollowsRoles(t *testing.T) {
	c := fake.NewClientset()
	if err := Reconcile(t.Context(), c, Default()); err != nil {
		t.Fatal(err)
	}
	updated := make(chan *rbacv1.ClusterRole, 10)
	c.PrependReactor("update", "clusterroles", func(a clientgotesting.Action) (bool, runtime.Object, error) {
		updated <- a.(clientgotesting.UpdateAction).GetObject().(*rbacv1.ClusterRole)
		return false, nil, nil
	})
	f := informers.NewSharedInformerFactory(c, 0)
	a, err := NewAggregation(c, f)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	f.Start(ctx.Done())
	done := make(chan error)
	go func() { done <- a.Run(ctx) }()
	f.WaitForCacheSync(ctx.Done())
	extra := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "crontabs-view", Labels: map[string]string{aggregateTo + "view": "true"}}, Rules: rules{on("stable.example.com", "crontabs", read)}}
	if _, err := c.RbacV1().ClusterRoles().Create(ctx, extra, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	gathers := map[string]bool{"view": true, "edit": true, "admin": true} // one gathers the other
	waiting := maps.Clone(gathers)
	timeout := time.After(10 * time.Second)
	for len(waiting) > 0 {
		select {
		case r := <-updated:
			// The same update may come twice: the informer lags behind the write.
			if !gathers[r.Name] || !containsRule(r.Rules, extra.Rules[0]) {
				t.Errorf("unexpected update of %s", r.Name)
			}
			delete(waiting, r.Name)
		case <-timeout:
			t.Fatalf("never updated: %v", waiting)
		}
	}
	cancel()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	f.Shutdown()
	for len(updated) > 0 {
		if r := <-updated; !gathers[r.Name] || !containsRule(r.Rules, extra.Rules[0]) {
			t.Errorf("unexpected late update of %s", r.Name)
		}
	}
}
