package rbac

import (
	"context"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	rbaclisters "k8s.io/client-go/listers/rbac/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

// Aggregation writes the rules of aggregated ClusterRoles. A change of a role wakes only those that gather it.
type Aggregation struct {
	client kubernetes.Interface
	roles  rbaclisters.ClusterRoleLister
	synced cache.DoneChecker
	queue  workqueue.TypedRateLimitingInterface[string]
}

// NewAggregation makes the controller; it must be made before the factory starts.
func NewAggregation(client kubernetes.Interface, f informers.SharedInformerFactory) (*Aggregation, error) {
	i := f.Rbac().V1().ClusterRoles()
	a := &Aggregation{client: client, roles: i.Lister(), queue: workqueue.NewTypedRateLimitingQueueWithConfig(
		workqueue.DefaultTypedControllerRateLimiter[string](), workqueue.TypedRateLimitingQueueConfig[string]{Name: "clusterrole-aggregation"})}
	reg, err := i.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { a.wake(obj, nil) },
		UpdateFunc: func(was, is any) { a.wake(is, was) },
		DeleteFunc: func(obj any) {
			if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = gone.Obj
			}
			a.wake(obj, nil)
		},
	})
	if err != nil {
		return nil, fmt.Errorf("follow cluster roles: %w", err)
	}
	a.synced = reg.HasSyncedChecker()
	return a, nil
}

func (a *Aggregation) wake(is, was any) {
	role, ok := is.(*rbacv1.ClusterRole)
	if !ok {
		return
	}
	if role.AggregationRule != nil {
		a.queue.Add(role.Name)
	}
	old, _ := was.(*rbacv1.ClusterRole)
	if old != nil && equality.Semantic.DeepEqual(old.Rules, role.Rules) && equality.Semantic.DeepEqual(old.Labels, role.Labels) {
		return
	}
	all, err := a.roles.List(labels.Everything())
	if err != nil {
		return
	}
	for _, r := range all {
		if r.AggregationRule != nil && (matches(r, role.Labels) || (old != nil && matches(r, old.Labels))) {
			a.queue.Add(r.Name)
		}
	}
}

// Run works until ctx ends.
func (a *Aggregation) Run(ctx context.Context) error {
	defer a.queue.ShutDown()
	if !cache.WaitFor(ctx, "", a.synced) {
		return ctx.Err()
	}
	go func() {
		<-ctx.Done()
		a.queue.ShutDown()
	}()
	for {
		name, quit := a.queue.Get()
		if quit {
			return nil
		}
		switch err := a.sync(ctx, name); {
		case apierrors.IsConflict(err): // judged by what the informer had before it heard of the newest version
			a.queue.AddRateLimited(name)
		case err != nil:
			utilruntime.HandleErrorWithContext(ctx, err, "Aggregate cluster role", "clusterRole", name)
			a.queue.AddRateLimited(name)
		default:
			a.queue.Forget(name)
		}
		a.queue.Done(name)
	}
}

func (a *Aggregation) sync(ctx context.Context, name string) error {
	role, err := a.roles.Get(name)
	if apierrors.IsNotFound(err) || (err == nil && role.AggregationRule == nil) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("get cluster role %s: %w", name, err)
	}
	all, err := a.roles.List(labels.Everything())
	if err != nil {
		return fmt.Errorf("list cluster roles: %w", err)
	}
	rules, err := gather(role, all)
	if err != nil {
		return err
	}
	if equality.Semantic.DeepEqual(role.Rules, rules) {
		return nil
	}
	role = role.DeepCopy()
	role.Rules = rules
	if _, err := a.client.RbacV1().ClusterRoles().Update(ctx, role, metav1.UpdateOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("update cluster role %s: %w", name, err)
	}
	return nil
}
