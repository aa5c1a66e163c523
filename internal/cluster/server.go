// Package cluster assembles Nau: store, API server, controllers, scheduler and
// this machine as a node, in the order in which they need each other. It is the
// only room that knows every other; what runs is listed here and nowhere else.
// Only cmd/nau imports it.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"golang.org/x/sync/errgroup"

	"nau/internal/apiserver/identity"
	"nau/internal/client"
	"nau/internal/cluster/host"
	"nau/internal/cluster/pki"
	"nau/internal/scheduler"
	"nau/internal/store"
)

// Server is a running instance.
type Server struct {
	config  *Config
	started time.Time
	lock    *host.Lock
	plane   *controlPlane
	node    *node

	ctx    context.Context // the instance's life
	ready  chan struct{}
	group  *errgroup.Group
	cancel context.CancelFunc
	once   sync.Once
}

// Start starts an instance: it returns when the API answers, and everything else
// is on its way. The instance runs until ctx ends. started is when the process
// began, for the phases.
func Start(ctx context.Context, c *Config, started time.Time) (_ *Server, err error) {
	s := &Server{config: c, started: started, ready: make(chan struct{})}
	paceCollector()
	if s.lock, err = host.Acquire(c.RunDir); err != nil {
		return nil, err
	}
	var cleanup []func()
	defer func() {
		if err != nil {
			for i := len(cleanup) - 1; i >= 0; i-- {
				cleanup[i]()
			}
			s.lock.Release()
		}
	}()
	api, err := listen("--api-port", c.BindAddress, c.APIPort)
	if err != nil {
		return nil, err
	}
	cleanup = append(cleanup, func() { api.Close() })
	agent, err := listen("--agent-port", c.BindAddress, c.AgentPort)
	if err != nil {
		return nil, err
	}
	cleanup = append(cleanup, func() { agent.Close() })

	if err := remember(c); err != nil {
		return nil, err
	}
	ctx, s.cancel = context.WithCancel(ctx)
	cleanup = append(cleanup, s.cancel)
	var opened *store.Store
	var keys *pki.PKI
	var parts errgroup.Group
	parts.Go(func() (err error) {
		if opened, err = openStore(ctx, c); err != nil {
			return fmt.Errorf("open store: %w", err)
		}
		s.reached(PhaseStore)
		return nil
	})
	parts.Go(func() (err error) { keys, err = openKeys(c); return })
	parts.Go(func() (err error) {
		if s.node, err = openNode(ctx, c); err != nil {
			return err
		}
		s.reached(PhaseEngine)
		return nil
	})
	err = parts.Wait()
	cleanup = append(cleanup, func() {
		if s.node != nil {
			s.node.close()
		}
		if opened != nil {
			opened.Close()
		}
	})
	if err != nil {
		return nil, err
	}
	if s.plane, err = newControlPlane(c, keys, opened); err != nil {
		return nil, err
	}
	renew, err := s.plane.writeKubeconfig(time.Now())
	if err != nil {
		return nil, err
	}
	var groupCtx context.Context
	s.group, groupCtx = errgroup.WithContext(ctx)
	s.ctx = groupCtx
	if err := s.assemble(groupCtx, agent); err != nil {
		return nil, err
	}
	if err := s.plane.serve(api); err != nil {
		return nil, err
	}
	s.reached(PhaseAPI)
	s.group.Go(func() error { return s.keepKubeconfig(groupCtx, renew) })
	s.group.Go(func() error { return untilBroken(groupCtx, opened) })
	s.group.Go(func() error { return s.settle(groupCtx) })
	return s, nil
}

// broken is a store that may come to serve no more, as on a full or broken disk.
type broken interface {
	Failed() <-chan struct{}
	Err() error
}

// untilBroken ends the instance with its store: without one it answers nothing, and only a new start reads the disk again.
// The containers run on.
func untilBroken(ctx context.Context, s broken) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.Failed():
		return fmt.Errorf("the store has failed: %w; containers run on: mend the disk, then `nau up` again", s.Err())
	}
}

func openKeys(c *Config) (*pki.PKI, error) {
	keys, err := pki.Open(c.pkiDir(), time.Now())
	if err != nil {
		return nil, fmt.Errorf("open keys: %w", err)
	}
	return keys, nil
}

// assemble makes all that runs, then starts the informers that they share, then
// them.
func (s *Server) assemble(ctx context.Context, agent net.Listener) error {
	p := s.plane
	running, err := controllers(p)
	if err != nil {
		return err
	}
	schedule, err := p.clientFor(identity.User{Name: identity.Scheduler, Groups: []string{identity.Authenticated}})
	if err != nil {
		return err
	}
	recorder, err := p.seriesRecorder(ctx, schedule, corev1.DefaultSchedulerName)
	if err != nil {
		return err
	}
	assign, err := scheduler.New(scheduler.Config{Client: schedule.Kubernetes, Informers: p.admin.Informers, Recorder: recorder, Log: s.config.Log})
	if err != nil {
		return err
	}
	running = append(running, component{"scheduler", assign.Run})
	onNode, err := s.node.components(p, agent)
	if err != nil {
		return err
	}
	running = append(running, onNode...)
	if err := s.watchReadiness(p.admin); err != nil {
		return err
	}
	p.admin.Informers.Start(ctx.Done())
	if err := p.bootstrapNamespaces(ctx); err != nil {
		return err
	}
	s.group.Go(func() error { return p.bootstrapObjects(ctx) })
	s.group.Go(func() error { return p.bootstrapRoles(ctx) })
	for _, c := range running {
		s.group.Go(func() error {
			if err := c.run(ctx); err != nil && ctx.Err() == nil {
				return fmt.Errorf("run %s: %w", c.name, err)
			}
			return nil
		})
	}
	return nil
}

// component is something that runs until its context ends.
type component struct {
	name string
	run  func(context.Context) error
}

// watchReadiness notes when this machine's node is Ready.
func (s *Server) watchReadiness(admin *client.Set) error {
	look := func(obj any) {
		node, ok := obj.(*corev1.Node)
		if ok && node.Name == s.config.NodeName && readiness(node) == "Ready" && s.node.reports(node) {
			s.once.Do(func() { s.reached(PhaseReady); close(s.ready) })
		}
	}
	_, err := admin.Informers.Core().V1().Nodes().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) { look(obj); s.markControlPlane(obj.(*corev1.Node)) }, UpdateFunc: func(_, obj any) { look(obj) },
	})
	return err
}

// controlPlaneLabel is the role that `kubectl get nodes` shows. A node may not
// give it to itself.
const controlPlaneLabel = "node-role.kubernetes.io/control-plane"

// markControlPlane labels this machine's node with its role.
func (s *Server) markControlPlane(node *corev1.Node) {
	if _, has := node.Labels[controlPlaneLabel]; has || node.Name != s.config.NodeName {
		return
	}
	s.group.Go(func() error {
		patch := []byte(`{"metadata":{"labels":{"` + controlPlaneLabel + `":""}}}`)
		if _, err := s.plane.admin.Kubernetes.CoreV1().Nodes().Patch(s.ctx, node.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil && s.ctx.Err() == nil {
			s.config.Log.Warn("label node with its role", "node", node.Name, "error", err)
		}
		return nil
	})
}

// settleAfter is how long after the node is Ready the start counts as over.
const settleAfter = 5 * time.Second

// settle gives back, once, what only the start needed.
func (s *Server) settle(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.ready:
	}
	timer := time.NewTimer(settleAfter)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
		if err := host.Settle(); err != nil {
			s.config.Log.Warn("settle down", "error", err)
		}
	}
	return nil
}

// keepKubeconfig renews the certificate in the kubeconfig before it expires.
func (s *Server) keepKubeconfig(ctx context.Context, renew time.Time) error {
	for {
		timer := time.NewTimer(time.Until(renew))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case now := <-timer.C:
			next, err := s.plane.writeKubeconfig(now)
			if err != nil {
				s.config.Log.Error("renew kubeconfig", "error", err)
				next = now.Add(time.Hour)
			}
			renew = next
		}
	}
}

func (s *Server) reached(phase string) {
	s.config.Progress(Phase{phase, time.Since(s.started)})
}

// Ready is closed when the node is Ready.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Wait returns when the instance has ended: nil where its context did.
func (s *Server) Wait() error {
	err := s.group.Wait()
	s.cancel()
	s.plane.close()
	err = errors.Join(err, s.node.close())
	s.lock.Release()
	return err
}
