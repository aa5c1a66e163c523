package life

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Restarts tells whether a container that exited with code is to run again, after the container's own rules, its own
// policy and the pod's policy, in this order. Source: KEP-5307 for the rules. init is true for an init container that is
// not a sidecar: Always means OnFailure there.
func Restarts(pod *corev1.Pod, c *corev1.Container, code int32, init bool) bool {
	for _, rule := range c.RestartPolicyRules {
		if matches(rule, code) {
			return true
		}
	}
	policy := pod.Spec.RestartPolicy
	if c.RestartPolicy != nil {
		policy = corev1.RestartPolicy(*c.RestartPolicy)
	}
	if init && policy == corev1.RestartPolicyAlways && !Sidecar(c) {
		policy = corev1.RestartPolicyOnFailure
	}
	switch policy {
	case corev1.RestartPolicyNever:
		return false
	case corev1.RestartPolicyOnFailure:
		return code != 0
	}
	return true
}

// RestartsAll tells whether the exit asks for a restart of every container of the pod. Source: KEP-5532.
func RestartsAll(c *corev1.Container, code int32) bool {
	for _, rule := range c.RestartPolicyRules {
		if matches(rule, code) {
			return rule.Action == corev1.ContainerRestartRuleActionRestartAllContainers
		}
	}
	return false
}

func matches(rule corev1.ContainerRestartRule, code int32) bool {
	if rule.ExitCodes == nil {
		return false
	}
	in := slices.Contains(rule.ExitCodes.Values, code)
	return in == (rule.ExitCodes.Operator == corev1.ContainerRestartRuleOnExitCodesOpIn)
}

// The crash back-off: first restart at once, then 10 s doubling to 5 min; ten minutes without a crash forget it.
const (
	BackOffInitial = 10 * time.Second
	BackOffMax     = 5 * time.Minute
	backOffForget  = 2 * BackOffMax
)

// BackOff remembers how long the next restart of a container has to wait after its exit.
type BackOff struct {
	Delay   time.Duration
	Updated time.Time
}

// Until returns when a container that finished at may be started again.
func (b BackOff) Until(finished time.Time) time.Time {
	if b.Delay == 0 || finished.Sub(b.Updated) > backOffForget {
		return finished
	}
	return finished.Add(b.Delay)
}

// Next returns the back-off to keep once a container that finished at is started again now.
func (b BackOff) Next(finished, now time.Time) BackOff {
	switch {
	case b.Delay == 0 || finished.Sub(b.Updated) > backOffForget:
		b.Delay = BackOffInitial
	default:
		b.Delay = min(2*b.Delay, BackOffMax)
	}
	b.Updated = now
	return b
}
