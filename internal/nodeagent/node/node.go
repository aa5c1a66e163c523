package node

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/utils/clock"
)

// Config is what a Keeper is told; all is checked and defaulted by nodeagent.
type Config struct {
	Name, Hostname string
	IPs            []net.IP
	Client         kubernetes.Interface
	Runtime        runtimeapi.RuntimeServiceClient
	Images         runtimeapi.ImageServiceClient
	Version        string
	InstanceType   string
	Labels         map[string]string
	Taints         []corev1.Taint
	ProviderID     string
	Capacity       corev1.ResourceList
	Reserved       corev1.ResourceList
	MaxPods        int64
	PodCIDRs       []string
	Port           int32
	RootDir        string
	Simulated      bool
	LeaseRenewal   time.Duration
	Clock          clock.WithTicker
	Log            *slog.Logger
	Event          func(kind, reason, message string)
}

const (
	statusPeriod  = 5 * time.Minute
	notReadyPoll  = time.Second
	imagesInNode  = 50
	imagesDelay   = time.Second // from an image's coming or going to the status that shows it
	retryMin      = 50 * time.Millisecond
	retryMax      = 5 * time.Second
	leaseLifetime = 40 // seconds
)

// Keeper keeps one Node.
type Keeper struct {
	cfg         Config
	capacity    corev1.ResourceList
	allocatable corev1.ResourceList
	info        corev1.NodeSystemInfo
	news        chan struct{}
	imageNews   chan struct{}

	mu       sync.Mutex
	object   *corev1.Node // as the API server has it, nil before registration
	down     error        // why the runtime cannot be used
	handlers map[string]bool
	users    map[string]bool // handlers that can make user namespaces
	reported bool            // a status was written since this start
}

// New looks at the machine.
func New(cfg Config) (*Keeper, error) {
	k := &Keeper{cfg: cfg, news: make(chan struct{}, 1), imageNews: make(chan struct{}, 1)}
	if cfg.Simulated {
		k.info = corev1.NodeSystemInfo{OperatingSystem: "linux", Architecture: runtime.GOARCH, KubeletVersion: cfg.Version, OSImage: "simulated"}
		k.capacity = corev1.ResourceList{}
	} else {
		var err error
		if k.capacity, err = machineCapacity(cfg.RootDir); err != nil {
			return nil, err
		}
		k.info = machineInfo()
		k.info.KubeletVersion = cfg.Version
	}
	k.capacity[corev1.ResourcePods] = *resource.NewQuantity(cfg.MaxPods, resource.DecimalSI)
	maps.Copy(k.capacity, cfg.Capacity)
	k.allocatable = k.capacity.DeepCopy()
	for name, q := range cfg.Reserved {
		have := k.allocatable[name]
		have.Sub(q)
		k.allocatable[name] = have
	}
	return k, nil
}

// Capacity is what the machine has; callers do not change it.
func (k *Keeper) Capacity() corev1.ResourceList { return k.capacity }

// Allocatable is what pods may ask for; callers do not change it.
func (k *Keeper) Allocatable() corev1.ResourceList { return k.allocatable }

// Object is the node as last seen, nil before registration.
func (k *Keeper) Object() *corev1.Node {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.object
}

// RecursiveReadOnly tells whether the runtime can make mounts read-only with all below them, for a runtime handler.
func (k *Keeper) RecursiveReadOnly(handler string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.handlers[handler]
}

// UserNamespaces tells whether a runtime handler can run pods in user namespaces of their own.
func (k *Keeper) UserNamespaces(handler string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.users[handler]
}

// RuntimeUp tells that the runtime answers (nil) or why it does not.
func (k *Keeper) RuntimeUp(err error) {
	k.mu.Lock()
	changed := (k.down == nil) != (err == nil)
	k.down = err
	k.mu.Unlock()
	if changed {
		k.Changed()
	}
}

// Changed asks for the status to be worked out and written anew.
func (k *Keeper) Changed() {
	select {
	case k.news <- struct{}{}:
	default:
	}
}

// ImagesChanged tells that images came or went: the status will show it, with what else comes within a few seconds.
func (k *Keeper) ImagesChanged() {
	select {
	case k.imageNews <- struct{}{}:
	default:
	}
}

// Run registers the node and keeps it until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	for delay := retryMin; ; delay = min(2*delay, retryMax) {
		err := k.register(ctx)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return
		}
		k.cfg.Log.Info("register node", "err", err)
		if !k.sleep(ctx, delay) {
			return
		}
	}
	k.event(corev1.EventTypeNormal, "Starting", "Starting kubelet.")
	var group sync.WaitGroup
	group.Add(1)
	go func() { defer group.Done(); k.lease(ctx) }()
	if !k.cfg.Simulated {
		group.Add(1)
		go func() { defer group.Done(); k.watch(ctx) }()
	}
	defer group.Wait()
	retry := retryMin
	for {
		wait := statusPeriod
		ready, err := k.update(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			k.cfg.Log.Warn("write node status", "err", err)
			wait, retry = retry, min(2*retry, retryMax)
		case !ready:
			wait = notReadyPoll
		default:
			retry = retryMin
		}
		if !k.rest(ctx, wait) {
			return
		}
	}
}

// rest waits for d at most: until there is news, or until changed images have to be shown. It is false when ctx has ended.
func (k *Keeper) rest(ctx context.Context, d time.Duration) bool {
	until := k.cfg.Clock.Now().Add(d)
	for {
		t := k.cfg.Clock.NewTimer(until.Sub(k.cfg.Clock.Now()))
		select {
		case <-ctx.Done():
			t.Stop()
			return false
		case <-k.news:
			t.Stop()
			return true
		case <-t.C():
			return true
		case <-k.imageNews:
			t.Stop()
			if soon := k.cfg.Clock.Now().Add(imagesDelay); soon.Before(until) {
				until = soon
			}
		}
	}
}

func (k *Keeper) event(kind, reason, message string) {
	if k.cfg.Event != nil {
		k.cfg.Event(kind, reason, message)
	}
}

func (k *Keeper) sleep(ctx context.Context, d time.Duration) bool {
	t := k.cfg.Clock.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C():
		return true
	}
}

func (k *Keeper) labels() map[string]string {
	l := map[string]string{corev1.LabelHostname: k.cfg.Hostname, corev1.LabelOSStable: k.info.OperatingSystem, corev1.LabelArchStable: k.info.Architecture,
		"beta.kubernetes.io/os": k.info.OperatingSystem, "beta.kubernetes.io/arch": k.info.Architecture}
	if k.cfg.InstanceType != "" {
		l[corev1.LabelInstanceTypeStable], l[corev1.LabelInstanceType] = k.cfg.InstanceType, k.cfg.InstanceType
	}
	maps.Copy(l, k.cfg.Labels)
	return l
}

// register makes the Node, or brings the labels of the one that is there up to date.
func (k *Keeper) register(ctx context.Context) error {
	nodes := k.cfg.Client.CoreV1().Nodes()
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: k.cfg.Name, Labels: k.labels(),
		Annotations: map[string]string{"volumes.kubernetes.io/controller-managed-attach-detach": "true"}},
		Spec: corev1.NodeSpec{Taints: k.cfg.Taints, ProviderID: k.cfg.ProviderID, PodCIDRs: k.cfg.PodCIDRs}}
	if len(k.cfg.PodCIDRs) > 0 {
		n.Spec.PodCIDR = k.cfg.PodCIDRs[0]
	}
	n.Status, _ = k.status(ctx, n)
	got, err := nodes.Create(ctx, n, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		if got, err = nodes.Get(ctx, k.cfg.Name, metav1.GetOptions{}); err != nil {
			return err
		}
		want := map[string]any{}
		for key, v := range n.Labels {
			if got.Labels[key] != v {
				want[key] = v
			}
		}
		if len(want) > 0 {
			patch, merr := json.Marshal(map[string]any{"metadata": map[string]any{"labels": want}})
			if merr != nil {
				return fmt.Errorf("encode labels: %w", merr)
			}
			got, err = nodes.Patch(ctx, k.cfg.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
		}
	}
	if err != nil {
		return err
	}
	k.see(got)
	return nil
}

func (k *Keeper) see(n *corev1.Node) {
	k.mu.Lock()
	k.object = n
	k.mu.Unlock()
}

// update writes the status if it is another or old; ready is what it says.
func (k *Keeper) update(ctx context.Context) (ready bool, err error) {
	old := k.Object()
	s, ready := k.status(ctx, old)
	was := conditionStatus(&old.Status, corev1.NodeReady)
	b1, err := json.Marshal(map[string]any{"status": &old.Status})
	if err != nil {
		return ready, fmt.Errorf("encode status: %w", err)
	}
	b2, err := json.Marshal(map[string]any{"status": &s})
	if err != nil {
		return ready, fmt.Errorf("encode status: %w", err)
	}
	patch, err := strategicpatch.CreateTwoWayMergePatch(b1, b2, corev1.Node{})
	if err != nil {
		return ready, fmt.Errorf("compare statuses: %w", err)
	}
	defer func() {
		if err == nil {
			k.mu.Lock()
			k.reported = true
			k.mu.Unlock()
		}
	}()
	if string(patch) == "{}" {
		return ready, nil
	}
	got, err := k.cfg.Client.CoreV1().Nodes().Patch(ctx, k.cfg.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if apierrors.IsNotFound(err) {
		return ready, k.register(ctx)
	}
	if err != nil {
		return ready, err
	}
	k.see(got)
	if ready && was != corev1.ConditionTrue {
		k.event(corev1.EventTypeNormal, "NodeReady", fmt.Sprintf("Node %s status is now: NodeReady", k.cfg.Name))
	} else if !ready && was == corev1.ConditionTrue {
		k.event(corev1.EventTypeNormal, "NodeNotReady", fmt.Sprintf("Node %s status is now: NodeNotReady", k.cfg.Name))
	}
	return ready, nil
}

func conditionStatus(s *corev1.NodeStatus, t corev1.NodeConditionType) corev1.ConditionStatus {
	for _, c := range s.Conditions {
		if c.Type == t {
			return c.Status
		}
	}
	return corev1.ConditionUnknown
}

// status works the whole status out; old gives what it does not own and the times of transitions.
func (k *Keeper) status(ctx context.Context, old *corev1.Node) (corev1.NodeStatus, bool) {
	s := *old.Status.DeepCopy()
	s.Capacity, s.Allocatable = k.capacity, k.allocatable
	info := k.info
	info.ContainerRuntimeVersion = old.Status.NodeInfo.ContainerRuntimeVersion
	k.mu.Lock()
	down := k.down
	k.mu.Unlock()
	var problems []string
	if v, err := k.cfg.Runtime.Version(ctx, &runtimeapi.VersionRequest{}); err == nil {
		info.ContainerRuntimeVersion = v.RuntimeName + "://" + v.RuntimeVersion
	}
	st, err := k.cfg.Runtime.Status(ctx, &runtimeapi.StatusRequest{})
	if err == nil {
		err = down
	}
	if err != nil {
		problems = append(problems, "container runtime is down")
	} else {
		for _, c := range st.GetStatus().GetConditions() {
			if c.Status {
				continue
			}
			switch c.Type {
			case runtimeapi.RuntimeReady:
				problems = append(problems, fmt.Sprintf("container runtime not ready: RuntimeReady=false reason:%s message:%s", c.Reason, c.Message))
			case runtimeapi.NetworkReady:
				problems = append(problems, fmt.Sprintf("container runtime network not ready: NetworkReady=false reason:%s message:%s", c.Reason, c.Message))
			}
		}
		k.runtimeFeatures(&s, st)
	}
	k.mu.Lock()
	fresh := !k.reported
	k.mu.Unlock()
	s.NodeInfo = info
	s.Addresses = nil
	for _, ip := range k.cfg.IPs {
		s.Addresses = append(s.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip.String()})
	}
	s.Addresses = append(s.Addresses, corev1.NodeAddress{Type: corev1.NodeHostName, Address: k.cfg.Hostname})
	s.DaemonEndpoints.KubeletEndpoint.Port = k.cfg.Port
	if !k.cfg.Simulated {
		s.Images = k.images(ctx)
	}
	ready := corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", Message: "kubelet is posting ready status"}
	if len(problems) > 0 {
		ready.Status, ready.Reason, ready.Message = corev1.ConditionFalse, "KubeletNotReady", strings.Join(problems, ", ")
		if len(problems) > 1 {
			ready.Message = "[" + ready.Message + "]"
		}
	}
	list := []corev1.NodeCondition{
		{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse, Reason: "KubeletHasSufficientMemory", Message: "kubelet has sufficient memory available"},
		{Type: corev1.NodeDiskPressure, Status: corev1.ConditionFalse, Reason: "KubeletHasNoDiskPressure", Message: "kubelet has no disk pressure"},
		{Type: corev1.NodePIDPressure, Status: corev1.ConditionFalse, Reason: "KubeletHasSufficientPID", Message: "kubelet has sufficient PID available"},
		ready,
	}
	s.Conditions = merge(old.Status.Conditions, list, k.cfg.Clock.Now(), fresh)
	return s, ready.Status == corev1.ConditionTrue
}

// merge puts list's conditions in place of old's of the same types. A condition that says what it said keeps its times
// until they are statusPeriod old; refresh renews the times of heartbeats in any case.
func merge(old, list []corev1.NodeCondition, now time.Time, refresh bool) []corev1.NodeCondition {
	t := metav1.Time{Time: now.Truncate(time.Second)}
	for i := range list {
		c := &list[i]
		c.LastHeartbeatTime, c.LastTransitionTime = t, t
		if j := slices.IndexFunc(old, func(o corev1.NodeCondition) bool { return o.Type == c.Type }); j >= 0 {
			o := old[j]
			if o.Status == c.Status {
				c.LastTransitionTime = o.LastTransitionTime
			}
			refresh = refresh || now.Sub(o.LastHeartbeatTime.Time) >= statusPeriod-time.Second || o.Status != c.Status || o.Reason != c.Reason || o.Message != c.Message
		} else {
			refresh = true
		}
	}
	if !refresh {
		for i := range list {
			j := slices.IndexFunc(old, func(o corev1.NodeCondition) bool { return o.Type == list[i].Type })
			list[i].LastHeartbeatTime = old[j].LastHeartbeatTime
		}
	}
	var out []corev1.NodeCondition
	for _, o := range old {
		if !slices.ContainsFunc(list, func(c corev1.NodeCondition) bool { return c.Type == o.Type }) {
			out = append(out, o)
		}
	}
	return append(out, list...)
}

func (k *Keeper) runtimeFeatures(s *corev1.NodeStatus, st *runtimeapi.StatusResponse) {
	handlers, own := map[string]bool{}, map[string]bool{}
	s.RuntimeHandlers = nil
	for _, h := range st.RuntimeHandlers {
		rro, users := h.GetFeatures().GetRecursiveReadOnlyMounts(), h.GetFeatures().GetUserNamespaces()
		handlers[h.Name], own[h.Name] = rro, users
		s.RuntimeHandlers = append(s.RuntimeHandlers, corev1.NodeRuntimeHandler{Name: h.Name,
			Features: &corev1.NodeRuntimeHandlerFeatures{RecursiveReadOnlyMounts: &rro, UserNamespaces: &users}})
	}
	slices.SortFunc(s.RuntimeHandlers, func(a, b corev1.NodeRuntimeHandler) int { return strings.Compare(a.Name, b.Name) })
	if st.Features != nil {
		groups := st.Features.SupplementalGroupsPolicy
		s.Features = &corev1.NodeFeatures{SupplementalGroupsPolicy: &groups}
	}
	k.mu.Lock()
	k.handlers, k.users = handlers, own
	k.mu.Unlock()
}

func (k *Keeper) images(ctx context.Context) []corev1.ContainerImage {
	res, err := k.cfg.Images.ListImages(ctx, &runtimeapi.ListImagesRequest{})
	if err != nil {
		return nil
	}
	list := slices.Clone(res.Images)
	slices.SortFunc(list, func(a, b *runtimeapi.Image) int {
		if a.Size != b.Size {
			if a.Size > b.Size {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Id, b.Id)
	})
	var out []corev1.ContainerImage
	for _, img := range list {
		names := append(slices.Clone(img.RepoDigests), img.RepoTags...)
		if len(names) == 0 {
			continue
		}
		out = append(out, corev1.ContainerImage{Names: names[:min(len(names), 5)], SizeBytes: int64(img.Size)})
		if len(out) == imagesInNode {
			break
		}
	}
	return out
}

// watch follows the own Node object: its labels and taints decide about admission.
func (k *Keeper) watch(ctx context.Context) {
	opts := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, k.cfg.Name).String()}
	for ctx.Err() == nil {
		if o := k.Object(); o != nil {
			opts.ResourceVersion = o.ResourceVersion
		}
		w, err := k.cfg.Client.CoreV1().Nodes().Watch(ctx, opts)
		if err == nil {
			k.drain(ctx, w)
		}
		if !k.sleep(ctx, time.Second) {
			return
		}
		if n, err := k.cfg.Client.CoreV1().Nodes().Get(ctx, k.cfg.Name, metav1.GetOptions{}); err == nil {
			k.see(n)
		} else if apierrors.IsNotFound(err) {
			k.Changed()
		}
	}
}

func (k *Keeper) drain(ctx context.Context, w watch.Interface) {
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case ev, ok := <-w.ResultChan():
			if !ok || ev.Type == watch.Error {
				return
			}
			n, ok := ev.Object.(*corev1.Node)
			if !ok || n.Name != k.cfg.Name {
				continue
			}
			if ev.Type == watch.Deleted {
				k.Changed()
				continue
			}
			k.see(n)
		}
	}
}
