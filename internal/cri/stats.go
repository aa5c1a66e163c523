package cri

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nau/internal/engine/container"
	"nau/internal/engine/sandbox"
)

// samples keeps the last CPU counter of each container, for the rate since then.
type samples struct{ m sync.Map } // ID → sample

type sample struct {
	at    time.Time
	usage uint64 // ns
	rate  uint64 // ns of CPU a second
}

// minWindow is the shortest time a rate is computed over; a shorter one repeats the last rate.
const minWindow = 100 * time.Millisecond

func (s *samples) rate(id string, at time.Time, usage uint64) *runtimeapi.UInt64Value {
	v, ok := s.m.Load(id)
	if !ok {
		s.m.Store(id, sample{at: at, usage: usage})
		return nil
	}
	last := v.(sample)
	window := at.Sub(last.at)
	if window < minWindow || usage < last.usage {
		if usage < last.usage { // started anew
			s.m.Store(id, sample{at: at, usage: usage})
		}
		return value(last.rate)
	}
	rate := uint64(float64(usage-last.usage) / window.Seconds())
	s.m.Store(id, sample{at: at, usage: usage, rate: rate})
	return value(rate)
}

func value(v uint64) *runtimeapi.UInt64Value { return &runtimeapi.UInt64Value{Value: v} }

// ContainerStats tells a container's figures.
func (s *Server) ContainerStats(ctx context.Context, req *runtimeapi.ContainerStatsRequest) (*runtimeapi.ContainerStatsResponse, error) {
	r, err := s.e.Containers.Find(req.GetContainerId())
	if err != nil {
		return nil, fault(err)
	}
	st, err := s.containerStats(ctx, r)
	if err != nil {
		return nil, fault(err)
	}
	return &runtimeapi.ContainerStatsResponse{Stats: st}, nil
}

func (s *Server) containerStats(ctx context.Context, r *container.Record) (*runtimeapi.ContainerStats, error) {
	st, err := s.e.Containers.Stats(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	c, at := s.configs.container(r), st.Time.UnixNano()
	out := &runtimeapi.ContainerStats{
		Attributes:    &runtimeapi.ContainerAttributes{Id: r.ID, Metadata: c.GetMetadata(), Labels: c.GetLabels(), Annotations: c.GetAnnotations()},
		WritableLayer: &runtimeapi.FilesystemUsage{Timestamp: at, FsId: s.imageFs(), UsedBytes: value(uint64(max(0, st.Layer.Bytes))), InodesUsed: value(uint64(max(0, st.Layer.Inodes)))},
	}
	if st.Run == nil {
		return out, nil
	}
	out.Cpu = &runtimeapi.CpuUsage{Timestamp: at, UsageCoreNanoSeconds: value(st.Run.CPU.Usage), UsageNanoCores: s.samples.rate(r.ID, st.Time, st.Run.CPU.Usage)}
	mem := st.Run.Memory
	out.Memory = &runtimeapi.MemoryUsage{Timestamp: at, WorkingSetBytes: value(mem.WorkingSet), UsageBytes: value(mem.Usage), RssBytes: value(mem.RSS),
		PageFaults: value(mem.PageFaults), MajorPageFaults: value(mem.MajorFaults)}
	if mem.Limit > 0 {
		out.Memory.AvailableBytes = value(mem.Limit - min(mem.Limit, mem.WorkingSet))
	}
	out.Swap = &runtimeapi.SwapUsage{Timestamp: at, SwapUsageBytes: value(mem.Swap)}
	return out, nil
}

// ListContainerStats tells the figures of the containers that a filter selects. What ends meanwhile is left out.
func (s *Server) ListContainerStats(ctx context.Context, req *runtimeapi.ListContainerStatsRequest) (*runtimeapi.ListContainerStatsResponse, error) {
	f := req.GetFilter()
	resp := &runtimeapi.ListContainerStatsResponse{}
	for _, r := range s.selectContainers(f.GetId(), f.GetPodSandboxId(), f.GetLabelSelector()) {
		if r.State == container.Exited {
			continue
		}
		if st, err := s.containerStats(ctx, r); err == nil {
			resp.Stats = append(resp.Stats, st)
		} else if ctx.Err() != nil {
			return nil, fault(ctx.Err())
		}
	}
	return resp, nil
}

// StreamContainerStats is ListContainerStats in pages.
func (s *Server) StreamContainerStats(req *runtimeapi.StreamContainerStatsRequest, stream grpc.ServerStreamingServer[runtimeapi.StreamContainerStatsResponse]) error {
	all, err := s.ListContainerStats(stream.Context(), &runtimeapi.ListContainerStatsRequest{Filter: req.GetFilter()})
	if err != nil {
		return err
	}
	return sendPages(all.GetStats(), stream, func(p []*runtimeapi.ContainerStats) *runtimeapi.StreamContainerStatsResponse {
		return &runtimeapi.StreamContainerStatsResponse{ContainerStats: p}
	})
}

// PodSandboxStats tells a sandbox's figures: the sum of its containers', and its network's.
func (s *Server) PodSandboxStats(ctx context.Context, req *runtimeapi.PodSandboxStatsRequest) (*runtimeapi.PodSandboxStatsResponse, error) {
	r, err := s.findSandbox(req.GetPodSandboxId())
	if err != nil {
		return nil, fault(err)
	}
	st, err := s.sandboxStats(ctx, r)
	if err != nil {
		return nil, fault(err)
	}
	return &runtimeapi.PodSandboxStatsResponse{Stats: st}, nil
}

func (s *Server) sandboxStats(ctx context.Context, r *sandbox.Record) (*runtimeapi.PodSandboxStats, error) {
	now := time.Now()
	at, c := now.UnixNano(), s.configs.sandbox(r)
	lx := &runtimeapi.LinuxPodSandboxStats{}
	var cpu, ws, usage, rss, faults, major, procs uint64
	for _, cr := range s.e.Containers.In(r.ID) {
		if cr.State == container.Exited {
			continue
		}
		st, err := s.containerStats(ctx, cr)
		if err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			continue // it ended meanwhile
		}
		lx.Containers = append(lx.Containers, st)
		cpu += st.GetCpu().GetUsageCoreNanoSeconds().GetValue()
		m := st.GetMemory()
		ws, usage, rss = ws+m.GetWorkingSetBytes().GetValue(), usage+m.GetUsageBytes().GetValue(), rss+m.GetRssBytes().GetValue()
		faults, major = faults+m.GetPageFaults().GetValue(), major+m.GetMajorPageFaults().GetValue()
		if st.GetCpu() != nil {
			procs++
		}
	}
	lx.Cpu = &runtimeapi.CpuUsage{Timestamp: at, UsageCoreNanoSeconds: value(cpu), UsageNanoCores: s.samples.rate(r.ID, now, cpu)}
	lx.Memory = &runtimeapi.MemoryUsage{Timestamp: at, WorkingSetBytes: value(ws), UsageBytes: value(usage), RssBytes: value(rss), PageFaults: value(faults), MajorPageFaults: value(major)}
	lx.Process = &runtimeapi.ProcessUsage{Timestamp: at, ProcessCount: value(procs)}
	if r.State == sandbox.Ready && len(r.Endpoints) > 0 {
		lx.Network = &runtimeapi.NetworkUsage{Timestamp: at}
		for i, e := range r.Endpoints {
			n, err := s.e.Networks.Stats(e, s.e.Sandboxes.NetnsPath(r.ID))
			if err != nil {
				continue
			}
			u := &runtimeapi.NetworkInterfaceUsage{Name: e.Link, RxBytes: value(n.RxBytes), RxErrors: value(n.RxErrors), TxBytes: value(n.TxBytes), TxErrors: value(n.TxErrors)}
			lx.Network.Interfaces = append(lx.Network.Interfaces, u)
			if i == 0 {
				lx.Network.DefaultInterface = u
			}
		}
	}
	return &runtimeapi.PodSandboxStats{Linux: lx,
		Attributes: &runtimeapi.PodSandboxAttributes{Id: r.ID, Metadata: c.GetMetadata(), Labels: c.GetLabels(), Annotations: c.GetAnnotations()}}, nil
}

// ListPodSandboxStats tells the figures of the sandboxes that a filter selects.
func (s *Server) ListPodSandboxStats(ctx context.Context, req *runtimeapi.ListPodSandboxStatsRequest) (*runtimeapi.ListPodSandboxStatsResponse, error) {
	f := req.GetFilter()
	resp := &runtimeapi.ListPodSandboxStatsResponse{}
	for _, r := range s.selectSandboxes(&runtimeapi.PodSandboxFilter{Id: f.GetId(), LabelSelector: f.GetLabelSelector()}) {
		if r.State != sandbox.Ready {
			continue
		}
		st, err := s.sandboxStats(ctx, r)
		if err != nil {
			return nil, fault(err)
		}
		resp.Stats = append(resp.Stats, st)
	}
	return resp, nil
}

// StreamPodSandboxStats is ListPodSandboxStats in pages.
func (s *Server) StreamPodSandboxStats(req *runtimeapi.StreamPodSandboxStatsRequest, stream grpc.ServerStreamingServer[runtimeapi.StreamPodSandboxStatsResponse]) error {
	all, err := s.ListPodSandboxStats(stream.Context(), &runtimeapi.ListPodSandboxStatsRequest{Filter: req.GetFilter()})
	if err != nil {
		return err
	}
	return sendPages(all.GetStats(), stream, func(p []*runtimeapi.PodSandboxStats) *runtimeapi.StreamPodSandboxStatsResponse {
		return &runtimeapi.StreamPodSandboxStatsResponse{PodSandboxStats: p}
	})
}
