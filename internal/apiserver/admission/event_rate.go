package admission

import (
	"context"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/clock"
)

// EventRateLimit refuses events of tenants that come too fast: they are kept for an hour, in memory too, and nobody's quota
// counts them. Those of the system's own, nodes among them, pass; they are correlated where they are made.
//
// (upstream has a plugin of this name that is off by default, with limits by server, namespace, user and source; these are the
// first three of them, and large events count for several.)
type EventRateLimit struct {
	Operations
	clock clock.PassiveClock

	mu      sync.Mutex
	buckets map[bucketOf]*bucket
}

type bucketOf struct{ kind, name string }

// limit is the size of a bucket and what is added each second. A unit is an event of up to unitBytes.
type limit struct{ burst, rate float64 }

const unitBytes = 1 << 10

var eventLimits = map[string]limit{
	"Server":    {5000, 20},
	"Namespace": {1000, 10},
	"User":      {500, 5},
}

// fullBuckets is the number of buckets from which on those that are full are forgotten: they are as new ones.
const fullBuckets = 4096

// NewEventRateLimit makes the plugin.
func NewEventRateLimit(c clock.PassiveClock) *EventRateLimit {
	return &EventRateLimit{Operations: Operations{Create, Update}, clock: c, buckets: map[bucketOf]*bucket{}}
}

// Name implements Plugin.
func (*EventRateLimit) Name() string { return "EventRateLimit" }

// Validate implements Validator.
func (l *EventRateLimit) Validate(_ context.Context, r *Request) error {
	if !r.Is("", "events", "") && !r.Is("events.k8s.io", "events", "") || r.DryRun || r.User == nil {
		return nil
	}
	tenant := r.User.Tenant()
	if tenant == "" {
		return nil
	}
	cost := 1.0
	if sized, ok := r.Object.(interface{ Size() int }); ok {
		cost += float64(sized.Size() / unitBytes)
	}
	return l.take(cost, bucketOf{"User", r.User.Name}, bucketOf{"Namespace", r.Namespace}, bucketOf{"Server", ""})
}

// take takes from all buckets or from none.
func (l *EventRateLimit) take(cost float64, from ...bucketOf) error {
	now := l.clock.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.buckets) >= fullBuckets {
		for of, b := range l.buckets {
			if limit := eventLimits[of.kind]; b.fill(now, limit) >= limit.burst {
				delete(l.buckets, of)
			}
		}
	}
	for _, of := range from {
		limit, b := eventLimits[of.kind], l.buckets[of]
		if b == nil {
			b = &bucket{level: limit.burst, at: now}
			l.buckets[of] = b
		}
		if b.fill(now, limit) < cost {
			return apierrors.NewTooManyRequestsError(fmt.Sprintf("limit reached on type %s for key %s", of.kind, of.name))
		}
	}
	for _, of := range from {
		l.buckets[of].level -= cost
	}
	return nil
}

// bucket is filled as time goes by.
type bucket struct {
	level float64
	at    time.Time
}

// fill is the level by now.
func (b *bucket) fill(now time.Time, l limit) float64 {
	if passed := now.Sub(b.at); passed > 0 {
		b.level = min(l.burst, b.level+passed.Seconds()*l.rate)
		b.at = now
	}
	return b.level
}
