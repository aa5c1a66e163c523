package nodeagent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"nau/internal/nodeagent/images"
	"nau/internal/nodeagent/life"
	"nau/internal/nodeagent/node"
	"nau/internal/nodeagent/podcgroup"
	"nau/internal/nodeagent/probe"
	"nau/internal/nodeagent/refs"
	"nau/internal/nodeagent/runspec"
	"nau/internal/nodeagent/userns"
	"nau/internal/nodeagent/wheel"
)

// Agent runs one node.
//
// A pod is a worker. A worker has a goroutine only while there is something to do: a change of the pod, an event of the
// runtime, a probe's verdict, a time that has come. It then looks at what the runtime has, lets life decide, acts, and
// reports; several reasons that come meanwhile are one further round.
type Agent struct {
	cfg     Config
	host    runspec.Host
	wheel   *wheel.Wheel
	probes  *probe.Probes
	refs    *refs.Cache
	puller  *images.Puller
	volumes volumes
	cgroups *podcgroup.Tree // nil: none of our own
	node    *node.Keeper
	events  record.EventRecorder

	services       corelisters.ServiceLister // nil without informers
	servicesSynced cache.InformerSynced

	runtimeName string
	ready       chan struct{} // closed once the runtime was listed and pods are known

	mu      sync.Mutex
	ctx     context.Context
	workers map[string]*worker // by the pod's UID
	found   map[string]*life.Observed

	admission sync.Mutex // one pod at a time is weighed against the others
	rest      restState
	blocks    *userns.Blocks
	stats     counters
	group     sync.WaitGroup
}

// counters feed /metrics.
type counters struct {
	podsStarted, containersStarted, syncs, statusWrites, errors atomic.Int64
}

// New checks cfg and returns an agent that has touched nothing yet.
func New(cfg Config) (*Agent, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	a := &Agent{cfg: cfg, workers: map[string]*worker{}, found: map[string]*life.Observed{}, ready: make(chan struct{}), runtimeName: "cri"}
	a.host = runspec.Host{LogDir: cfg.LogDir, SeccompRoot: cfg.RootDir + "/seccomp"}
	a.wheel = wheel.New(cfg.Clock)
	pods := filepath.Join(cfg.RootDir, "pods")
	if cfg.Simulated {
		pods = ""
	}
	a.blocks = userns.New(pods, cfg.ReservedIDs, func(uid string) bool { return a.worker(uid) != nil })
	a.puller = images.New(cfg.Images, cfg.Clock, cfg.RegistryAuth, cfg.ParallelPulls, a.ImagesChanged)
	a.events = cfg.Recorder
	a.probes = &probe.Probes{Exec: cfg.Runtime, Clock: cfg.Clock, Wheel: a.wheel, Changed: a.reprobe, Event: a.containerEvent}
	if cfg.Informers != nil {
		s := cfg.Informers.Core().V1().Services()
		a.services, a.servicesSynced = s.Lister(), s.Informer().HasSynced
	}
	a.volumes = memoryVolumes{}
	if !cfg.Simulated {
		a.volumes = a.diskVolumes()
		if cfg.CgroupRoot != "" {
			info, err := os.ReadFile("/proc/self/mountinfo")
			if err != nil {
				return nil, fmt.Errorf("find cgroups: %w", err)
			}
			if a.cgroups, err = podcgroup.Find(cfg.CgroupRoot, info); err != nil {
				return nil, err
			}
			a.cgroups.Pids = cfg.PodPids
			a.host.Unified = a.cgroups.Unified()
		}
	}
	var err error
	if a.node, err = node.New(a.nodeConfig()); err != nil {
		return nil, err
	}
	q := a.node.Capacity()[corev1.ResourceMemory]
	a.host.Memory = q.Value()
	return a, nil
}

// ImagesChanged tells that images came or went without the agent's doing: the Node shows which there are.
func (a *Agent) ImagesChanged() { a.node.ImagesChanged() }

func (a *Agent) nodeConfig() node.Config {
	c := &a.cfg
	return node.Config{Name: c.NodeName, Hostname: c.Hostname, IPs: c.NodeIPs, Client: c.Client, Runtime: c.Runtime, Images: c.Images, Version: c.Version,
		InstanceType: c.InstanceType, Labels: c.Labels, Taints: c.Taints, ProviderID: c.ProviderID, Capacity: c.Capacity, Reserved: c.Reserved, MaxPods: c.MaxPods,
		PodCIDRs: c.PodCIDRs, Port: c.port(), RootDir: c.RootDir, Simulated: c.Simulated, Clock: c.Clock, Log: c.Log, LeaseRenewal: leaseRenewal,
		Event: func(kind, reason, message string) {
			if a.events != nil {
				a.events.Event(&corev1.ObjectReference{Kind: "Node", Name: c.NodeName, UID: nodeUID(c.NodeName)}, kind, reason, message)
			}
		}}
}

// Run works until ctx ends. Containers are left running when it returns.
func (a *Agent) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a.mu.Lock()
	a.ctx = ctx
	a.mu.Unlock()
	if a.events == nil {
		b := record.NewBroadcaster(record.WithContext(ctx))
		b.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: a.cfg.Client.CoreV1().Events("")})
		a.events = b.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "kubelet", Host: a.cfg.NodeName})
		defer b.Shutdown()
	}
	a.refs = refs.New(ctx, a.cfg.Client, a.renew)
	if err := a.prepare(); err != nil {
		return err
	}
	if a.cfg.Listen != "-" || a.cfg.Listener != nil {
		stop, err := a.listen(ctx)
		if err != nil {
			return err
		}
		defer stop()
	}
	a.spawn(func() { a.wheel.Run(ctx) })
	a.spawn(func() { a.node.Run(ctx) })
	runtimeKnown := make(chan struct{})
	a.spawn(func() { a.followRuntime(ctx, runtimeKnown) })
	select {
	case <-runtimeKnown:
	case <-ctx.Done():
	}
	if err := a.followPods(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	if a.cfg.ManifestDir != "" && !a.cfg.Simulated {
		a.spawn(func() { a.followManifests(ctx) })
	}
	a.spawn(func() { a.housekeep(ctx) })
	<-ctx.Done()
	a.group.Wait()
	return nil
}

func (a *Agent) spawn(f func()) {
	a.group.Add(1)
	go func() { defer a.group.Done(); f() }()
}

func (a *Agent) prepare() error {
	if a.cfg.Simulated {
		return nil
	}
	for _, d := range []string{a.cfg.RootDir, a.cfg.RunDir, a.cfg.LogDir} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("make node agent's directory: %w", err)
		}
	}
	if a.cgroups != nil {
		alloc := a.node.Allocatable()
		if err := a.cgroups.Prepare(alloc.Cpu().MilliValue()); err != nil {
			return err
		}
	}
	return a.volumes.Prepare()
}

// worker returns the pod's worker, nil if there is none.
func (a *Agent) worker(uid string) *worker {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.workers[uid]
}

// reprobe tells a pod's worker that probes say something else than before.
func (a *Agent) reprobe(uid string) {
	if w := a.worker(uid); w != nil {
		w.reprobe()
	}
}

// renew makes a pod's worker look again, at the contents of its volumes too.
func (a *Agent) renew(uid string) {
	if w := a.worker(uid); w != nil {
		w.renew()
	}
}

// admitted lists the pods that hold resources on the node, but the one of uid.
func (a *Agent) admitted(uid string) (out []*corev1.Pod) {
	a.mu.Lock()
	list := make([]*worker, 0, len(a.workers))
	for id, w := range a.workers {
		if id != uid {
			list = append(list, w)
		}
	}
	a.mu.Unlock()
	for _, w := range list {
		w.mu.Lock()
		switch {
		case !w.admitted || w.stopped:
		case w.granted != nil:
			out = append(out, w.granted)
		default:
			out = append(out, w.pod)
		}
		w.mu.Unlock()
	}
	return out
}
