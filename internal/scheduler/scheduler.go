// Package scheduler gives each waiting pod a node. Events from the cluster
// update a picture of it (state) and wake waiting pods (queue); a decision asks
// the ranking, books the node at once, and leaves the API's answer to a few
// binders, so that deciding never waits for writing. It sees the cluster
// through client-go only; internal/cluster wires it.
package scheduler

import (
	"context"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	policylisters "k8s.io/client-go/listers/policy/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"

	"nau/internal/scheduler/plugin"
	"nau/internal/scheduler/plugins/imagelocality"
	"nau/internal/scheduler/plugins/interpodaffinity"
	"nau/internal/scheduler/plugins/nodeaffinity"
	"nau/internal/scheduler/plugins/nodename"
	"nau/internal/scheduler/plugins/nodeports"
	"nau/internal/scheduler/plugins/noderesources"
	"nau/internal/scheduler/plugins/nodeunschedulable"
	"nau/internal/scheduler/plugins/podtopologyspread"
	"nau/internal/scheduler/plugins/tainttoleration"
	"nau/internal/scheduler/queue"
	"nau/internal/scheduler/ranking"
	"nau/internal/scheduler/state"
)

// Config is what a scheduler needs; the informers' factory is started by the
// caller.
type Config struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	Name      string      // spec.schedulerName it answers to; "" is default-scheduler
	Binders   int         // writers at once; 0 is 8
	Clock     clock.Clock // nil is the wall clock
	Log       *slog.Logger
	Recorder  events.EventRecorder // nil: one of its own, started by Run
}

// DefaultRules are the rules in the order in which they are asked, cheapest and
// most lasting first.
// Namespace gives a namespace's labels; nil where nobody knows them.
func DefaultRules(namespace func(string) labels.Set) ranking.Rules {
	fit, taints, affinity := noderesources.New(), tainttoleration.New(), nodeaffinity.New()
	return ranking.Rules{
		Filters:  []plugin.Filter{nodeunschedulable.New(), nodename.New(), taints, affinity, nodeports.New(), fit},
		Groupers: []plugin.Grouper{podtopologyspread.New(), interpodaffinity.New(namespace)},
		Scorers:  []plugin.Scorer{taints, affinity, fit, noderesources.NewBalanced(), imagelocality.New()},
	}
}

// Scheduler is one running scheduler.
type Scheduler struct {
	config Config

	mu        sync.Mutex // guards what stands below it
	queue     *queue.Queue
	cluster   *state.Cluster
	ranking   *ranking.Ranking
	nominated map[types.UID]*nomination

	budgets   policylisters.PodDisruptionBudgetLister
	evictions sync.WaitGroup
	wake      chan struct{} // something may be ready; capacity 1
	bindings  chan binding
	synced    []cache.InformerSynced
}

// New builds a scheduler and registers its event handlers.
func New(config Config) (*Scheduler, error) {
	if config.Name == "" {
		config.Name = corev1.DefaultSchedulerName
	}
	if config.Binders == 0 {
		config.Binders = 8
	}
	if config.Clock == nil {
		config.Clock = clock.RealClock{}
	}
	if config.Log == nil {
		config.Log = slog.Default()
	}
	namespaces := config.Informers.Core().V1().Namespaces().Lister()
	rules := DefaultRules(func(name string) labels.Set {
		namespace, err := namespaces.Get(name)
		if err != nil {
			return nil // gone: it matches what an unlabelled one does
		}
		return namespace.Labels
	})
	s := &Scheduler{
		config:    config,
		queue:     queue.New(hinters(rules)),
		cluster:   state.New(),
		nominated: map[types.UID]*nomination{},
		budgets:   config.Informers.Policy().V1().PodDisruptionBudgets().Lister(),
		wake:      make(chan struct{}, 1),
		bindings:  make(chan binding, 4096),
	}
	s.ranking = ranking.New(s.cluster, rules)
	if err := s.listen(); err != nil {
		return nil, err
	}
	return s, nil
}

// Run schedules until ctx ends.
func (s *Scheduler) Run(ctx context.Context) error {
	if s.config.Recorder == nil {
		stop := s.startRecorder(ctx)
		defer stop()
	}
	if !cache.WaitForCacheSync(ctx.Done(), s.synced...) {
		return nil
	}
	var binders sync.WaitGroup
	for range s.config.Binders {
		binders.Go(func() { s.bindLoop(ctx) })
	}
	defer binders.Wait()
	defer s.evictions.Wait()
	timer := s.config.Clock.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		for s.scheduleOne(ctx) {
			if ctx.Err() != nil {
				return nil
			}
		}
		s.mu.Lock()
		due, timed := s.queue.Next()
		s.mu.Unlock()
		var tick <-chan time.Time
		if timed {
			timer.Reset(max(due.Sub(s.config.Clock.Now()), time.Millisecond))
			tick = timer.C()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		case now := <-tick:
			s.mu.Lock()
			s.queue.FlushLeftovers(now)
			s.mu.Unlock()
		}
	}
}

func (s *Scheduler) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// scheduleOne tries the next pod and tells whether there was one.
func (s *Scheduler) scheduleOne(ctx context.Context) bool {
	now := s.config.Clock.Now()
	s.mu.Lock()
	item := s.queue.Pop(now)
	if item == nil {
		s.mu.Unlock()
		return false
	}
	uid := item.Pod.Object.UID
	if s.waitsForVictims(uid) {
		s.queue.Failed(item, nil, false, now)
		s.mu.Unlock()
		return true
	}
	s.cluster.Forget(uid) // the booking of its nominated node, if any
	delete(s.nominated, uid)
	slot, ok := s.ranking.Best(item.Pod)
	if !ok {
		message, plugins := s.ranking.Why(item.Pod)
		evict, phrase := s.preempt(item.Pod)
		s.queue.Failed(item, plugins, false, now)
		s.mu.Unlock()
		node := ""
		if evict != nil {
			node = evict.Node.Object.Name
			s.evictions.Go(func() { s.evict(ctx, item.Pod, evict) })
		}
		s.report(ctx, item, message+phrase, node)
		return true
	}
	node := s.cluster.Node(slot).Object.Name
	s.cluster.Assume(item.Pod, slot)
	s.mu.Unlock()
	select {
	case s.bindings <- binding{item, node}:
	case <-ctx.Done():
	}
	return true
}

// hinters are the rules that can say whether an event helps.
func hinters(rules ranking.Rules) map[string]queue.Hinter {
	out := map[string]queue.Hinter{}
	for _, f := range rules.Filters {
		out[f.Name()] = f
	}
	for _, g := range rules.Groupers {
		out[g.Name()] = g
	}
	return out
}
