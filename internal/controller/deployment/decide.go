package deployment

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// state is what the decision rests on. The deployment and its sets are the
// decider's own copies.
type state struct {
	now        time.Time
	deployment *appsv1.Deployment
	sets       []*appsv1.ReplicaSet // controlled by the deployment
	// running tells, by set, whether a pod of it has not ended.
	running map[types.UID]bool
}

// plan is what to do, in this order.
type plan struct {
	create *appsv1.ReplicaSet
	update []*appsv1.ReplicaSet
	remove []*appsv1.ReplicaSet
	events []event
	// revision is the deployment's own annotation to be written, "" if it holds.
	revision string
	status   appsv1.DeploymentStatus
	// again is when a deadline passes, 0 if none is near.
	again time.Duration
}

type event struct{ kind, reason, message string }

// rollout is one decision in the making.
type rollout struct {
	state
	plan
	new *appsv1.ReplicaSet // the set of the present template, nil if there is none
	old []*appsv1.ReplicaSet
}

// decide is the whole of it: who is scaled, made and removed, and what to say.
func decide(s state) plan {
	r := &rollout{state: s}
	slices.SortStableFunc(r.sets, olderFirst)
	r.findNew()
	d := s.deployment
	if d.DeletionTimestamp != nil {
		r.status = r.summary()
		return r.plan
	}
	r.notePause()
	switch {
	case d.Spec.Paused, r.resized():
		r.adoptRevision()
		r.resize()
		if d.Spec.Paused {
			r.cleanUp()
		}
		r.status = r.summary()
	case d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType:
		r.recreate()
		r.progress()
	default:
		r.roll()
		r.progress()
	}
	return r.plan
}

func (r *rollout) findNew() {
	for _, set := range r.sets {
		if r.new == nil && sameTemplate(&r.deployment.Spec.Template, &set.Spec.Template) {
			r.new = set
		} else {
			r.old = append(r.old, set)
		}
	}
}

func (r *rollout) all() []*appsv1.ReplicaSet {
	if r.new == nil {
		return r.old
	}
	return append(slices.Clone(r.old), r.new)
}

// roll is the strategy RollingUpdate: up within the surge, then down within what
// may be unavailable, one of the two at a time.
func (r *rollout) roll() {
	r.ensureNew()
	if r.scaleNew() || r.scaleOld() {
		return
	}
	if r.complete(r.summary()) {
		r.cleanUp()
	}
}

func (r *rollout) scaleNew() bool {
	want := size(r.deployment)
	if have := setSize(r.new); have < want {
		want = newSize(r.deployment, r.all(), r.new)
	}
	return r.scale(r.new, want)
}

func (r *rollout) scaleOld() bool {
	old := active(r.old)
	total := sizes(r.old)
	if total == 0 {
		return false
	}
	_, unavailable := fenceposts(r.deployment)
	least := size(r.deployment) - unavailable
	room := total + setSize(r.new) - least - (setSize(r.new) - r.new.Status.AvailableReplicas)
	if room <= 0 {
		return false
	}
	// The unhealthy ones first: they serve nobody.
	var cleaned int32
	for _, set := range old {
		if cleaned >= room {
			break
		}
		if n := min(room-cleaned, setSize(set)-set.Status.AvailableReplicas); n > 0 {
			cleaned += n
			r.scale(set, setSize(set)-n)
		}
	}
	var available int32
	for _, set := range r.all() {
		available += set.Status.AvailableReplicas
	}
	spare := available - least
	var down int32
	for _, set := range old {
		if down >= spare {
			break
		}
		if n := min(setSize(set), spare-down); n > 0 {
			down += n
			r.scale(set, setSize(set)-n)
		}
	}
	return cleaned+down > 0
}

// recreate is the strategy Recreate: the new set grows when no old pod is left.
func (r *rollout) recreate() {
	down := false
	for _, set := range active(r.old) {
		down = r.scale(set, 0) || down
	}
	if down {
		r.adoptRevision()
		return
	}
	for _, set := range r.old {
		if r.running[set.UID] {
			r.adoptRevision()
			return
		}
	}
	r.ensureNew()
	r.scale(r.new, size(r.deployment))
	if r.complete(r.summary()) {
		r.cleanUp()
	}
}

// ensureNew finds or plans the set of the present template, and its revision.
func (r *rollout) ensureNew() {
	if r.new != nil {
		r.adoptRevision()
		return
	}
	d := r.deployment
	set := newSet(d)
	r.new = set
	*set.Spec.Replicas = newSize(d, r.all(), set)
	revision := maxRevision(r.old) + 1
	annotate(d, set, revision)
	markSizes(set, d)
	r.create = set
	r.setRevision(revision)
	if hasDeadline(d) {
		setCondition(&d.Status, r.condition(appsv1.DeploymentProgressing, corev1.ConditionTrue, "NewReplicaSetCreated", fmt.Sprintf("Created new replica set %q", set.Name)))
	}
	if n := *set.Spec.Replicas; n > 0 {
		r.note("ScalingReplicaSet", fmt.Sprintf("Scaled up replica set %s from 0 to %d", set.Name, n))
	}
}

// adoptRevision gives the present template's set the newest revision, as after a
// rollback, when an old set becomes the new one.
func (r *rollout) adoptRevision() {
	if r.new == nil {
		return
	}
	d := r.deployment
	changed := annotate(d, r.new, maxRevision(r.old)+1)
	if r.new.Spec.MinReadySeconds != d.Spec.MinReadySeconds {
		r.new.Spec.MinReadySeconds = d.Spec.MinReadySeconds
		changed = true
	}
	if changed {
		r.touch(r.new)
	}
	r.setRevision(revisionOf(r.new))
	if hasDeadline(d) && findCondition(d.Status, appsv1.DeploymentProgressing) == nil {
		setCondition(&d.Status, r.condition(appsv1.DeploymentProgressing, corev1.ConditionTrue, "FoundNewReplicaSet", fmt.Sprintf("Found new replica set %q", r.new.Name)))
	}
}

func (r *rollout) setRevision(n int64) {
	if s := strconv.FormatInt(n, 10); r.deployment.Annotations[RevisionAnnotation] != s {
		r.revision = s
	}
}

// resized tells whether the deployment's size changed since its sets were scaled.
func (r *rollout) resized() bool {
	for _, set := range active(r.all()) {
		if n, err := strconv.ParseInt(set.Annotations[DesiredAnnotation], 10, 32); err == nil && int32(n) != size(r.deployment) {
			return true
		}
	}
	return false
}

// resize scales without rolling on: the only active set takes all, and several
// share the change in proportion to their sizes.
func (r *rollout) resize() {
	d := r.deployment
	if only := r.activeOrLatest(); only != nil {
		r.scale(only, size(d))
		return
	}
	if r.saturated() {
		for _, set := range active(r.old) {
			r.scale(set, 0)
		}
		return
	}
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return
	}
	sets := active(r.all())
	surge, _ := fenceposts(d)
	var allowed int32
	if size(d) > 0 {
		allowed = size(d) + surge
	}
	toAdd := allowed - sizes(sets)
	slices.SortStableFunc(sets, func(a, b *appsv1.ReplicaSet) int {
		if x, y := setSize(a), setSize(b); x != y {
			return int(y - x)
		}
		if toAdd > 0 {
			return olderFirst(b, a)
		}
		return olderFirst(a, b)
	})
	wants := make([]int32, len(sets))
	var added int32
	for i, set := range sets {
		share := proportion(set, d, surge, toAdd, added)
		wants[i] = setSize(set) + share
		added += share
	}
	for i, set := range sets {
		if i == 0 {
			wants[0] = max(0, wants[0]+toAdd-added)
		}
		r.scaleAndMark(set, wants[i])
	}
}

// activeOrLatest is the one set to scale, nil if several are active.
func (r *rollout) activeOrLatest() *appsv1.ReplicaSet {
	switch sets := active(r.all()); {
	case len(sets) == 1:
		return sets[0]
	case len(sets) > 1:
		return nil
	case r.new != nil:
		return r.new
	case len(r.old) > 0:
		return r.old[len(r.old)-1]
	}
	return nil
}

func (r *rollout) saturated() bool {
	want := size(r.deployment)
	return r.new != nil && setSize(r.new) == want && r.new.Status.AvailableReplicas == want &&
		r.new.Annotations[DesiredAnnotation] == strconv.Itoa(int(want))
}

// proportion is a set's share of what is to be added (or, negative, taken away).
func proportion(set *appsv1.ReplicaSet, d *appsv1.Deployment, surge, toAdd, added int32) int32 {
	if setSize(set) == 0 || toAdd == 0 || toAdd == added {
		return 0
	}
	var share int32
	if size(d) == 0 {
		share = -setSize(set)
	} else {
		before, err := strconv.ParseInt(set.Annotations[MaxAnnotation], 10, 32)
		if err != nil || before == 0 {
			before = int64(d.Status.Replicas)
		}
		if before == 0 {
			return 0
		}
		now := float64(setSize(set)) * float64(size(d)+surge) / float64(before)
		share = int32(math.Round(now)) - setSize(set)
	}
	if allowed := toAdd - added; toAdd > 0 {
		return min(share, allowed)
	} else {
		return max(share, allowed)
	}
}

// scale plans a new size for a set; false if it has that size.
func (r *rollout) scale(set *appsv1.ReplicaSet, n int32) bool {
	if setSize(set) == n {
		return false
	}
	r.scaleAndMark(set, n)
	return true
}

func (r *rollout) scaleAndMark(set *appsv1.ReplicaSet, n int32) {
	have := setSize(set)
	marked := markSizes(set, r.deployment)
	if have == n {
		if marked {
			r.touch(set)
		}
		return
	}
	set.Spec.Replicas = &n
	r.touch(set)
	way := "up"
	if n < have {
		way = "down"
	}
	r.note("ScalingReplicaSet", fmt.Sprintf("Scaled %s replica set %s from %d to %d", way, set.Name, have, n))
}

func (r *rollout) touch(set *appsv1.ReplicaSet) {
	if set != r.create && !slices.Contains(r.update, set) {
		r.update = append(r.update, set)
	}
}

func (r *rollout) note(reason, message string) {
	r.events = append(r.events, event{corev1.EventTypeNormal, reason, message})
}

// cleanUp plans the removal of old sets beyond the history limit.
func (r *rollout) cleanUp() {
	limit := r.deployment.Spec.RevisionHistoryLimit
	if limit == nil || *limit == math.MaxInt32 {
		return
	}
	var sets []*appsv1.ReplicaSet
	for _, set := range r.old {
		if set.DeletionTimestamp == nil {
			sets = append(sets, set)
		}
	}
	excess := len(sets) - int(*limit)
	slices.SortStableFunc(sets, func(a, b *appsv1.ReplicaSet) int { return int(revisionOf(a) - revisionOf(b)) })
	for i := range max(0, excess) {
		set := sets[i]
		if setSize(set) == 0 && set.Status.Replicas == 0 && set.Generation <= set.Status.ObservedGeneration {
			r.remove = append(r.remove, set)
		}
	}
}
