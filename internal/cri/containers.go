package cri

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nau/internal/engine/container"
)

// StartContainer runs a created container's program.
func (s *Server) StartContainer(ctx context.Context, req *runtimeapi.StartContainerRequest) (*runtimeapi.StartContainerResponse, error) {
	r, err := s.e.Containers.Find(req.GetContainerId())
	if err != nil {
		return nil, fault(err)
	}
	if r.State != container.Created {
		return nil, status.Errorf(codes.FailedPrecondition, "start container %s: it is %s", r.ID, r.State)
	}
	if err := s.e.Containers.Start(ctx, r.ID); err != nil {
		return nil, fault(err)
	}
	return &runtimeapi.StartContainerResponse{}, nil
}

// StopContainer ends a container's program, in the end by force. Stopping what does not exist or has ended succeeds.
func (s *Server) StopContainer(ctx context.Context, req *runtimeapi.StopContainerRequest) (*runtimeapi.StopContainerResponse, error) {
	r, err := s.e.Containers.Find(req.GetContainerId())
	if errors.Is(err, container.ErrNotFound) {
		return &runtimeapi.StopContainerResponse{}, nil
	}
	if err == nil {
		err = s.e.Containers.Stop(ctx, r.ID, time.Duration(req.GetTimeout())*time.Second)
	}
	if err != nil {
		return nil, fault(err)
	}
	return &runtimeapi.StopContainerResponse{}, nil
}

// RemoveContainer removes a container, running or not. Removing what does not exist succeeds.
func (s *Server) RemoveContainer(ctx context.Context, req *runtimeapi.RemoveContainerRequest) (*runtimeapi.RemoveContainerResponse, error) {
	r, err := s.e.Containers.Find(req.GetContainerId())
	if errors.Is(err, container.ErrNotFound) {
		return &runtimeapi.RemoveContainerResponse{}, nil
	}
	if err == nil {
		err = s.e.Containers.Remove(ctx, r.ID)
	}
	if err != nil {
		return nil, fault(err)
	}
	s.forget(r.ID)
	return &runtimeapi.RemoveContainerResponse{}, nil
}

// ListContainers lists this front's containers.
func (s *Server) ListContainers(ctx context.Context, req *runtimeapi.ListContainersRequest) (*runtimeapi.ListContainersResponse, error) {
	f := req.GetFilter()
	resp := &runtimeapi.ListContainersResponse{}
	for _, r := range s.selectContainers(f.GetId(), f.GetPodSandboxId(), f.GetLabelSelector()) {
		if f.GetState() != nil && f.GetState().GetState() != containerState(r) {
			continue
		}
		c := s.configs.container(r)
		resp.Containers = append(resp.Containers, &runtimeapi.Container{Id: r.ID, PodSandboxId: r.Config.Sandbox, Metadata: c.GetMetadata(), Image: c.GetImage(),
			ImageRef: fullRef(r.ImageRef), ImageId: r.Image.String(), State: containerState(r), CreatedAt: r.Created.UnixNano(), Labels: c.GetLabels(), Annotations: c.GetAnnotations()})
	}
	return resp, nil
}

// selectContainers finds this front's containers by ID, sandbox and labels; each "" or nil matches all.
func (s *Server) selectContainers(id, pod string, labels map[string]string) []*container.Record {
	if pod != "" {
		sb, err := s.findSandbox(pod)
		if err != nil {
			return nil
		}
		pod = sb.ID
	}
	all := s.e.Containers.List()
	if id != "" {
		r, err := s.e.Containers.Find(id)
		if err != nil {
			return nil
		}
		all = []*container.Record{r}
	}
	var out []*container.Record
	for _, r := range all {
		if r.Config.Origin == Origin && (pod == "" || r.Config.Sandbox == pod) && matches(labels, r.Config.Labels) {
			out = append(out, r)
		}
	}
	return out
}

// StreamContainers is ListContainers in pages.
func (s *Server) StreamContainers(req *runtimeapi.StreamContainersRequest, stream grpc.ServerStreamingServer[runtimeapi.StreamContainersResponse]) error {
	all, err := s.ListContainers(stream.Context(), &runtimeapi.ListContainersRequest{Filter: req.GetFilter()})
	if err != nil {
		return err
	}
	return sendPages(all.GetContainers(), stream, func(p []*runtimeapi.Container) *runtimeapi.StreamContainersResponse {
		return &runtimeapi.StreamContainersResponse{Containers: p}
	})
}

func containerState(r *container.Record) runtimeapi.ContainerState {
	switch r.State {
	case container.Created:
		return runtimeapi.ContainerState_CONTAINER_CREATED
	case container.Running, container.Paused:
		return runtimeapi.ContainerState_CONTAINER_RUNNING
	case container.Exited:
		return runtimeapi.ContainerState_CONTAINER_EXITED
	}
	return runtimeapi.ContainerState_CONTAINER_UNKNOWN
}

// ContainerStatus tells a container's state.
func (s *Server) ContainerStatus(ctx context.Context, req *runtimeapi.ContainerStatusRequest) (*runtimeapi.ContainerStatusResponse, error) {
	r, err := s.e.Containers.Find(req.GetContainerId())
	if err != nil {
		return nil, fault(err)
	}
	resp := &runtimeapi.ContainerStatusResponse{Status: s.containerStatus(r)}
	if req.GetVerbose() {
		b, err := json.Marshal(r)
		if err != nil {
			return nil, internalError(err)
		}
		resp.Info = map[string]string{"record": string(b)}
	}
	return resp, nil
}

func (s *Server) statusesIn(sandbox string) []*runtimeapi.ContainerStatus {
	var out []*runtimeapi.ContainerStatus
	for _, r := range s.e.Containers.In(sandbox) {
		out = append(out, s.containerStatus(r))
	}
	return out
}

func (s *Server) containerStatus(r *container.Record) *runtimeapi.ContainerStatus {
	c := s.configs.container(r)
	st := &runtimeapi.ContainerStatus{
		Id: r.ID, Metadata: c.GetMetadata(), State: containerState(r), CreatedAt: r.Created.UnixNano(), Image: s.imageSpec(r, c.GetImage()), ImageRef: fullRef(r.ImageRef),
		ImageId: r.Image.String(), Labels: c.GetLabels(), Annotations: c.GetAnnotations(), Mounts: c.GetMounts(), LogPath: r.Config.Log.Path,
		Resources: &runtimeapi.ContainerResources{Linux: limitsBack(r)}, StopSignal: signalOf(r.Config.StopSignal),
	}
	if !r.Started.IsZero() {
		st.StartedAt = r.Started.UnixNano()
		u := &runtimeapi.LinuxContainerUser{Uid: int64(r.User.UID), Gid: int64(r.User.GID), SupplementalGroups: []int64{int64(r.User.GID)}}
		for _, g := range r.User.Groups {
			if g != r.User.GID {
				u.SupplementalGroups = append(u.SupplementalGroups, int64(g))
			}
		}
		st.User = &runtimeapi.ContainerUser{Linux: u}
	}
	if r.State == container.Exited {
		st.FinishedAt, st.ExitCode = r.Finished.UnixNano(), int32(r.ExitCode)
		st.Reason, st.Message = reasonOf(r), r.Error
	}
	return st
}

// reasonOf puts an exit into a word. Source: the words that kubelet and crictl users know from containerd.
func reasonOf(r *container.Record) string {
	switch {
	case r.Error != "":
		return "StartError"
	case r.OOMKilled:
		return "OOMKilled"
	case r.ExitCode == 0:
		return "Completed"
	case r.Lost:
		return "Unknown"
	}
	return "Error"
}

// imageSpec names the container's image as a user would: by a tag if it has one.
func (s *Server) imageSpec(r *container.Record, asked *runtimeapi.ImageSpec) *runtimeapi.ImageSpec {
	out := &runtimeapi.ImageSpec{Image: asked.GetImage(), UserSpecifiedImage: asked.GetUserSpecifiedImage(), Annotations: asked.GetAnnotations(), RuntimeHandler: asked.GetRuntimeHandler()}
	if out.UserSpecifiedImage != "" {
		out.Image = fullRef(out.UserSpecifiedImage)
		return out
	}
	if img, err := s.e.Images.Get(r.Image.String()); err == nil && len(img.RepoTags) > 0 {
		out.Image = fullRef(img.RepoTags[0])
	}
	return out
}

// fullRef writes a reference with its registry, as CRI's clients expect it ("nginx:1" → "docker.io/library/nginx:1"). What is no name stays.
func fullRef(ref string) string {
	if _, err := digest.Parse(ref); err == nil {
		return ref // an ID
	}
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ref
	}
	return reference.TagNameOnly(named).String()
}

// limitsBack tells the limits as they are now.
func limitsBack(r *container.Record) *runtimeapi.LinuxContainerResources {
	l := r.Config.Resources
	out := &runtimeapi.LinuxContainerResources{CpusetCpus: l.Cpus, CpusetMems: l.Mems, Unified: l.Unified}
	if l.CPUShares != nil {
		out.CpuShares = int64(*l.CPUShares)
	}
	if l.CPUPeriod != nil {
		out.CpuPeriod = int64(*l.CPUPeriod)
	}
	if l.CPUQuota != nil {
		out.CpuQuota = *l.CPUQuota
	}
	if l.Memory != nil {
		out.MemoryLimitInBytes = *l.Memory
	}
	if l.Swap != nil {
		out.MemorySwapLimitInBytes = *l.Swap
	}
	if r.Config.Process.OOMScore != nil {
		out.OomScoreAdj = int64(*r.Config.Process.OOMScore)
	}
	for size, limit := range l.Huge {
		out.HugepageLimits = append(out.HugepageLimits, &runtimeapi.HugepageLimit{PageSize: size, Limit: limit})
	}
	return out
}

// UpdateContainerResources changes limits, of a running container at once.
func (s *Server) UpdateContainerResources(ctx context.Context, req *runtimeapi.UpdateContainerResourcesRequest) (*runtimeapi.UpdateContainerResourcesResponse, error) {
	r, err := s.e.Containers.Find(req.GetContainerId())
	if err != nil {
		return nil, fault(err)
	}
	if r.State == container.Exited {
		return nil, status.Errorf(codes.FailedPrecondition, "update limits of container %s: it has exited", r.ID)
	}
	if err := s.e.Containers.Limit(ctx, r.ID, limitsOf(req.GetLinux())); err != nil {
		return nil, fault(err)
	}
	return &runtimeapi.UpdateContainerResourcesResponse{}, nil
}

// ReopenContainerLog makes the container's output go to a new file after the kubelet has rotated.
func (s *Server) ReopenContainerLog(ctx context.Context, req *runtimeapi.ReopenContainerLogRequest) (*runtimeapi.ReopenContainerLogResponse, error) {
	r, err := s.e.Containers.Find(req.GetContainerId())
	if err == nil {
		err = s.e.Containers.ReopenLog(ctx, r.ID)
	}
	if err != nil {
		return nil, fault(err)
	}
	return &runtimeapi.ReopenContainerLogResponse{}, nil
}

// CheckpointContainer is refused: it needs CRIU, a helper program.
func (s *Server) CheckpointContainer(context.Context, *runtimeapi.CheckpointContainerRequest) (*runtimeapi.CheckpointContainerResponse, error) {
	return nil, status.Error(codes.Unimplemented, "checkpoint container: this runtime takes no checkpoints")
}
