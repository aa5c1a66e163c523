package nodeagent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nau/internal/nodeagent/life"
	"nau/internal/nodeagent/logs"
	"nau/internal/nodeagent/probe"
	"nau/internal/nodeagent/runspec"
	"nau/internal/nodeagent/server"
)

// listen serves the node's API until stop is called.
func (a *Agent) listen(ctx context.Context) (stop func(), err error) {
	l := a.cfg.Listener
	if l == nil {
		if l, err = net.Listen("tcp", a.cfg.Listen); err != nil {
			return nil, fmt.Errorf("listen for the node's API: %w", err)
		}
	}
	srv := &http.Server{Handler: a.Handler(), ReadHeaderTimeout: 30 * time.Second, MaxHeaderBytes: 1 << 20,
		BaseContext: func(net.Listener) context.Context { return ctx }, ErrorLog: server.Quiet(a.cfg.Log)}
	if a.cfg.TLS != nil {
		// Streams are upgraded connections, which HTTP/2 does not have.
		cfg := a.cfg.TLS.Clone()
		cfg.NextProtos = []string{"http/1.1"}
		if cfg.ClientAuth < tls.VerifyClientCertIfGiven && cfg.ClientCAs != nil {
			cfg.ClientAuth = tls.VerifyClientCertIfGiven
		}
		l = tls.NewListener(l, cfg)
	}
	go func() {
		if err := srv.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
			a.cfg.Log.Error("serve the node's API", "err", err)
		}
	}()
	return func() { _ = srv.Close() }, nil
}

// Handler is the node's API: what kubectl logs, exec, attach and port-forward reach through the API server, and metrics.
func (a *Agent) Handler() http.Handler {
	return server.New(server.Config{Node: a.cfg.NodeName, Backend: backend{a}, Runtime: a.cfg.Runtime, Streamer: a.cfg.Streamer, Log: a.cfg.Log,
		Authenticate: a.authenticator(), Authorize: a.authorizer(), Logs: "/var/log"})
}

func (a *Agent) authenticator() func(*http.Request) (*server.Who, bool, error) {
	if a.cfg.Authn == nil {
		return server.Delegated(a.cfg.Client, a.cfg.Clock).Authenticate
	}
	return func(r *http.Request) (*server.Who, bool, error) {
		w, ok, err := a.cfg.Authn.Authenticate(r)
		if w == nil {
			return nil, ok, err
		}
		return &server.Who{Name: w.Name, UID: w.UID, Groups: w.Groups, Extra: w.Extra}, ok, err
	}
}

func (a *Agent) authorizer() func(context.Context, server.Ask) (bool, string, error) {
	if a.cfg.Authz == nil {
		return server.Delegated(a.cfg.Client, a.cfg.Clock).Authorize
	}
	return func(ctx context.Context, q server.Ask) (bool, string, error) {
		return a.cfg.Authz.Authorize(ctx, Ask{Who: &Who{Name: q.Who.Name, UID: q.Who.UID, Groups: q.Who.Groups, Extra: q.Who.Extra}, Verb: q.Verb, Node: q.Node, Subresource: q.Subresource, Path: q.Path})
	}
}

// backend is what the server asks of the agent.
type backend struct{ a *Agent }

func (b backend) Pods() []*corev1.Pod { return b.a.Pods() }

func (b backend) find(ns, name string, uid string) *worker {
	b.a.mu.Lock()
	defer b.a.mu.Unlock()
	for id, w := range b.a.workers {
		w.mu.Lock()
		ok := w.pod != nil && w.pod.Namespace == ns && w.pod.Name == name && (uid == "" || uid == id)
		w.mu.Unlock()
		if ok {
			return w
		}
	}
	return nil
}

func (b backend) Sandbox(ns, name, uid string) (string, error) {
	w := b.find(ns, name, uid)
	if w == nil {
		return "", &server.Error{Code: http.StatusNotFound, Message: fmt.Sprintf("pod %q not found", name)}
	}
	sb := w.observed().Sandbox()
	if sb == nil || !sb.Ready {
		return "", &server.Error{Code: http.StatusBadRequest, Message: fmt.Sprintf("pod %s/%s has no running sandbox", ns, name)}
	}
	return sb.ID, nil
}

func (b backend) Container(ns, name, uid, container string) (string, bool, error) {
	w := b.find(ns, name, uid)
	if w == nil {
		return "", false, &server.Error{Code: http.StatusNotFound, Message: "pod does not exist"}
	}
	c := w.observed().Latest(container)
	if c == nil || c.State != life.Running {
		return "", false, &server.Error{Code: http.StatusNotFound, Message: fmt.Sprintf("container not found (%q)", container)}
	}
	spec := specOf(w.view(), container)
	return c.ID, spec != nil && spec.TTY, nil
}

func (b backend) Log(ns, name, container string, previous bool) (string, <-chan struct{}, error) {
	w := b.find(ns, name, "")
	if w == nil {
		return "", nil, &server.Error{Code: http.StatusNotFound, Message: fmt.Sprintf("pod %q not found", name)}
	}
	pod := w.view()
	if specOf(pod, container) == nil {
		return "", nil, &server.Error{Code: http.StatusNotFound, Message: fmt.Sprintf("container %q not found in pod %q", container, name)}
	}
	obs := w.observed()
	c := obs.Latest(container)
	if c != nil && c.State == life.Created {
		c = obs.Nth(container, 1)
	}
	if previous {
		if c = obs.Nth(container, 1); c == nil || c.State != life.Exited {
			return "", nil, &server.Error{Code: http.StatusBadRequest, Message: fmt.Sprintf("previous terminated container %q in pod %q not found", container, name)}
		}
	}
	if c == nil {
		why := "ContainerCreating"
		for _, list := range [][]corev1.ContainerStatus{w.status().ContainerStatuses, w.status().InitContainerStatuses} {
			for i := range list {
				if list[i].Name == container && list[i].State.Waiting != nil {
					why = list[i].State.Waiting.Reason
				}
			}
		}
		msg := fmt.Sprintf("container %q in pod %q is waiting to start: %s", container, name, why)
		switch why {
		case "ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError", "RegistryUnavailable":
			msg = fmt.Sprintf("container %q in pod %q is waiting to start: trying and failing to pull image", container, name)
			if why == "ErrImageNeverPull" {
				msg = fmt.Sprintf("container %q in pod %q is waiting to start: image can't be pulled", container, name)
			}
		}
		return "", nil, &server.Error{Code: http.StatusBadRequest, Message: msg}
	}
	var ended <-chan struct{}
	if c.State == life.Running {
		ended = w.ended(c.ID)
	}
	return logPath(b.a.cfg.LogDir, pod, c), ended, nil
}

func logPath(root string, pod *corev1.Pod, c *life.Container) string {
	return runspec.LogDirectory(root, pod) + "/" + runspec.LogPath(c.Name, c.Attempt)
}

func (b backend) Metrics(emit func(name, help, kind string, value float64, labels ...string)) {
	a := b.a
	pods := a.Pods()
	running := map[string]int{}
	for _, p := range pods {
		running[string(p.Status.Phase)]++
	}
	for phase, n := range running {
		emit("nau_node_pods", "Pods of the node by phase.", "gauge", float64(n), "phase", phase)
	}
	boxes, containers := 0, map[string]int{}
	a.mu.Lock()
	list := make([]*worker, 0, len(a.workers))
	for _, w := range a.workers {
		list = append(list, w)
	}
	a.mu.Unlock()
	for _, w := range list {
		o := w.observed()
		if sb := o.Sandbox(); sb != nil && sb.Ready {
			boxes++
		}
		for _, c := range o.Containers {
			containers[c.State.String()]++
		}
	}
	emit("kubelet_running_pods", "Number of pods that have a running pod sandbox", "gauge", float64(boxes))
	for state, n := range containers {
		emit("kubelet_running_containers", "Number of containers currently running", "gauge", float64(n), "container_state", state)
	}
	emit("kubelet_started_pods_total", "Cumulative number of pods started", "counter", float64(a.stats.podsStarted.Load()))
	emit("kubelet_started_containers_total", "Cumulative number of containers started", "counter", float64(a.stats.containersStarted.Load()))
	emit("nau_node_rounds_total", "Rounds that pod workers made.", "counter", float64(a.stats.syncs.Load()))
	emit("nau_node_status_writes_total", "Pod status writes.", "counter", float64(a.stats.statusWrites.Load()))
	emit("nau_node_errors_total", "Actions of pod workers that failed.", "counter", float64(a.stats.errors.Load()))
	emit("kubelet_node_name", "The node's name. The count is always 1.", "gauge", 1, "node", a.cfg.NodeName)
}

func (b backend) Probes(emit func(probe, result string, n int64)) {
	b.a.probes.Counts(func(which string, r probe.Result, n int64) {
		emit(which, [...]string{"unknown", "successful", "failed"}[r], n)
	})
}

func (b backend) Config() any {
	c := &b.a.cfg
	return map[string]any{"kubeletconfig": map[string]any{"kind": "KubeletConfiguration", "apiVersion": "kubelet.config.k8s.io/v1beta1", "maxPods": c.MaxPods,
		"podPidsLimit": c.PodPids, "clusterDomain": c.ClusterDomain, "clusterDNS": c.ClusterDNS, "cgroupRoot": c.CgroupRoot, "cgroupDriver": "cgroupfs", "cgroupsPerQOS": true,
		"staticPodPath": c.ManifestDir, "resolvConf": c.ResolvConf, "port": c.port(), "imageGCHighThresholdPercent": c.ImageGCHigh, "imageGCLowThresholdPercent": c.ImageGCLow,
		"containerLogMaxSize": strconv.FormatInt(c.LogMaxSize, 10), "containerLogMaxFiles": c.LogMaxFiles, "serializeImagePulls": c.ParallelPulls == 1,
		"nodeStatusUpdateFrequency": "10s", "nodeStatusReportFrequency": "5m0s", "nodeLeaseDurationSeconds": 40, "syncFrequency": "1m0s", "fileCheckFrequency": "20s",
		"hairpinMode": "hairpin-veth", "memorySwap": map[string]any{}, "featureGates": map[string]bool{}}}
}

// Healthy tells whether the runtime answers.
func (b backend) Healthy(ctx context.Context) error {
	_, err := b.a.cfg.Runtime.Version(ctx, &runtimeapi.VersionRequest{})
	return err
}

func (b backend) ReadLog(ctx context.Context, path string, o logs.Options, ended <-chan struct{}, w server.Flusher) error {
	return logs.Read(ctx, path, o, ended, w, w)
}

// status is the newest status that the agent has computed.
func (w *worker) status() *corev1.PodStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sent != nil {
		return w.sent
	}
	return &w.pod.Status
}

// ended is closed once the container with this id runs no more.
func (w *worker) ended(id string) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.obs.Containers {
		if c.ID == id && c.State == life.Running {
			if w.waiters == nil {
				w.waiters = map[string]chan struct{}{}
			}
			if w.waiters[id] == nil {
				w.waiters[id] = make(chan struct{})
			}
			return w.waiters[id]
		}
	}
	done := make(chan struct{})
	close(done)
	return done
}

// tellEnded wakes those who wait for containers that do not run any more; mu is held.
func (w *worker) tellEnded() {
	for id, done := range w.waiters {
		c := find(w.obs.Containers, func(c *life.Container) bool { return c.ID == id })
		if c == nil || c.State != life.Running {
			close(done)
			delete(w.waiters, id)
		}
	}
}
