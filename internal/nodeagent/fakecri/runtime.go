package fakecri

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming"
	"k8s.io/utils/clock"
)

// Options shape a Runtime. The zero value gives a runtime that has every image and whose containers run until stopped.
type Options struct {
	Clock clock.PassiveClock
	// Images restricts what ImageStatus finds and PullImage can fetch; nil means every image exists.
	Images map[string]*runtimeapi.Image
	// Started, if set, is called (without locks) after a container starts; a test or simulator may call Exit later.
	Started func(id string, config *runtimeapi.ContainerConfig)
	// Exec answers ExecSync; nil: exit code 0 and no output.
	Exec func(config *runtimeapi.ContainerConfig, cmd []string) (stdout []byte, code int32, err error)
	// Fail, if set, may make a call fail: op is the CRI method's name, subject the pod's or container's name or the image.
	Fail func(op, subject string) error
	// IP gives a new sandbox its addresses; nil: 10.42.x.y counted up.
	IP func(n int) []string
	// StopTakes tells how long a container takes to obey a stop signal; nil: no time. Containers that take longer than the
	// grace period exit with 137.
	StopTakes func(config *runtimeapi.ContainerConfig) time.Duration
}

// Runtime implements runtimeapi.RuntimeServiceClient and ImageServiceClient.
type Runtime struct {
	opts Options

	mu         sync.Mutex
	serial     int
	sandboxes  map[string]*sandbox
	containers map[string]*container
	images     map[string]*runtimeapi.Image
	pulls      int
	watchers   map[*watcher]struct{}
	calls      map[string]int
	streams    streaming.Server // nil before ServeStreams
}

type sandbox struct {
	id      string
	config  *runtimeapi.PodSandboxConfig
	handler string
	ready   bool
	created int64
	ips     []string
}

type container struct {
	id                         string
	sandbox                    string
	config                     *runtimeapi.ContainerConfig
	state                      runtimeapi.ContainerState
	created, started, finished int64
	code                       int32
	reason, message            string
	imageRef                   string
	resources                  *runtimeapi.LinuxContainerResources
	reopened                   int
}

var (
	_ runtimeapi.RuntimeServiceClient = (*Runtime)(nil)
	_ runtimeapi.ImageServiceClient   = (*Runtime)(nil)
)

// New returns an empty runtime.
func New(opts Options) *Runtime {
	if opts.Clock == nil {
		opts.Clock = clock.RealClock{}
	}
	if opts.IP == nil {
		opts.IP = func(n int) []string { return []string{fmt.Sprintf("10.42.%d.%d", n/250%256, n%250+2)} }
	}
	return &Runtime{opts: opts, sandboxes: map[string]*sandbox{}, containers: map[string]*container{},
		images: map[string]*runtimeapi.Image{}, watchers: map[*watcher]struct{}{}, calls: map[string]int{}}
}

func (r *Runtime) fail(op, subject string) error {
	r.mu.Lock()
	r.calls[op]++
	r.mu.Unlock()
	if r.opts.Fail == nil {
		return nil
	}
	return r.opts.Fail(op, subject)
}

// Calls tells how often a CRI method was called.
func (r *Runtime) Calls(op string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls[op]
}

func (r *Runtime) id(kind byte) string {
	r.serial++
	return fmt.Sprintf("%c%063x", kind, r.serial)
}

func notFound(what, id string) error {
	return status.Errorf(codes.NotFound, "find %s %q: not found", what, id)
}

// Version implements CRI.
func (r *Runtime) Version(context.Context, *runtimeapi.VersionRequest, ...grpc.CallOption) (*runtimeapi.VersionResponse, error) {
	return &runtimeapi.VersionResponse{Version: "0.1.0", RuntimeName: "fake", RuntimeVersion: "1.0.0", RuntimeApiVersion: "v1"}, nil
}

// Status implements CRI: always ready.
func (r *Runtime) Status(context.Context, *runtimeapi.StatusRequest, ...grpc.CallOption) (*runtimeapi.StatusResponse, error) {
	if err := r.fail("Status", ""); err != nil {
		return nil, err
	}
	return &runtimeapi.StatusResponse{
		Status: &runtimeapi.RuntimeStatus{Conditions: []*runtimeapi.RuntimeCondition{
			{Type: runtimeapi.RuntimeReady, Status: true}, {Type: runtimeapi.NetworkReady, Status: true}}},
		RuntimeHandlers: []*runtimeapi.RuntimeHandler{{Name: "", Features: &runtimeapi.RuntimeHandlerFeatures{RecursiveReadOnlyMounts: true, UserNamespaces: true}}},
		Features:        &runtimeapi.RuntimeFeatures{SupplementalGroupsPolicy: true},
	}, nil
}

// RunPodSandbox implements CRI.
func (r *Runtime) RunPodSandbox(_ context.Context, in *runtimeapi.RunPodSandboxRequest, _ ...grpc.CallOption) (*runtimeapi.RunPodSandboxResponse, error) {
	if err := r.fail("RunPodSandbox", in.GetConfig().GetMetadata().GetName()); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &sandbox{id: r.id('a'), config: in.Config, handler: in.RuntimeHandler, ready: true, created: r.now()}
	if in.Config.GetLinux().GetSecurityContext().GetNamespaceOptions().GetNetwork() != runtimeapi.NamespaceMode_NODE {
		s.ips = r.opts.IP(r.serial)
	}
	r.sandboxes[s.id] = s
	r.emit(s.id, s, runtimeapi.ContainerEventType_CONTAINER_CREATED_EVENT)
	r.emit(s.id, s, runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT)
	return &runtimeapi.RunPodSandboxResponse{PodSandboxId: s.id}, nil
}

// StopPodSandbox implements CRI: its containers are killed.
func (r *Runtime) StopPodSandbox(_ context.Context, in *runtimeapi.StopPodSandboxRequest, _ ...grpc.CallOption) (*runtimeapi.StopPodSandboxResponse, error) {
	if err := r.fail("StopPodSandbox", in.PodSandboxId); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sandboxes[in.PodSandboxId]
	if s == nil {
		return &runtimeapi.StopPodSandboxResponse{}, nil
	}
	for _, c := range r.containers {
		if c.sandbox == s.id {
			r.end(c, 137, "", "")
		}
	}
	if s.ready {
		s.ready = false
		r.emit(s.id, s, runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT)
	}
	return &runtimeapi.StopPodSandboxResponse{}, nil
}

// RemovePodSandbox implements CRI.
func (r *Runtime) RemovePodSandbox(ctx context.Context, in *runtimeapi.RemovePodSandboxRequest, _ ...grpc.CallOption) (*runtimeapi.RemovePodSandboxResponse, error) {
	if _, err := r.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: in.PodSandboxId}); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.sandboxes[in.PodSandboxId]; s != nil {
		for id, c := range r.containers {
			if c.sandbox == s.id {
				delete(r.containers, id)
			}
		}
		delete(r.sandboxes, s.id)
		r.emit(s.id, s, runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT)
	}
	return &runtimeapi.RemovePodSandboxResponse{}, nil
}

// PodSandboxStatus implements CRI.
func (r *Runtime) PodSandboxStatus(_ context.Context, in *runtimeapi.PodSandboxStatusRequest, _ ...grpc.CallOption) (*runtimeapi.PodSandboxStatusResponse, error) {
	if err := r.fail("PodSandboxStatus", in.PodSandboxId); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sandboxes[in.PodSandboxId]
	if s == nil {
		return nil, notFound("sandbox", in.PodSandboxId)
	}
	return &runtimeapi.PodSandboxStatusResponse{Status: s.status(), ContainersStatuses: r.statuses(s.id), Timestamp: r.now()}, nil
}

// ListPodSandbox implements CRI.
func (r *Runtime) ListPodSandbox(_ context.Context, in *runtimeapi.ListPodSandboxRequest, _ ...grpc.CallOption) (*runtimeapi.ListPodSandboxResponse, error) {
	if err := r.fail("ListPodSandbox", ""); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	out := &runtimeapi.ListPodSandboxResponse{}
	for _, s := range r.sandboxes {
		f := in.GetFilter()
		if f.GetId() != "" && f.Id != s.id || f.GetState() != nil && f.State.State != s.state() || !selects(f.GetLabelSelector(), s.config.Labels) {
			continue
		}
		out.Items = append(out.Items, &runtimeapi.PodSandbox{Id: s.id, Metadata: s.config.Metadata, State: s.state(), CreatedAt: s.created,
			Labels: s.config.Labels, Annotations: s.config.Annotations, RuntimeHandler: s.handler})
	}
	return out, nil
}

// CreateContainer implements CRI.
func (r *Runtime) CreateContainer(_ context.Context, in *runtimeapi.CreateContainerRequest, _ ...grpc.CallOption) (*runtimeapi.CreateContainerResponse, error) {
	if err := r.fail("CreateContainer", in.GetConfig().GetMetadata().GetName()); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sandboxes[in.PodSandboxId]
	if s == nil {
		return nil, notFound("sandbox", in.PodSandboxId)
	}
	c := &container{id: r.id('c'), sandbox: s.id, config: in.Config, created: r.now(), imageRef: in.Config.GetImage().GetImage(),
		resources: in.Config.GetLinux().GetResources()}
	r.containers[c.id] = c
	r.emit(c.id, s, runtimeapi.ContainerEventType_CONTAINER_CREATED_EVENT)
	return &runtimeapi.CreateContainerResponse{ContainerId: c.id}, nil
}

// StartContainer implements CRI.
func (r *Runtime) StartContainer(_ context.Context, in *runtimeapi.StartContainerRequest, _ ...grpc.CallOption) (*runtimeapi.StartContainerResponse, error) {
	r.mu.Lock()
	c := r.containers[in.ContainerId]
	r.mu.Unlock()
	if c == nil {
		return nil, notFound("container", in.ContainerId)
	}
	if err := r.fail("StartContainer", c.config.GetMetadata().GetName()); err != nil {
		return nil, err
	}
	r.mu.Lock()
	c.state, c.started = runtimeapi.ContainerState_CONTAINER_RUNNING, r.now()
	r.emit(c.id, r.sandboxes[c.sandbox], runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT)
	r.mu.Unlock()
	if r.opts.Started != nil {
		r.opts.Started(c.id, c.config)
	}
	return &runtimeapi.StartContainerResponse{}, nil
}

// StopContainer implements CRI. It never sleeps: a container whose StopTakes exceeds the timeout exits with 137 at once.
func (r *Runtime) StopContainer(_ context.Context, in *runtimeapi.StopContainerRequest, _ ...grpc.CallOption) (*runtimeapi.StopContainerResponse, error) {
	if err := r.fail("StopContainer", in.ContainerId); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.containers[in.ContainerId]; c != nil {
		code := int32(0)
		if r.opts.StopTakes != nil && r.opts.StopTakes(c.config) > time.Duration(in.Timeout)*time.Second {
			code = 137
		}
		r.end(c, code, "", "")
	}
	return &runtimeapi.StopContainerResponse{}, nil
}

// RemoveContainer implements CRI.
func (r *Runtime) RemoveContainer(_ context.Context, in *runtimeapi.RemoveContainerRequest, _ ...grpc.CallOption) (*runtimeapi.RemoveContainerResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.containers[in.ContainerId]; c != nil {
		r.end(c, 137, "", "")
		delete(r.containers, c.id)
		r.emit(c.id, r.sandboxes[c.sandbox], runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT)
	}
	return &runtimeapi.RemoveContainerResponse{}, nil
}

// ListContainers implements CRI.
func (r *Runtime) ListContainers(_ context.Context, in *runtimeapi.ListContainersRequest, _ ...grpc.CallOption) (*runtimeapi.ListContainersResponse, error) {
	if err := r.fail("ListContainers", ""); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	out := &runtimeapi.ListContainersResponse{}
	for _, c := range r.containers {
		f := in.GetFilter()
		if f.GetId() != "" && f.Id != c.id || f.GetPodSandboxId() != "" && f.PodSandboxId != c.sandbox ||
			f.GetState() != nil && f.State.State != c.state || !selects(f.GetLabelSelector(), c.config.Labels) {
			continue
		}
		out.Containers = append(out.Containers, &runtimeapi.Container{Id: c.id, PodSandboxId: c.sandbox, Metadata: c.config.Metadata,
			Image: c.config.Image, ImageRef: c.imageRef, ImageId: c.imageRef, State: c.state, CreatedAt: c.created, Labels: c.config.Labels, Annotations: c.config.Annotations})
	}
	return out, nil
}

// ContainerStatus implements CRI.
func (r *Runtime) ContainerStatus(_ context.Context, in *runtimeapi.ContainerStatusRequest, _ ...grpc.CallOption) (*runtimeapi.ContainerStatusResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls["ContainerStatus"]++
	c := r.containers[in.ContainerId]
	if c == nil {
		return nil, notFound("container", in.ContainerId)
	}
	return &runtimeapi.ContainerStatusResponse{Status: c.status()}, nil
}

// UpdateContainerResources implements CRI.
func (r *Runtime) UpdateContainerResources(_ context.Context, in *runtimeapi.UpdateContainerResourcesRequest, _ ...grpc.CallOption) (*runtimeapi.UpdateContainerResourcesResponse, error) {
	if err := r.fail("UpdateContainerResources", in.ContainerId); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.containers[in.ContainerId]
	if c == nil {
		return nil, notFound("container", in.ContainerId)
	}
	c.resources = in.Linux
	return &runtimeapi.UpdateContainerResourcesResponse{}, nil
}

// ReopenContainerLog implements CRI.
func (r *Runtime) ReopenContainerLog(_ context.Context, in *runtimeapi.ReopenContainerLogRequest, _ ...grpc.CallOption) (*runtimeapi.ReopenContainerLogResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.containers[in.ContainerId]; c != nil {
		c.reopened++
		return &runtimeapi.ReopenContainerLogResponse{}, nil
	}
	return nil, notFound("container", in.ContainerId)
}

// ExecSync implements CRI.
func (r *Runtime) ExecSync(_ context.Context, in *runtimeapi.ExecSyncRequest, _ ...grpc.CallOption) (*runtimeapi.ExecSyncResponse, error) {
	if err := r.fail("ExecSync", in.ContainerId); err != nil {
		return nil, err
	}
	r.mu.Lock()
	c := r.containers[in.ContainerId]
	r.mu.Unlock()
	if c == nil {
		return nil, notFound("container", in.ContainerId)
	}
	if r.opts.Exec == nil {
		return &runtimeapi.ExecSyncResponse{}, nil
	}
	out, code, err := r.opts.Exec(c.config, in.Cmd)
	if err != nil {
		return nil, err
	}
	return &runtimeapi.ExecSyncResponse{Stdout: out, ExitCode: code}, nil
}

// Exit ends a running container as its process would: with a code and CRI's reason ("Completed", "Error", "OOMKilled").
func (r *Runtime) Exit(id string, code int32, reason, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.containers[id]; c != nil {
		r.end(c, code, reason, message)
	}
}

// KillSandbox makes a sandbox and its containers die, as after a reboot or a crash of the runtime.
func (r *Runtime) KillSandbox(id string) {
	_, _ = r.StopPodSandbox(context.Background(), &runtimeapi.StopPodSandboxRequest{PodSandboxId: id})
}

// Find returns the id of the newest container of a name in a pod, "" if there is none.
func (r *Runtime) Find(pod, name string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	best := (*container)(nil)
	for _, c := range r.containers {
		if c.config.Metadata.GetName() == name && c.config.Labels["io.kubernetes.pod.name"] == pod && (best == nil || c.created > best.created || c.id > best.id) {
			best = c
		}
	}
	if best == nil {
		return ""
	}
	return best.id
}

// Config returns what a container was created with, nil if it is unknown.
func (r *Runtime) Config(id string) *runtimeapi.ContainerConfig {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.containers[id]; c != nil {
		return c.config
	}
	return nil
}

// Count returns how many sandboxes and containers exist.
func (r *Runtime) Count() (sandboxes, containers int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.sandboxes), len(r.containers)
}

func (r *Runtime) now() int64 { return r.opts.Clock.Now().UnixNano() }

// end is called with mu held.
func (r *Runtime) end(c *container, code int32, reason, message string) {
	if c.state == runtimeapi.ContainerState_CONTAINER_EXITED {
		return
	}
	if reason == "" {
		reason = "Completed"
		if code != 0 {
			reason = "Error"
		}
	}
	c.state, c.finished, c.code, c.reason, c.message = runtimeapi.ContainerState_CONTAINER_EXITED, r.now(), code, reason, message
	r.emit(c.id, r.sandboxes[c.sandbox], runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT)
}

func (s *sandbox) state() runtimeapi.PodSandboxState {
	if s.ready {
		return runtimeapi.PodSandboxState_SANDBOX_READY
	}
	return runtimeapi.PodSandboxState_SANDBOX_NOTREADY
}

func (s *sandbox) status() *runtimeapi.PodSandboxStatus {
	out := &runtimeapi.PodSandboxStatus{Id: s.id, Metadata: s.config.Metadata, State: s.state(), CreatedAt: s.created, Labels: s.config.Labels,
		Annotations: s.config.Annotations, RuntimeHandler: s.handler, Network: &runtimeapi.PodSandboxNetworkStatus{},
		Linux: &runtimeapi.LinuxPodSandboxStatus{Namespaces: &runtimeapi.Namespace{Options: s.config.GetLinux().GetSecurityContext().GetNamespaceOptions()}}}
	for i, ip := range s.ips {
		if i == 0 {
			out.Network.Ip = ip
			continue
		}
		out.Network.AdditionalIps = append(out.Network.AdditionalIps, &runtimeapi.PodIP{Ip: ip})
	}
	return out
}

func (r *Runtime) statuses(sandbox string) (out []*runtimeapi.ContainerStatus) {
	for _, c := range r.containers {
		if c.sandbox == sandbox {
			out = append(out, c.status())
		}
	}
	return out
}

func (c *container) status() *runtimeapi.ContainerStatus {
	return &runtimeapi.ContainerStatus{Id: c.id, Metadata: c.config.Metadata, State: c.state, CreatedAt: c.created, StartedAt: c.started, FinishedAt: c.finished,
		ExitCode: c.code, Image: c.config.Image, ImageRef: c.imageRef, ImageId: c.imageRef, Reason: c.reason, Message: c.message, Labels: c.config.Labels,
		Annotations: c.config.Annotations, Mounts: c.config.Mounts, LogPath: c.config.LogPath, Resources: &runtimeapi.ContainerResources{Linux: c.resources}}
}

func selects(want, have map[string]string) bool {
	for k, v := range want {
		if have[k] != v {
			return false
		}
	}
	return true
}

// watcher is one GetContainerEvents stream; a full one is ended, as a slow reader of a real runtime would be.
type watcher struct {
	ctx    context.Context
	events chan *runtimeapi.ContainerEventResponse
}

// GetContainerEvents implements CRI. Events carry the sandbox's status only.
func (r *Runtime) GetContainerEvents(ctx context.Context, _ *runtimeapi.GetEventsRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[runtimeapi.ContainerEventResponse], error) {
	if err := r.fail("GetContainerEvents", ""); err != nil {
		return nil, err
	}
	w := &watcher{ctx: ctx, events: make(chan *runtimeapi.ContainerEventResponse, 256)}
	r.mu.Lock()
	r.watchers[w] = struct{}{}
	r.mu.Unlock()
	context.AfterFunc(ctx, func() {
		r.mu.Lock()
		r.drop(w)
		r.mu.Unlock()
	})
	return w, nil
}

// BreakEvents ends all event streams, as a restart of the runtime does.
func (r *Runtime) BreakEvents() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for w := range r.watchers {
		r.drop(w)
	}
}

func (r *Runtime) drop(w *watcher) {
	if _, ok := r.watchers[w]; ok {
		delete(r.watchers, w)
		close(w.events)
	}
}

// emit is called with mu held.
func (r *Runtime) emit(id string, s *sandbox, kind runtimeapi.ContainerEventType) {
	if len(r.watchers) == 0 || s == nil {
		return
	}
	ev := &runtimeapi.ContainerEventResponse{ContainerId: id, ContainerEventType: kind, CreatedAt: r.now(), PodSandboxStatus: s.status()}
	for w := range r.watchers {
		select {
		case w.events <- ev:
		default:
			r.drop(w)
		}
	}
}

func (w *watcher) Recv() (*runtimeapi.ContainerEventResponse, error) {
	ev, ok := <-w.events
	if !ok {
		if err := w.ctx.Err(); err != nil {
			return nil, err
		}
		return nil, io.EOF
	}
	return ev, nil
}
func (w *watcher) Header() (metadata.MD, error) { return nil, nil }
func (w *watcher) Trailer() metadata.MD         { return nil }
func (w *watcher) CloseSend() error             { return nil }
func (w *watcher) Context() context.Context     { return w.ctx }
func (w *watcher) SendMsg(any) error {
	return status.Error(codes.Unimplemented, "send on an event stream")
}
func (w *watcher) RecvMsg(any) error {
	return status.Error(codes.Unimplemented, "receive untyped on an event stream")
}
