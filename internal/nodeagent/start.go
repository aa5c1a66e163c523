package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nau/internal/nodeagent/environ"
	"nau/internal/nodeagent/images"
	"nau/internal/nodeagent/life"
	"nau/internal/nodeagent/runspec"
)

// sandboxConfig is what the pod's sandbox was, or would be, made with.
type sandboxConfig struct {
	config           *runtimeapi.PodSandboxConfig
	handler          string
	hostname, domain string
}

// describe works the sandbox's configuration out; it is the same for each container of the pod.
func (w *worker) describe(pod *corev1.Pod, attempt uint32) (*sandboxConfig, error) {
	a := w.agent
	if w.sandbox != nil && w.sandbox.config.Metadata.Attempt == attempt {
		return w.sandbox, nil
	}
	name, domain, err := runspec.Hostname(pod, a.cfg.Hostname, a.cfg.ClusterDomain)
	if err != nil {
		return nil, err
	}
	dns, warning := runspec.DNS(pod, a.cfg.ClusterDNS, a.cfg.ClusterDomain, a.resolv())
	if warning != "" {
		w.event(pod, "", corev1.EventTypeWarning, "DNSConfigForming", warning)
	}
	in := runspec.SandboxInput{Attempt: attempt, Hostname: name, DNS: dns}
	if a.cgroups != nil {
		in.CgroupParent = a.cgroups.Path(pod)
	}
	handler, err := a.handler(pod)
	if err != nil {
		return nil, err
	}
	if in.UserNS, err = a.userns(pod, handler); err != nil {
		return nil, err
	}
	w.sandbox = &sandboxConfig{config: runspec.Sandbox(pod, &a.host, in), handler: handler, hostname: name, domain: domain}
	return w.sandbox, nil
}

// newSandbox makes the pod's volumes, cgroup and sandbox.
func (w *worker) newSandbox(ctx context.Context, pod *corev1.Pod, attempt uint32) error {
	a := w.agent
	if _, err := w.mount(ctx, pod); err != nil {
		return err
	}
	w.again(w.mountNext)
	fail := func(err error) error {
		if ctx.Err() == nil {
			w.event(pod, "", corev1.EventTypeWarning, "FailedCreatePodSandBox", fmt.Sprintf("Failed to create pod sandbox: %v", err))
		}
		return err
	}
	sc, err := w.describe(pod, attempt)
	if err != nil {
		return fail(err)
	}
	if a.cgroups != nil {
		if err := a.cgroups.Ensure(pod); err != nil {
			w.event(pod, "", corev1.EventTypeWarning, "FailedCreatePodContainer", fmt.Sprintf("unable to ensure pod container exists: %v", err))
			return err
		}
	}
	if !a.cfg.Simulated {
		if err := os.MkdirAll(sc.config.LogDirectory, 0o755); err != nil {
			return fail(fmt.Errorf("make log directory: %w", err))
		}
	}
	res, err := a.cfg.Runtime.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: sc.config, RuntimeHandler: sc.handler})
	if err != nil {
		return fail(plain(err))
	}
	if s := w.rereadSandbox(context.WithoutCancel(ctx), res.PodSandboxId); s == nil {
		return fail(errors.New("the runtime does not know the sandbox that it made"))
	}
	return ctx.Err()
}

// plain takes gRPC's wrapping off an error's text.
func plain(err error) error {
	if _, after, ok := strings.Cut(err.Error(), " desc = "); ok {
		return errors.New(after)
	}
	return err
}

// refuse records why a container does not start, with its event.
func (w *worker) refuse(pod *corev1.Pod, name, reason, message string) error {
	if w.waiting == nil {
		w.waiting = map[string]life.Wait{}
	}
	w.waiting[name] = life.Wait{Reason: reason, Message: message}
	return errors.New(reason)
}

// start brings one container from nothing to running.
func (w *worker) start(ctx context.Context, pod *corev1.Pod, s *life.Start) error {
	a, c := w.agent, s.Spec
	obs := w.observed()
	sb := obs.Sandbox()
	now := a.cfg.Clock.Now()
	sc, err := w.describe(pod, sb.Attempt)
	if err != nil {
		return w.reject(ctx, pod, c.Name, "CreateContainerConfigError", err)
	}
	event := func(kind, reason, message string) { w.event(pod, c.Name, kind, reason, message) }

	secrets := w.credentials(ctx, pod)
	p := w.pulls[c.Image]
	img, err := a.puller.Ensure(ctx, images.Request{Image: c.Image, Policy: c.ImagePullPolicy, Handler: sc.handler, Secrets: secrets, Sandbox: sc.config,
		BackOff: p.backoff, Last: p.last, Event: event})
	if err != nil {
		var problem *images.Problem
		if !errors.As(err, &problem) {
			return err
		}
		event(corev1.EventTypeWarning, "Failed", "Error: "+problem.Reason)
		switch {
		case problem.Pulled:
			w.backOffPull(c.Image, problem.Message, a.cfg.Clock.Now())
		case problem.Reason != "ImagePullBackOff":
			w.fail(now)
		}
		return w.refuse(pod, c.Name, problem.Reason, problem.Message)
	}
	delete(w.pulls, c.Image)

	in := runspec.ContainerInput{Attempt: s.Attempt, Image: &runtimeapi.ImageSpec{Image: img.Id, UserSpecifiedImage: c.Image, RuntimeHandler: sc.handler},
		ImageUser: img.Username, UserNS: sc.config.GetLinux().GetSecurityContext().GetNamespaceOptions().GetUsernsOptions()}
	if img.Uid != nil {
		in.ImageUID = &img.Uid.Value
	}
	if err := runspec.VerifyNonRoot(pod, c, in.ImageUID, in.ImageUser); err != nil {
		return w.reject(ctx, pod, c.Name, "CreateContainerConfigError", err)
	}
	ips := sb.IPs
	if pod.Spec.HostNetwork {
		ips = a.hostIPs()
	}
	if in.Env, in.Vars, err = environ.Build(pod, c, w.sources(ctx, pod, ips)); err != nil {
		return w.reject(ctx, pod, c.Name, "CreateContainerConfigError", err)
	}
	if in.Mounts, in.Devices, err = w.containerMounts(ctx, pod, c, s.Attempt, ips, sc, in.Vars); err != nil {
		return w.reject(ctx, pod, c.Name, "CreateContainerConfigError", err)
	}
	if s.Target != "" {
		if t := obs.Latest(s.Target); t != nil {
			in.TargetID = t.ID
		}
	}
	cfg := runspec.Container(pod, c, &a.host, in)
	if !a.cfg.Simulated {
		if err := os.MkdirAll(filepath.Join(sc.config.LogDirectory, c.Name), 0o755); err != nil {
			return w.reject(ctx, pod, c.Name, "CreateContainerError", fmt.Errorf("make log directory: %w", err))
		}
	}
	res, err := a.cfg.Runtime.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{PodSandboxId: sb.ID, Config: cfg, SandboxConfig: sc.config})
	if err != nil {
		return w.reject(ctx, pod, c.Name, "CreateContainerError", plain(err))
	}
	id := res.ContainerId
	created := &life.Container{ID: id, Name: c.Name, Sandbox: sb.ID, Attempt: s.Attempt, State: life.Created, Created: a.cfg.Clock.Now(), Hash: cfg.Annotations[runspec.AnnotationHash]}
	w.change(func(o *life.Observed) { o.Containers = append(o.Containers, created) })
	event(corev1.EventTypeNormal, "Created", "Container created")
	if _, err := a.cfg.Runtime.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: id}); err != nil {
		perr := plain(err)
		// What never ran leaves an exited record in some runtimes and a created one in others.
		if st := w.reread(context.WithoutCancel(ctx), id); st != nil && st.State != life.Exited {
			_, _ = a.cfg.Runtime.RemoveContainer(context.WithoutCancel(ctx), &runtimeapi.RemoveContainerRequest{ContainerId: id})
			w.drop(id)
		}
		w.remember(c.Name, s.BackOff)
		return w.reject(ctx, pod, c.Name, "RunContainerError", perr)
	}
	event(corev1.EventTypeNormal, "Started", "Container started")
	a.stats.containersStarted.Add(1)
	delete(w.waiting, c.Name)
	w.remember(c.Name, s.BackOff)
	st := w.reread(context.WithoutCancel(ctx), id)
	if w.applied == nil {
		w.applied = map[string]applied{}
	}
	w.applied[id] = applied{terms(cfg.GetLinux().GetResources()), c.Resources}
	if c.Lifecycle != nil && c.Lifecycle.PostStart != nil && st != nil {
		if err := w.hook(ctx, pod, c, id, c.Lifecycle.PostStart, ips); err != nil && ctx.Err() == nil {
			event(corev1.EventTypeWarning, "FailedPostStartHook", fmt.Sprintf("PostStartHook failed: %v", err))
			if kerr := w.stopContainer(ctx, pod, c, st, w.graceOf(pod), "FailedPostStartHook", nil); kerr != nil {
				a.cfg.Log.Warn("stop container after its postStart hook failed", "pod", podName(pod), "container", c.Name, "err", kerr)
			}
			_ = w.refuse(pod, c.Name, "PostStartHookError", err.Error())
			return nil
		}
	}
	return nil
}

func (w *worker) remember(name string, b life.BackOff) {
	if b.Delay == 0 {
		return
	}
	if w.backoffs == nil {
		w.backoffs = map[string]life.BackOff{}
	}
	w.backoffs[name] = b
}

// reject is refuse for errors that are tried again soon, with upstream's event.
func (w *worker) reject(ctx context.Context, pod *corev1.Pod, name, reason string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	w.event(pod, name, corev1.EventTypeWarning, "Failed", "Error: "+err.Error())
	w.fail(w.agent.cfg.Clock.Now())
	return w.refuse(pod, name, reason, err.Error())
}

// tellPullBackOff turns a failed pull's state into a back-off, with its events.
func (w *worker) tellPullBackOff(image string) {
	pod := w.view()
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			c := &list[i]
			x, ok := w.waiting[c.Name]
			if c.Image != image || !ok || x.Reason == "ImagePullBackOff" {
				continue
			}
			msg := fmt.Sprintf("Back-off pulling image %q", image)
			w.event(pod, c.Name, corev1.EventTypeNormal, "BackOff", msg)
			w.event(pod, c.Name, corev1.EventTypeWarning, "Failed", "Error: ImagePullBackOff")
			w.waiting[c.Name] = life.Wait{Reason: "ImagePullBackOff", Message: msg + ": " + x.Reason + ": " + w.pulls[image].last}
		}
	}
}

// credentials reads the pod's pull secrets; one that is missing is left out, as upstream does.
func (w *worker) credentials(ctx context.Context, pod *corev1.Pod) (out []images.Credential) {
	for _, ref := range pod.Spec.ImagePullSecrets {
		s, err := w.agent.refs.GetSecret(ctx, pod.Namespace, ref.Name)
		if err != nil {
			w.event(pod, "", corev1.EventTypeWarning, "FailedToRetrieveImagePullSecret",
				fmt.Sprintf("Unable to retrieve some image pull secrets (%s); attempting to pull the image may not succeed.", ref.Name))
			continue
		}
		if creds, err := images.FromSecret(s); err == nil {
			out = append(out, creds...)
		}
	}
	return out
}

// sources is where the container's environment comes from.
func (w *worker) sources(ctx context.Context, pod *corev1.Pod, ips []string) *environ.Sources {
	a := w.agent
	return &environ.Sources{
		ConfigMap:   func(name string) (*corev1.ConfigMap, error) { return a.refs.GetConfigMap(ctx, pod.Namespace, name) },
		Secret:      func(name string) (*corev1.Secret, error) { return a.refs.GetSecret(ctx, pod.Namespace, name) },
		File:        func(volume, path string) ([]byte, error) { return a.volumes.ReadFile(pod, volume, path, envFileMax) },
		Services:    a.serviceVars(pod),
		PodIPs:      ips,
		HostIPs:     a.hostIPs(),
		Allocatable: a.node.Allocatable(),
	}
}

// envFileMax bounds a file that variables are read from.
const envFileMax = 64 << 10

func (a *Agent) serviceVars(pod *corev1.Pod) map[string]string {
	var list []*corev1.Service
	if a.services != nil && a.servicesSynced() {
		links := pod.Spec.EnableServiceLinks == nil || *pod.Spec.EnableServiceLinks
		if api, err := a.services.Services(corev1.NamespaceDefault).Get("kubernetes"); err == nil {
			list = append(list, api)
		}
		if links {
			own, err := a.services.Services(pod.Namespace).List(labels.Everything())
			if err == nil {
				list = append(list, own...)
			}
		}
		if vars := environ.Services(list, pod.Namespace, links); vars["KUBERNETES_SERVICE_HOST"] != "" {
			return vars
		}
	}
	if a.cfg.APIServerHost != "" {
		api := &corev1.Service{Spec: corev1.ServiceSpec{ClusterIP: a.cfg.APIServerHost, Ports: []corev1.ServicePort{{Name: "https", Port: a.cfg.APIServerPort, Protocol: corev1.ProtocolTCP}}}}
		api.Namespace, api.Name = corev1.NamespaceDefault, "kubernetes"
		list = append(list, api)
	}
	return environ.Services(list, pod.Namespace, pod.Spec.EnableServiceLinks == nil || *pod.Spec.EnableServiceLinks)
}
