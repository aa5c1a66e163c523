package deployment

import (
	"fmt"
	"math"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// summary is the status that the sets amount to, with the conditions that the
// deployment has and the one on availability.
func (r *rollout) summary() appsv1.DeploymentStatus {
	d := r.deployment
	s := appsv1.DeploymentStatus{
		ObservedGeneration: d.Generation,
		CollisionCount:     d.Status.CollisionCount,
		Conditions:         slices.Clone(d.Status.Conditions),
	}
	var terminating int32
	known := true
	for _, set := range r.all() {
		s.Replicas += set.Status.Replicas
		s.ReadyReplicas += set.Status.ReadyReplicas
		s.AvailableReplicas += set.Status.AvailableReplicas
		if set == r.create {
			continue // it has no pods yet
		}
		if t := set.Status.TerminatingReplicas; t == nil {
			known = false
		} else {
			terminating += *t
		}
	}
	if known {
		s.TerminatingReplicas = &terminating
	}
	if r.new != nil {
		s.UpdatedReplicas = r.new.Status.Replicas
	}
	s.UnavailableReplicas = max(0, sizes(r.all())-s.AvailableReplicas)
	_, unavailable := fenceposts(d)
	if s.AvailableReplicas >= size(d)-unavailable {
		setCondition(&s, r.condition(appsv1.DeploymentAvailable, corev1.ConditionTrue, "MinimumReplicasAvailable", "Deployment has minimum availability."))
	} else {
		setCondition(&s, r.condition(appsv1.DeploymentAvailable, corev1.ConditionFalse, "MinimumReplicasUnavailable", "Deployment does not have minimum availability."))
	}
	return s
}

// progress is the summary plus how the rollout goes: complete, progressing or
// past its deadline.
func (r *rollout) progress() {
	d := r.deployment
	s := r.summary()
	current := findCondition(s, appsv1.DeploymentProgressing)
	settled := s.Replicas == s.UpdatedReplicas && current != nil && current.Reason == "NewReplicaSetAvailable"
	what := fmt.Sprintf("Deployment %q", d.Name)
	if r.new != nil {
		what = fmt.Sprintf("ReplicaSet %q", r.new.Name)
	}
	switch {
	case !hasDeadline(d):
		removeCondition(&s, appsv1.DeploymentProgressing)
	case settled:
	case r.complete(s):
		setCondition(&s, r.condition(appsv1.DeploymentProgressing, corev1.ConditionTrue, "NewReplicaSetAvailable", what+" has successfully progressed."))
	case progressed(d.Status, s):
		c := r.condition(appsv1.DeploymentProgressing, corev1.ConditionTrue, "ReplicaSetUpdated", what+" is progressing.")
		if current != nil {
			if current.Status == corev1.ConditionTrue {
				c.LastTransitionTime = current.LastTransitionTime
			}
			removeCondition(&s, appsv1.DeploymentProgressing) // its time of update moves even if nothing else does
		}
		setCondition(&s, c)
	case r.timedOut(current):
		setCondition(&s, r.condition(appsv1.DeploymentProgressing, corev1.ConditionFalse, "ProgressDeadlineExceeded", what+" has timed out progressing."))
	}
	if failure := r.failure(); failure != nil {
		setCondition(&s, *failure)
	} else {
		removeCondition(&s, appsv1.DeploymentReplicaFailure)
	}
	r.status = s
	r.again = r.untilDeadline(s)
}

func (r *rollout) complete(s appsv1.DeploymentStatus) bool {
	want := size(r.deployment)
	return s.UpdatedReplicas == want && s.Replicas == want && s.AvailableReplicas == want
}

func progressed(before, after appsv1.DeploymentStatus) bool {
	return after.UpdatedReplicas > before.UpdatedReplicas ||
		after.Replicas-after.UpdatedReplicas < before.Replicas-before.UpdatedReplicas ||
		after.ReadyReplicas > before.ReadyReplicas ||
		after.AvailableReplicas > before.AvailableReplicas
}

func (r *rollout) timedOut(c *appsv1.DeploymentCondition) bool {
	switch {
	case c == nil, c.Reason == "NewReplicaSetAvailable":
		return false
	case c.Reason == "ProgressDeadlineExceeded":
		return true
	}
	return r.deadline(c).Before(r.now)
}

func (r *rollout) deadline(c *appsv1.DeploymentCondition) time.Time {
	return c.LastUpdateTime.Add(time.Duration(*r.deployment.Spec.ProgressDeadlineSeconds) * time.Second)
}

// untilDeadline is when a rollout that is under way must have got further.
func (r *rollout) untilDeadline(s appsv1.DeploymentStatus) time.Duration {
	c := findCondition(s, appsv1.DeploymentProgressing)
	if !hasDeadline(r.deployment) || c == nil || r.complete(s) || c.Reason == "ProgressDeadlineExceeded" || c.Reason == "NewReplicaSetAvailable" {
		return 0
	}
	return max(time.Second, r.deadline(c).Sub(r.now)+time.Second)
}

// failure is what keeps a set from having its pods, the new set's first.
func (r *rollout) failure() *appsv1.DeploymentCondition {
	sets := slices.Clone(r.old)
	if r.new != nil {
		sets = slices.Insert(sets, 0, r.new)
	}
	for _, set := range sets {
		for _, c := range set.Status.Conditions {
			if c.Type == appsv1.ReplicaSetReplicaFailure {
				return &appsv1.DeploymentCondition{
					Type: appsv1.DeploymentReplicaFailure, Status: c.Status, Reason: c.Reason, Message: c.Message,
					LastTransitionTime: c.LastTransitionTime, LastUpdateTime: c.LastTransitionTime,
				}
			}
		}
	}
	return nil
}

// notePause keeps a paused rollout from running into its deadline.
func (r *rollout) notePause() {
	d := r.deployment
	if !hasDeadline(d) {
		return
	}
	c := findCondition(d.Status, appsv1.DeploymentProgressing)
	if c != nil && c.Reason == "ProgressDeadlineExceeded" {
		return
	}
	noted := c != nil && c.Reason == "DeploymentPaused"
	switch {
	case d.Spec.Paused && !noted:
		setCondition(&d.Status, r.condition(appsv1.DeploymentProgressing, corev1.ConditionUnknown, "DeploymentPaused", "Deployment is paused"))
	case !d.Spec.Paused && noted:
		setCondition(&d.Status, r.condition(appsv1.DeploymentProgressing, corev1.ConditionUnknown, "DeploymentResumed", "Deployment is resumed"))
	}
}

func hasDeadline(d *appsv1.Deployment) bool {
	return d.Spec.ProgressDeadlineSeconds != nil && *d.Spec.ProgressDeadlineSeconds != math.MaxInt32
}

func (r *rollout) condition(kind appsv1.DeploymentConditionType, status corev1.ConditionStatus, reason, message string) appsv1.DeploymentCondition {
	now := metav1.NewTime(r.now)
	return appsv1.DeploymentCondition{Type: kind, Status: status, Reason: reason, Message: message, LastUpdateTime: now, LastTransitionTime: now}
}

func findCondition(s appsv1.DeploymentStatus, kind appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range s.Conditions {
		if s.Conditions[i].Type == kind {
			c := s.Conditions[i]
			return &c
		}
	}
	return nil
}

// setCondition changes nothing if status and reason are the same already.
func setCondition(s *appsv1.DeploymentStatus, c appsv1.DeploymentCondition) {
	if current := findCondition(*s, c.Type); current != nil {
		if current.Status == c.Status && current.Reason == c.Reason {
			return
		}
		if current.Status == c.Status {
			c.LastTransitionTime = current.LastTransitionTime
		}
	}
	removeCondition(s, c.Type)
	s.Conditions = append(s.Conditions, c)
}

func removeCondition(s *appsv1.DeploymentStatus, kind appsv1.DeploymentConditionType) {
	var kept []appsv1.DeploymentCondition
	for _, c := range s.Conditions {
		if c.Type != kind {
			kept = append(kept, c)
		}
	}
	s.Conditions = kept
}
