package admission

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/utils/clock"

	"nau/internal/api/usage"
)

// ResourceQuota charges a namespace's quotas for what a request takes and refuses it when one is exceeded. It comes last in the
// chain: what it has charged is stored, or given back by Settle. The quota controller adds up what is really there.
type ResourceQuota struct {
	Operations
	quotas corelisters.ResourceQuotaLister
	live   kubernetes.Interface
	clock  clock.PassiveClock
	books  sync.Map // namespace → *book: charges of one namespace wait for each other instead of conflicting
}

// NewResourceQuota makes the plugin.
func NewResourceQuota(f informers.SharedInformerFactory, live kubernetes.Interface, c clock.PassiveClock) *ResourceQuota {
	return &ResourceQuota{Operations: Operations{Create, Update}, quotas: f.Core().V1().ResourceQuotas().Lister(), live: live, clock: c}
}

// Name implements Plugin.
func (*ResourceQuota) Name() string { return "ResourceQuota" }

// charge is what one quota has been charged with.
type charge struct {
	name  string
	count int // of the book's page
	what  corev1.ResourceList
}

// book tells our own writes of a namespace's quotas from those of others, who count what is there.
type book struct {
	sync.Mutex
	pages map[string]*page
}

type page struct {
	version string // that our last write made
	count   int    // how often somebody else has written
}

// open is the page of a quota as it is stored now.
func (b *book) open(quota *corev1.ResourceQuota) *page {
	p := b.pages[quota.Name]
	if p == nil {
		if b.pages == nil {
			b.pages = map[string]*page{}
		}
		p = &page{}
		b.pages[quota.Name] = p
	}
	if p.version != quota.ResourceVersion {
		p.version = quota.ResourceVersion
		p.count++
	}
	return p
}

func (q *ResourceQuota) book(namespace string) *book {
	b, _ := q.books.LoadOrStore(namespace, &book{})
	return b.(*book)
}

type charges struct{}

// Validate implements Validator.
func (q *ResourceQuota) Validate(ctx context.Context, r *Request) error {
	gr := r.Resource.GroupResource()
	if r.Namespace == "" || r.Object == nil || r.Is("", "namespaces", "") {
		return nil
	}
	if r.Operation == Create && r.Subresource != "" || r.Operation == Update && !usage.Changes(gr, r.Subresource) {
		return nil
	}
	quotas, err := q.quotas.ResourceQuotas(r.Namespace).List(labels.Everything())
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("list resource quotas in %s: %w", r.Namespace, err))
	}
	if len(quotas) == 0 {
		return nil
	}
	sort.Slice(quotas, func(i, j int) bool { return quotas[i].Name < quotas[j].Name })
	var done []charge
	for _, quota := range quotas {
		what, err := q.takes(r, quota)
		if err == nil && len(what) > 0 {
			var c *charge
			if c, err = q.charge(ctx, r, quota.Name, what); c != nil {
				done = append(done, *c)
			}
		}
		if err != nil {
			q.refund(ctx, r.Namespace, done)
			return err
		}
	}
	if len(done) > 0 {
		r.Remember(charges{}, done)
	}
	return nil
}

// takes is what the request adds to a quota's use.
func (q *ResourceQuota) takes(r *Request, quota *corev1.ResourceQuota) (corev1.ResourceList, error) {
	if !usage.Covers(&quota.Spec, r.Object) {
		return nil, nil
	}
	gr, now := r.Resource.GroupResource(), q.clock.Now()
	adds := usage.Add(nil, usage.Of(gr, r.Object, now), quota.Spec.Hard)
	if r.OldObject != nil && usage.Covers(&quota.Spec, r.OldObject) {
		for name, had := range usage.Of(gr, r.OldObject, now) {
			if sum, ok := adds[name]; ok {
				sum.Sub(had)
				adds[name] = sum
			}
		}
	}
	for name, sum := range adds {
		if sum.Sign() <= 0 {
			delete(adds, name)
		}
	}
	if pod, ok := r.Object.(*corev1.Pod); ok && r.Operation == Create {
		if missing := usage.Unspecified(pod, quota.Spec.Hard); len(missing) > 0 {
			return nil, forbidden(r, fmt.Errorf("failed quota: %s: must specify %s", quota.Name, strings.Join(missing, "; ")))
		}
	}
	return adds, nil
}

// charge adds to the stored status what is taken, against everybody else who does.
func (q *ResourceQuota) charge(ctx context.Context, r *Request, name string, what corev1.ResourceList) (*charge, error) {
	b := q.book(r.Namespace)
	b.Lock()
	defer b.Unlock()
	for {
		quota, err := q.live.CoreV1().ResourceQuotas(r.Namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		if err != nil {
			return nil, apierrors.NewInternalError(fmt.Errorf("get resource quota %s/%s: %w", r.Namespace, name, err))
		}
		next, err := spend(&quota.Status, name, what)
		if err != nil {
			return nil, forbidden(r, err)
		}
		if r.DryRun {
			return nil, nil
		}
		p := b.open(quota)
		quota = quota.DeepCopy()
		quota.Status.Used = next
		quota, err = q.live.CoreV1().ResourceQuotas(r.Namespace).UpdateStatus(ctx, quota, metav1.UpdateOptions{})
		switch {
		case apierrors.IsConflict(err) && ctx.Err() == nil:
			continue
		case apierrors.IsNotFound(err):
			return nil, nil
		case err != nil:
			return nil, apierrors.NewInternalError(fmt.Errorf("charge resource quota %s/%s: %w", r.Namespace, name, err))
		}
		p.version = quota.ResourceVersion
		return &charge{name, p.count, what}, nil
	}
}

// spend is a quota's use after what is taken, if it stays within the limits.
func spend(s *corev1.ResourceQuotaStatus, name string, what corev1.ResourceList) (corev1.ResourceList, error) {
	var unknown []string
	for _, n := range usage.Names(what) {
		_, limited := s.Hard[n]
		_, counted := s.Used[n]
		if !limited || !counted {
			unknown = append(unknown, string(n))
		}
	}
	if len(unknown) > 0 {
		return nil, fmt.Errorf("status unknown for quota: %s, resources: %s", name, strings.Join(unknown, ","))
	}
	next := s.Used.DeepCopy()
	next = usage.Add(next, what, what)
	over := corev1.ResourceList{}
	for n := range what {
		sum, hard := next[n], s.Hard[n]
		if sum.Cmp(hard) > 0 {
			over[n] = hard
		}
	}
	if len(over) > 0 {
		return nil, fmt.Errorf("exceeded quota: %s, requested: %s, used: %s, limited: %s", name, show(what, over), show(s.Used, over), show(s.Hard, over))
	}
	return next, nil
}

func show(l, of corev1.ResourceList) string {
	var out []string
	for _, n := range usage.Names(of) {
		v := l[n]
		out = append(out, string(n)+"="+v.String())
	}
	return strings.Join(out, ",")
}

// Settle implements Settler.
func (q *ResourceQuota) Settle(ctx context.Context, r *Request, err error) {
	done, ok := r.Memory[charges{}].([]charge)
	if !ok {
		return
	}
	delete(r.Memory, charges{})
	if err != nil {
		q.refund(context.WithoutCancel(ctx), r.Namespace, done)
	}
}

// refund takes charges back, unless somebody else has written the quota since: that was the controller, who counts what is there.
func (q *ResourceQuota) refund(ctx context.Context, namespace string, done []charge) {
	b := q.book(namespace)
	b.Lock()
	defer b.Unlock()
	for _, c := range done {
		quota, err := q.live.CoreV1().ResourceQuotas(namespace).Get(ctx, c.name, metav1.GetOptions{})
		if err != nil {
			continue
		}
		p := b.open(quota)
		if p.count != c.count {
			continue
		}
		quota = quota.DeepCopy()
		for n, v := range c.what {
			left := quota.Status.Used[n]
			left.Sub(v)
			quota.Status.Used[n] = left
		}
		// The version decides: whoever was faster knows better.
		if quota, err = q.live.CoreV1().ResourceQuotas(namespace).UpdateStatus(ctx, quota, metav1.UpdateOptions{}); err == nil {
			p.version = quota.ResourceVersion
		}
	}
}
