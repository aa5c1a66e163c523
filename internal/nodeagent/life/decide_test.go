package life

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// build makes a pod from a line: "Always init:a side:b app:c eph:d".
func build(line string) *corev1.Pod {
	words := strings.Fields(line)
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "n", UID: "u"}, Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicy(words[0])}}
	always := corev1.ContainerRestartPolicyAlways
	for _, w := range words[1:] {
		kind, name, _ := strings.Cut(w, ":")
		c := corev1.Container{Name: name, Image: "i"}
		switch kind {
		case "init":
			p.Spec.InitContainers = append(p.Spec.InitContainers, c)
		case "side":
			c.RestartPolicy = &always
			p.Spec.InitContainers = append(p.Spec.InitContainers, c)
		case "app":
			p.Spec.Containers = append(p.Spec.Containers, c)
		case "eph":
			p.Spec.EphemeralContainers = append(p.Spec.EphemeralContainers, corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: name}})
		}
	}
	return p
}

// observe makes what the runtime has from a line: "s0" a ready sandbox, "s0!" a dead one, then "a=running", "a=exited:1",
// "a@s0=exited:0" for a container in another sandbox than the newest. A later word of the same name is a later attempt.
func observe(line string) *Observed {
	o := &Observed{}
	attempts := map[string]uint32{}
	for i, w := range strings.Fields(line) {
		at := t0.Add(time.Duration(i) * time.Millisecond)
		name, state, ok := strings.Cut(w, "=")
		if !ok {
			id := strings.TrimSuffix(w, "!")
			o.Sandboxes = append(o.Sandboxes, &Sandbox{ID: id, Ready: id == w, Created: at, Attempt: uint32(len(o.Sandboxes)), IPs: []string{"10.0.0.1"}})
			continue
		}
		name, box, ok := strings.Cut(name, "@")
		if !ok {
			box = o.Sandboxes[len(o.Sandboxes)-1].ID
		}
		c := &Container{ID: fmt.Sprintf("%s-%d", name, attempts[name]), Name: name, Sandbox: box, Attempt: attempts[name], Created: at, Started: at, Finished: at}
		attempts[name]++
		state, code, _ := strings.Cut(state, ":")
		_, _ = fmt.Sscan(code, &c.ExitCode)
		c.State = map[string]ContainerState{"created": Created, "running": Running, "exited": Exited, "unknown": Unknown}[state]
		o.Containers = append(o.Containers, c)
	}
	o.Sort()
	return o
}

// tell puts a plan into one line.
func tell(p *Plan) string {
	var out []string
	if p.KillAll {
		out = append(out, "kill-all")
	}
	if p.NewSandbox {
		out = append(out, fmt.Sprintf("sandbox#%d", p.Attempt))
	}
	if p.Done {
		out = append(out, "done")
	}
	for _, s := range p.Stop {
		out = append(out, "stop:"+s.Container.Name+"("+s.Reason+")")
	}
	for _, s := range p.Start {
		out = append(out, fmt.Sprintf("start:%s#%d", s.Spec.Name, s.Attempt))
	}
	for _, c := range p.Remove {
		out = append(out, "remove:"+c.ID)
	}
	for name, w := range p.Waiting {
		out = append(out, "wait:"+name+"("+w.Reason+")")
	}
	return strings.Join(out, " ")
}

func TestDecide(t *testing.T) {
	for _, tt := range []struct {
		name, pod, have, want string
		health                map[string]Health
		backoff               map[string]BackOff
		after                 time.Duration
	}{
		{name: "new pod", pod: "Always app:a", want: "sandbox#0"},
		{name: "sandbox is up", pod: "Always app:a app:b", have: "s0", want: "start:a#0 start:b#0"},
		{name: "one is missing", pod: "Always app:a app:b", have: "s0 a=running", want: "start:b#0"},
		{name: "all run", pod: "Always app:a", have: "s0 a=running", want: ""},
		{name: "exit is restarted", pod: "Always app:a", have: "s0 a=exited:0", want: "start:a#1"},
		{name: "OnFailure, failed", pod: "OnFailure app:a", have: "s0 a=exited:1", want: "start:a#1"},
		{name: "OnFailure, succeeded", pod: "OnFailure app:a", have: "s0 a=exited:0", want: "kill-all done"},
		{name: "OnFailure, one left", pod: "OnFailure app:a app:b", have: "s0 a=exited:0 b=running", want: ""},
		{name: "Never, failed", pod: "Never app:a", have: "s0 a=exited:1", want: "kill-all done"},
		{name: "Never, one left", pod: "Never app:a app:b", have: "s0 a=exited:1 b=running", want: ""},
		{name: "dead sandbox, Always", pod: "Always app:a", have: "s0! a=exited:137", want: "kill-all sandbox#1"},
		{name: "dead sandbox, ended before", pod: "Never app:a", have: "s0! a=exited:0", want: "kill-all done"},
		{name: "dead sandbox, never begun", pod: "Never app:a", have: "s0!", want: "kill-all sandbox#1"},
		{name: "two sandboxes", pod: "Always app:a", have: "s0 s1", want: "kill-all sandbox#2"},
		{name: "new sandbox, count goes on", pod: "Always app:a", have: "s0! a=exited:137 s1", want: "start:a#1"},
		{name: "new sandbox, success is kept", pod: "OnFailure app:a app:b", have: "s0! a=exited:0 b=exited:1 s1", want: "start:b#1"},
		{name: "back-off", pod: "Always app:a", have: "s0 a=exited:1", backoff: map[string]BackOff{"a": {Delay: 10 * time.Second, Updated: t0}}, after: 9 * time.Second, want: "wait:a(CrashLoopBackOff)"},
		{name: "back-off is over", pod: "Always app:a", have: "s0 a=exited:1", backoff: map[string]BackOff{"a": {Delay: 10 * time.Second, Updated: t0}}, after: 11 * time.Second, want: "start:a#1"},
		{name: "back-off is forgotten", pod: "Always app:a", have: "s0 a=exited:1", backoff: map[string]BackOff{"a": {Delay: 5 * time.Minute, Updated: t0.Add(-11 * time.Minute)}}, want: "start:a#1"},
		{name: "first init", pod: "Always init:i init:j app:a", have: "s0", want: "start:i#0"},
		{name: "init runs", pod: "Always init:i init:j app:a", have: "s0 i=running", want: ""},
		{name: "second init", pod: "Always init:i init:j app:a", have: "s0 i=exited:0", want: "start:j#0"},
		{name: "init done", pod: "Always init:i app:a", have: "s0 i=exited:0", want: "start:a#0"},
		{name: "init failed", pod: "Always init:i app:a", have: "s0 i=exited:1", want: "start:i#1"},
		{name: "init failed, Never", pod: "Never init:i app:a", have: "s0 i=exited:1", want: "kill-all done"},
		{name: "init's record is gone", pod: "Always init:i app:a", have: "s0 a=running", want: ""},
		{name: "init again in a new sandbox", pod: "Always init:i app:a", have: "s0! i=exited:0 a=exited:137 s1", want: "start:i#1"},
		{name: "sidecar first", pod: "Always side:s app:a", have: "s0", want: "start:s#0"},
		{name: "sidecar has started", pod: "Always side:s app:a", have: "s0 s=running", want: "start:a#0"},
		{name: "sidecar's startup probe", pod: "Always side:s app:a", have: "s0 s=running", health: map[string]Health{"s-0": {}}, want: ""},
		{name: "sidecar ended, apps run", pod: "Always side:s app:a", have: "s0 s=exited:1 a=running", want: "start:s#1"},
		{name: "sidecar ended, pod is over", pod: "Never side:s app:a", have: "s0 s=running a=exited:0", want: "kill-all done"},
		{name: "sidecar between inits", pod: "Always init:i side:s init:j app:a", have: "s0 i=exited:0 s=running j=running", want: ""},
		{name: "sidecar ended between inits", pod: "Always init:i side:s init:j app:a", have: "s0 i=exited:0 s=exited:0 j=exited:0", want: "start:s#1 start:a#0"},
		{name: "liveness", pod: "Always app:a", have: "s0 a=running", health: map[string]Health{"a-0": {Started: true, Failed: "liveness"}}, want: "stop:a(liveness)"},
		{name: "startup", pod: "Always app:a", have: "s0 a=running", health: map[string]Health{"a-0": {Failed: "startup"}}, want: "stop:a(startup)"},
		{name: "created only", pod: "Always app:a", have: "s0 a=created", want: "stop:a(unknown) start:a#1"},
		{name: "unknown", pod: "Always app:a", have: "s0 a=unknown", want: "stop:a(unknown) start:a#1"},
		{name: "ephemeral", pod: "Always app:a eph:e", have: "s0 a=running", want: "start:e#0"},
		{name: "ephemeral is never restarted", pod: "Always app:a eph:e", have: "s0 a=running e=exited:1", want: ""},
		{name: "old records go", pod: "Always app:a", have: "s0 a=exited:1 a=exited:1 a=exited:1 a=running", want: "remove:a-1 remove:a-0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := &Input{Pod: build(tt.pod), Observed: observe(tt.have), Health: tt.health, BackOffs: tt.backoff, Now: t0.Add(time.Second + tt.after)}
			if tt.after > 0 {
				in.Now = t0.Add(tt.after)
			}
			if got := tell(Decide(in)); got != tt.want {
				t.Errorf("plan %q, want %q", got, tt.want)
			}
		})
	}
}

func TestRestartRules(t *testing.T) {
	pod := build("Never app:a")
	c := &pod.Spec.Containers[0]
	c.RestartPolicyRules = []corev1.ContainerRestartRule{{Action: corev1.ContainerRestartRuleActionRestart,
		ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: corev1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{42}}}}
	if !Restarts(pod, c, 42, false) || Restarts(pod, c, 1, false) {
		t.Error("the container's own rule does not decide")
	}
	always := corev1.ContainerRestartPolicyAlways
	c.RestartPolicy = &always
	if !Restarts(pod, c, 0, false) {
		t.Error("the container's own policy does not decide")
	}
}

func TestBackOff(t *testing.T) {
	var b BackOff
	var got []time.Duration
	now := t0
	for range 7 {
		b = b.Next(now, now)
		got = append(got, b.Delay)
		now = b.Until(now)
	}
	if fmt.Sprint(got) != "[10s 20s 40s 1m20s 2m40s 5m0s 5m0s]" {
		t.Errorf("delays %v", got)
	}
	if b = b.Next(now.Add(11*time.Minute), now.Add(11*time.Minute)); b.Delay != 10*time.Second {
		t.Errorf("after a quiet time: %v", b.Delay)
	}
}

func TestStatus(t *testing.T) {
	for _, tt := range []struct {
		name, pod, have string
		stopped         bool
		health          map[string]Health
		want            string // phase, then each container's state, then Ready's status and reason
	}{
		{"nothing yet", "Always app:a", "", false, nil, "Pending a=ContainerCreating False/ContainersNotReady"},
		{"nothing yet, init", "Always init:i app:a", "", false, nil, "Pending i=PodInitializing a=PodInitializing False/ContainersNotReady"},
		{"runs", "Always app:a", "s0 a=running", false, nil, "Running a=running True/"},
		{"runs, not ready", "Always app:a", "s0 a=running", false, map[string]Health{"a-0": {Started: true}}, "Running a=running False/ContainersNotReady"},
		{"one of two", "Always app:a app:b", "s0 a=running", false, nil, "Pending a=running b=ContainerCreating False/ContainersNotReady"},
		{"init runs", "Always init:i app:a", "s0 i=running", false, nil, "Pending i=running a=PodInitializing False/ContainersNotReady"},
		{"ended but not stopped", "Never app:a", "s0 a=exited:0", false, nil, "Running a=exited:0 False/ContainersNotReady"},
		{"succeeded", "Never app:a", "s0! a=exited:0", true, nil, "Succeeded a=exited:0 False/PodCompleted"},
		{"failed", "Never app:a", "s0! a=exited:2", true, nil, "Failed a=exited:2 False/PodFailed"},
		{"init failed", "Never init:i app:a", "s0! i=exited:1", true, nil, "Failed i=exited:1 a=PodInitializing False/PodFailed"},
		{"deleted before it ran", "Always app:a", "", true, nil, "Failed a=exited:137 False/PodFailed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := Status(&StatusInput{Pod: build(tt.pod), Observed: observe(tt.have), Health: tt.health, Stopped: tt.stopped, HostIPs: []string{"192.0.2.1"}, RuntimeName: "nau", Now: t0})
			out := []string{string(s.Phase)}
			for _, c := range append(s.InitContainerStatuses, s.ContainerStatuses...) {
				switch {
				case c.State.Running != nil:
					out = append(out, c.Name+"=running")
				case c.State.Terminated != nil:
					out = append(out, fmt.Sprintf("%s=exited:%d", c.Name, c.State.Terminated.ExitCode))
				default:
					out = append(out, c.Name+"="+c.State.Waiting.Reason)
				}
			}
			r := condition(&s, corev1.PodReady)
			out = append(out, string(r.Status)+"/"+r.Reason)
			if got := strings.Join(out, " "); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}
