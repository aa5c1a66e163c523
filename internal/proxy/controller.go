package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// Config is what the proxy needs.
type Config struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	NodeName  string
	Backend   Backend
	Conntrack Conntrack // nil: flows are not forgotten
	// Listen opens the health check ports of Services with local traffic policy; nil for the network's own.
	Listen ListenFunc
	Log    *slog.Logger
}

// Proxy keeps the backend at what the API says. A Service's change wakes it, and it decides about that Service alone; what happens
// while a transaction is on its way makes up the next one.
type Proxy struct {
	cfg    Config
	health *healthPorts
	synced []cache.DoneChecker
	wake   chan struct{}

	mu       sync.Mutex
	node     Node
	services map[types.NamespacedName]*service
	dirty    map[types.NamespacedName]struct{}
	failure  error // of the last attempt

	// applied is what the backend has. Only the loop of Run uses it.
	applied map[types.NamespacedName][]*Port
}

// service is what is known of one Service; object is nil while only slices are.
type service struct {
	object *corev1.Service
	slices map[string]*discoveryv1.EndpointSlice
}

// New makes the proxy; it must be made before the factory starts.
func New(cfg Config) (*Proxy, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	p := &Proxy{cfg: cfg, health: newHealthPorts(cfg.Listen), wake: make(chan struct{}, 1), node: Node{Name: cfg.NodeName},
		services: map[types.NamespacedName]*service{}, dirty: map[types.NamespacedName]struct{}{}, applied: map[types.NamespacedName][]*Port{}}
	for _, i := range []cache.SharedIndexInformer{cfg.Informers.Core().V1().Services().Informer(),
		cfg.Informers.Discovery().V1().EndpointSlices().Informer(), cfg.Informers.Core().V1().Nodes().Informer()} {
		reg, err := i.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(obj any) { p.see(obj, false) },
			UpdateFunc: func(_, obj any) { p.see(obj, false) },
			DeleteFunc: func(obj any) {
				if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
					obj = gone.Obj
				}
				p.see(obj, true)
			},
		})
		if err != nil {
			return nil, fmt.Errorf("follow services: %w", err)
		}
		p.synced = append(p.synced, reg.HasSyncedChecker())
	}
	return p, nil
}

// see takes in one event.
func (p *Proxy) see(obj any, gone bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var name types.NamespacedName
	switch o := obj.(type) {
	case *corev1.Service:
		name = types.NamespacedName{Namespace: o.Namespace, Name: o.Name}
		if gone {
			o = nil
		}
		p.of(name).object = o
	case *discoveryv1.EndpointSlice:
		owner := o.Labels[discoveryv1.LabelServiceName]
		if _, headless := o.Labels[corev1.IsHeadlessService]; headless || owner == "" {
			return
		}
		name = types.NamespacedName{Namespace: o.Namespace, Name: owner}
		if s := p.of(name); gone {
			delete(s.slices, o.Name)
		} else {
			s.slices[o.Name] = o
		}
	case *corev1.Node:
		zone := o.Labels[corev1.LabelTopologyZone]
		if o.Name != p.node.Name || gone || zone == p.node.Zone {
			return
		}
		p.node.Zone = zone
		for n := range p.services {
			p.dirty[n] = struct{}{}
		}
		p.poke()
		return
	default:
		return
	}
	if s := p.services[name]; s.object == nil && len(s.slices) == 0 {
		delete(p.services, name)
	}
	p.dirty[name] = struct{}{}
	p.poke()
}

func (p *Proxy) of(name types.NamespacedName) *service {
	s := p.services[name]
	if s == nil {
		s = &service{slices: map[string]*discoveryv1.EndpointSlice{}}
		p.services[name] = s
	}
	return s
}

func (p *Proxy) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Run keeps the backend up to date until ctx ends. What is programmed then stays.
func (p *Proxy) Run(ctx context.Context) error {
	defer p.health.close()
	if !cache.WaitFor(ctx, "", p.synced...) {
		return ctx.Err()
	}
	stale := newForgetter(p.cfg.Conntrack, p.cfg.Log)
	var running sync.WaitGroup
	running.Go(func() { stale.run(ctx) })
	defer running.Wait()

	again := time.NewTimer(0) // the first pass is a replacement
	defer again.Stop()
	replace, pause := true, time.Duration(0)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.cfg.Backend.Disturbed():
			p.cfg.Log.Warn("Service rules were removed by somebody else; writing them anew")
			replace = true
		case <-again.C:
		case <-p.wake:
			if pause > 0 {
				continue // after a failure the timer decides
			}
		}
		changes, err := p.pass(replace)
		p.mu.Lock()
		p.failure = err
		p.mu.Unlock()
		if err != nil {
			pause = min(max(2*pause, 100*time.Millisecond), 30*time.Second)
			p.cfg.Log.Error("Program services", "error", err, "again", pause)
			replace = true
			again.Reset(pause)
			continue
		}
		replace, pause = false, 0
		stale.add(StaleFlows(changes))
	}
}

// pass decides about what is dirty, or about everything, and hands it to the backend.
func (p *Proxy) pass(replace bool) ([]Change, error) {
	next := map[types.NamespacedName][]*Port{}
	p.mu.Lock()
	if replace {
		for name := range p.services {
			p.dirty[name] = struct{}{}
		}
	}
	for name := range p.dirty {
		next[name] = p.decide(name)
	}
	clear(p.dirty)
	p.mu.Unlock()

	var changes []Change
	for name, ports := range next {
		changes = append(changes, Diff(p.applied[name], ports)...)
	}
	if !replace && len(changes) == 0 {
		return nil, nil
	}
	for name, ports := range next {
		if len(ports) == 0 {
			delete(p.applied, name)
		} else {
			p.applied[name] = ports
		}
	}
	if !replace {
		return changes, p.cfg.Backend.Apply(changes)
	}
	var all []*Port
	for _, ports := range p.applied {
		all = append(all, ports...)
	}
	return changes, p.cfg.Backend.Replace(all)
}

// decide is the Ports of one Service now; its health check port follows. The lock is held.
func (p *Proxy) decide(name types.NamespacedName) []*Port {
	s := p.services[name]
	if s == nil || s.object == nil {
		p.health.set(name, 0, 0)
		return nil
	}
	list := make([]*discoveryv1.EndpointSlice, 0, len(s.slices))
	for _, sl := range s.slices {
		list = append(list, sl)
	}
	p.health.set(name, uint16(s.object.Spec.HealthCheckNodePort), LocalEndpoints(p.node, list))
	return Decide(p.node, s.object, list)
}

// Healthy tells why the rules may be out of date, nil if they are not.
func (p *Proxy) Healthy() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failure
}

// forgetter forgets stale flows beside the loop: to look through the flows of a busy node takes a while.
type forgetter struct {
	ct   Conntrack
	log  *slog.Logger
	mu   sync.Mutex
	todo []Stale
	wake chan struct{}
}

func newForgetter(ct Conntrack, log *slog.Logger) *forgetter {
	return &forgetter{ct: ct, log: log, wake: make(chan struct{}, 1)}
}

func (f *forgetter) add(s []Stale) {
	if len(s) == 0 || f.ct == nil {
		return
	}
	f.mu.Lock()
	f.todo = append(f.todo, s...)
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *forgetter) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
		}
		f.mu.Lock()
		todo := f.todo
		f.todo = nil
		f.mu.Unlock()
		if err := f.ct.Forget(todo); err != nil && !errors.Is(err, context.Canceled) {
			f.log.Error("Forget stale UDP flows", "error", err)
		}
	}
}
