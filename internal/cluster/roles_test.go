package cluster

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	appsv1 "k8s.io/api/apps/v1"

	"nau/internal/apiserver/identity"
	"nau/internal/store"
)

// plane is a control plane without a node: the API, and every controller in its
// default role. It notes who was refused what.
type plane struct {
	*controlPlane
	t       *testing.T
	ctx     context.Context
	kube    kubernetes.Interface
	names   []string
	mu      sync.Mutex
	refused []string
}

func startPlane(t *testing.T) *plane {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	c := Default()
	c.DataDir, c.RunDir, c.Log = t.TempDir(), t.TempDir(), log
	c.NodeIPs = []net.IP{net.IPv4(192, 0, 2, 10)}
	if err := c.Complete(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	opened, err := store.Open(ctx, store.Config{Dir: c.DataDir + "/etcd", Log: log})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := openKeys(&c)
	if err != nil {
		t.Fatal(err)
	}
	p := &plane{t: t, ctx: ctx}
	if p.controlPlane, err = newControlPlane(&c, keys, opened); err != nil {
		t.Fatal(err)
	}
	p.kube = p.admin.Kubernetes
	inner := *p.handle.Load()
	var noting http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inner.ServeHTTP(&refusals{ResponseWriter: w, p: p, r: r}, r)
	})
	p.handle.Store(&noting)
	running, err := controllers(p.controlPlane)
	if err != nil {
		t.Fatal(err)
	}
	// What the tests look at has its informer before the factory starts.
	for _, gvr := range looked {
		if _, err := p.admin.Informers.ForResource(gvr); err != nil {
			t.Fatal(err)
		}
	}
	p.admin.Informers.Start(ctx.Done())
	p.admin.Informers.WaitForCacheSync(ctx.Done())
	if err := p.bootstrapNamespaces(ctx); err != nil {
		t.Fatal(err)
	}
	if err := p.bootstrapRoles(ctx); err != nil {
		t.Fatal(err)
	}
	if err := p.bootstrapObjects(ctx); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for _, c := range running {
		p.names = append(p.names, c.name)
		group.Go(func() {
			if err := c.run(ctx); err != nil && ctx.Err() == nil {
				t.Errorf("run %s: %v", c.name, err)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		group.Wait()
		p.admin.Informers.Shutdown()
		p.close()
	})
	return p
}

// refusals notes what the authorizer forbade to whom; admission, too, answers
// 403, but does not speak of a user.
type refusals struct {
	http.ResponseWriter
	p    *plane
	r    *http.Request
	code int
}

func (w *refusals) WriteHeader(code int) {
	w.code = code
	w.ResponseWriter.WriteHeader(code)
}

func (w *refusals) Write(b []byte) (int, error) {
	if w.code == http.StatusForbidden && bytes.Contains(b, []byte("User ")) {
		user, _ := identity.UserFrom(w.r.Context())
		w.p.mu.Lock()
		w.p.refused = append(w.p.refused, fmt.Sprintf("%s: %s %s", user.Name, w.r.Method, w.r.URL))
		w.p.mu.Unlock()
	}
	return w.ResponseWriter.Write(b)
}

func (w *refusals) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *refusals) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }

var (
	pods        = corev1.SchemeGroupVersion.WithResource("pods")
	nodes       = corev1.SchemeGroupVersion.WithResource("nodes")
	namespaces  = corev1.SchemeGroupVersion.WithResource("namespaces")
	accounts    = corev1.SchemeGroupVersion.WithResource("serviceaccounts")
	configMaps  = corev1.SchemeGroupVersion.WithResource("configmaps")
	quotas      = corev1.SchemeGroupVersion.WithResource("resourcequotas")
	endpointses = corev1.SchemeGroupVersion.WithResource("endpoints")
	slicesOf    = discoveryv1.SchemeGroupVersion.WithResource("endpointslices")
	sets        = appsv1.SchemeGroupVersion.WithResource("replicasets")
	budgets     = policyv1.SchemeGroupVersion.WithResource("poddisruptionbudgets")
	roles       = rbacv1.SchemeGroupVersion.WithResource("clusterroles")
	looked      = []schema.GroupVersionResource{pods, nodes, namespaces, accounts, configMaps, endpointses, slicesOf, sets, budgets, roles, quotas}
)

// until waits, by events, for objects of a resource that satisfy done.
func until[T any](p *plane, gvr schema.GroupVersionResource, what string, done func([]T) bool) {
	p.t.Helper()
	generic, err := p.admin.Informers.ForResource(gvr)
	if err != nil {
		p.t.Fatal(err)
	}
	news := make(chan struct{}, 1)
	tell := func() {
		select {
		case news <- struct{}{}:
		default:
		}
	}
	informer := generic.Informer()
	registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { tell() }, UpdateFunc: func(any, any) { tell() }, DeleteFunc: func(any) { tell() },
	})
	if err != nil {
		p.t.Fatal(err)
	}
	defer informer.RemoveEventHandler(registration)
	limit := time.NewTimer(30 * time.Second)
	defer limit.Stop()
	for {
		var all []T
		for _, o := range informer.GetStore().List() {
			all = append(all, o.(T))
		}
		if done(all) {
			return
		}
		select {
		case <-news:
		case <-limit.C:
			p.mu.Lock()
			defer p.mu.Unlock()
			p.t.Fatalf("%s never came to be; forbidden were: %s", what, strings.Join(p.refused, "\n"))
		}
	}
}

// some is a condition: there is an object of that name which holds.
func some[T metav1.Object](name string, holds func(T) bool) func([]T) bool {
	return func(all []T) bool {
		return slices.ContainsFunc(all, func(o T) bool { return (name == "" || o.GetName() == name) && holds(o) })
	}
}

func there[T metav1.Object](T) bool { return true }

func create[T any](p *plane, text string, put func(context.Context, *T, metav1.CreateOptions) (*T, error)) *T {
	p.t.Helper()
	var o T
	if err := yaml.UnmarshalStrict([]byte(text), &o); err != nil {
		p.t.Fatal(err)
	}
	made, err := put(p.ctx, &o, metav1.CreateOptions{})
	if err != nil {
		p.t.Fatal(err)
	}
	return made
}

// node makes a node that is Ready or not, with taints.
func (p *plane) node(name string, ready corev1.ConditionStatus, taints string) {
	p.t.Helper()
	node := create(p, "metadata: {name: "+name+"}\nspec: {taints: ["+taints+"]}", p.kube.CoreV1().Nodes().Create)
	node.ResourceVersion = "" // whatever a controller did in between
	now := metav1.Now()
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready, LastHeartbeatTime: now, LastTransitionTime: now}}
	if _, err := p.kube.CoreV1().Nodes().UpdateStatus(p.ctx, node, metav1.UpdateOptions{}); err != nil {
		p.t.Fatal(err)
	}
}

// pod makes a pod on a node and says that it runs there.
func (p *plane) pod(name, node, ip string) {
	p.t.Helper()
	create(p, "metadata: {name: "+name+", labels: {app: "+name+"}}\nspec: {nodeName: "+node+", containers: [{name: c, image: i}], tolerations: [{key: node.kubernetes.io/out-of-service, operator: Exists}]}",
		p.kube.CoreV1().Pods("default").Create)
	status := `{"status":{"phase":"Running","podIP":"` + ip + `","podIPs":[{"ip":"` + ip + `"}],"conditions":[{"type":"Ready","status":"True"}]}}`
	if _, err := p.kube.CoreV1().Pods("default").Patch(p.ctx, name, types.StrategicMergePatchType, []byte(status), metav1.PatchOptions{}, "status"); err != nil {
		p.t.Fatal(err)
	}
}

// jobs is what each controller is there for, seen through the API alone.
var jobs = map[string]func(*plane){
	"namespace-controller": func(p *plane) {
		create(p, "metadata: {name: passing}", p.kube.CoreV1().Namespaces().Create)
		create(p, "metadata: {name: inside}", p.kube.CoreV1().ConfigMaps("passing").Create)
		if err := p.kube.CoreV1().Namespaces().Delete(p.ctx, "passing", metav1.DeleteOptions{}); err != nil {
			p.t.Fatal(err)
		}
		until(p, namespaces, "a namespace's end", func(all []*corev1.Namespace) bool { return !some("passing", there[*corev1.Namespace])(all) })
	},
	"service-account-controller": func(p *plane) {
		until(p, accounts, "the account default", some("default", func(a *corev1.ServiceAccount) bool { return a.Namespace == "default" }))
	},
	"root-ca-cert-publisher": func(p *plane) {
		until(p, configMaps, "the CA's map", some("kube-root-ca.crt", func(m *corev1.ConfigMap) bool {
			return m.Namespace == "default" && bytes.Contains([]byte(m.Data["ca.crt"]), []byte("BEGIN CERTIFICATE"))
		}))
		maps := p.kube.CoreV1().ConfigMaps("default")
		have, err := maps.Get(p.ctx, "kube-root-ca.crt", metav1.GetOptions{})
		if err != nil {
			p.t.Fatal(err)
		}
		have.Data = map[string]string{"ca.crt": "forged"}
		if _, err := maps.Update(p.ctx, have, metav1.UpdateOptions{}); err != nil {
			p.t.Fatal(err)
		}
		until(p, configMaps, "the mended map", some("kube-root-ca.crt", func(m *corev1.ConfigMap) bool {
			return m.Namespace == "default" && m.Data["ca.crt"] != "forged" && m.ResourceVersion != have.ResourceVersion
		}))
	},
	"pod-garbage-collector": func(p *plane) {
		p.node("drowned", corev1.ConditionFalse, "{key: node.kubernetes.io/out-of-service, effect: NoExecute}")
		p.pod("lost", "drowned", "10.42.9.1")
		if err := p.kube.CoreV1().Pods("default").Delete(p.ctx, "lost", metav1.DeleteOptions{}); err != nil {
			p.t.Fatal(err)
		}
		until(p, pods, "the removal of a pod out of service", func(all []*corev1.Pod) bool { return !some("lost", there[*corev1.Pod])(all) })
	},
	"node-controller": func(p *plane) {
		p.node("ill", corev1.ConditionFalse, "")
		until(p, nodes, "the taint of a node that is not ready", some("ill", func(n *corev1.Node) bool {
			return slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool {
				return t.Key == corev1.TaintNodeNotReady && t.Effect == corev1.TaintEffectNoExecute
			})
		}))
		p.node("closing", corev1.ConditionTrue, "{key: closing, effect: NoExecute}")
		p.pod("evicted", "closing", "10.42.9.2")
		until(p, pods, "an eviction", some("evicted", func(pod *corev1.Pod) bool {
			return pod.DeletionTimestamp != nil && slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.DisruptionTarget })
		}))
	},
	"replicaset-controller": func(p *plane) {
		create(p, "metadata: {name: orphan, labels: {app: rs}}\nspec: {containers: [{name: c, image: i}]}", p.kube.CoreV1().Pods("default").Create)
		create(p, "metadata: {name: rs}\nspec: {replicas: 2, selector: {matchLabels: {app: rs}}, template: {metadata: {labels: {app: rs}}, spec: {containers: [{name: c, image: i}]}}}",
			p.kube.AppsV1().ReplicaSets("default").Create)
		until(p, pods, "an adoption", some("orphan", func(pod *corev1.Pod) bool { return metav1.GetControllerOf(pod) != nil }))
		until(p, sets, "the status of a replica set", some("rs", func(rs *appsv1.ReplicaSet) bool { return rs.Status.Replicas == 2 }))
		if _, err := p.kube.AppsV1().ReplicaSets("default").Patch(p.ctx, "rs", types.MergePatchType, []byte(`{"spec":{"replicas":0}}`), metav1.PatchOptions{}); err != nil {
			p.t.Fatal(err)
		}
		until(p, sets, "a replica set at rest", some("rs", func(rs *appsv1.ReplicaSet) bool {
			return rs.Status.Replicas == 0 && rs.Status.ObservedGeneration == rs.Generation
		}))
	},
	"replication-controller": func(p *plane) {
		create(p, "metadata: {name: rc}\nspec: {replicas: 1, selector: {app: rc}, template: {metadata: {labels: {app: rc}}, spec: {containers: [{name: c, image: i}]}}}",
			p.kube.CoreV1().ReplicationControllers("default").Create)
		until(p, pods, "a pod of a replication controller", some("", func(pod *corev1.Pod) bool {
			o := metav1.GetControllerOf(pod)
			return o != nil && o.Kind == "ReplicationController"
		}))
	},
	"deployment-controller": func(p *plane) {
		deployments := p.kube.AppsV1().Deployments("default")
		create(p, "metadata: {name: web}\nspec: {replicas: 1, selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c, image: i}]}}}", deployments.Create)
		revision := func(n string) func(*appsv1.ReplicaSet) bool {
			return func(rs *appsv1.ReplicaSet) bool {
				o := metav1.GetControllerOf(rs)
				return o != nil && o.Name == "web" && rs.Annotations["deployment.kubernetes.io/revision"] == n
			}
		}
		until(p, sets, "the first revision", some("", revision("1")))
		if _, err := deployments.Patch(p.ctx, "web", types.MergePatchType, []byte(`{"spec":{"template":{"metadata":{"labels":{"v":"2"}}}}}`), metav1.PatchOptions{}); err != nil {
			p.t.Fatal(err)
		}
		until(p, sets, "the second revision", some("", revision("2")))
	},
	"endpointslice-controller": func(p *plane) { p.backed("sliced") },
	"endpoint-controller":      func(p *plane) { p.backed("ended") },
	"endpointslicemirroring-controller": func(p *plane) {
		create(p, "metadata: {name: byhand}\nspec: {ports: [{port: 80}]}", p.kube.CoreV1().Services("default").Create)
		create(p, "metadata: {name: byhand}\nsubsets: [{addresses: [{ip: 192.0.2.77}], ports: [{port: 80}]}]", p.kube.CoreV1().Endpoints("default").Create)
		until(p, slicesOf, "a mirrored slice", some("", func(s *discoveryv1.EndpointSlice) bool {
			return s.Labels[discoveryv1.LabelManagedBy] == "endpointslicemirroring-controller.k8s.io" && len(s.Endpoints) == 1
		}))
	},
	"disruption-controller": func(p *plane) {
		budget := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "budget"}, Spec: policyv1.PodDisruptionBudgetSpec{
			MinAvailable: ptr.To(intstr.FromString("50%")), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "guarded"}}}}
		create(p, "metadata: {name: guarded}\nspec: {replicas: 4, selector: {matchLabels: {app: guarded}}, template: {metadata: {labels: {app: guarded}}, spec: {containers: [{name: c, image: i}]}}}",
			p.kube.AppsV1().Deployments("default").Create)
		if _, err := p.kube.PolicyV1().PodDisruptionBudgets("default").Create(p.ctx, budget, metav1.CreateOptions{}); err != nil {
			p.t.Fatal(err)
		}
		until(p, budgets, "a budget's count, which asks the owner's scale", some("budget", func(b *policyv1.PodDisruptionBudget) bool {
			return b.Status.ExpectedPods == 4 && b.Status.DesiredHealthy == 2
		}))
	},
	"generic-garbage-collector": func(p *plane) {
		owner := create(p, "metadata: {name: owner}", p.kube.CoreV1().ConfigMaps("default").Create)
		create(p, "metadata: {name: owned, ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: owner, uid: "+string(owner.UID)+", blockOwnerDeletion: true}]}", p.kube.CoreV1().ConfigMaps("default").Create)
		if err := p.kube.CoreV1().ConfigMaps("default").Delete(p.ctx, "owner", metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationForeground)}); err != nil {
			p.t.Fatal(err)
		}
		until(p, configMaps, "the end of owner and owned", func(all []*corev1.ConfigMap) bool {
			return !some("owner", there[*corev1.ConfigMap])(all) && !some("owned", there[*corev1.ConfigMap])(all)
		})
	},
	"resourcequota-controller": func(p *plane) {
		create(p, "metadata: {name: few}\nspec: {hard: {count/configmaps: '50'}}", p.kube.CoreV1().ResourceQuotas("default").Create)
		until(p, quotas, "a quota's use", some("few", func(q *corev1.ResourceQuota) bool {
			n, counted := q.Status.Used["count/configmaps"]
			return counted && n.Value() > 0
		}))
	},
	"clusterrole-aggregation-controller": func(p *plane) {
		create(p, "metadata: {name: boats-view, labels: {rbac.authorization.k8s.io/aggregate-to-view: 'true'}}\nrules: [{apiGroups: [sea.example], resources: [boats], verbs: [get]}]", p.kube.RbacV1().ClusterRoles().Create)
		until(p, roles, "the role view with more in it", some("view", func(r *rbacv1.ClusterRole) bool {
			return slices.ContainsFunc(r.Rules, func(rule rbacv1.PolicyRule) bool { return slices.Contains(rule.APIGroups, "sea.example") })
		}))
	},
}

// backed makes a service with one ready pod behind it and waits for both ways
// of saying so.
func (p *plane) backed(name string) {
	p.t.Helper()
	p.node("of-"+name, corev1.ConditionTrue, "")
	p.pod(name, "of-"+name, "10.42.8."+fmt.Sprint(len(name)))
	create(p, "metadata: {name: "+name+"}\nspec: {selector: {app: "+name+"}, ports: [{port: 80}]}", p.kube.CoreV1().Services("default").Create)
	until(p, slicesOf, "a slice", some("", func(s *discoveryv1.EndpointSlice) bool {
		return s.Labels[discoveryv1.LabelServiceName] == name && s.Labels[discoveryv1.LabelManagedBy] == "endpointslice-controller.k8s.io" && len(s.Endpoints) == 1
	}))
	until(p, endpointses, "endpoints", some(name, func(e *corev1.Endpoints) bool { return len(e.Subsets) == 1 }))
}

// Every controller does its main job with the rights of its default role: none
// is a member of system:masters, and none is refused anything.
func TestControllersLiveUnderTheirRoles(t *testing.T) {
	p := startPlane(t)
	for name := range jobs {
		if !slices.Contains(p.names, name) {
			t.Errorf("there is a job for %s, which does not run", name)
		}
	}
	for _, name := range p.names {
		job := jobs[name]
		if job == nil {
			t.Errorf("%s runs; say here what its main job is", name)
			continue
		}
		job(p)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.refused) > 0 {
		t.Errorf("forbidden were:\n%s", strings.Join(p.refused, "\n"))
	}
}
