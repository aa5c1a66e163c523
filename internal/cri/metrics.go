package cri

import (
	"context"
	"time"

	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nau/internal/engine/sandbox"
)

// metric is one figure of a container or sandbox under cAdvisor's name, which dashboards know. get returns nil when there is none.
type metric struct {
	name, help string
	kind       runtimeapi.MetricType
	container  func(*runtimeapi.ContainerStats) *runtimeapi.UInt64Value
	sandbox    func(*runtimeapi.PodSandboxStats) *runtimeapi.UInt64Value
	interfaces bool // of sandbox's default interface: one more label
}

var metricTable = []metric{
	{name: "container_cpu_usage_seconds_total", help: "Cumulative CPU time consumed, in seconds.", kind: runtimeapi.MetricType_COUNTER,
		container: func(c *runtimeapi.ContainerStats) *runtimeapi.UInt64Value {
			if v := c.GetCpu().GetUsageCoreNanoSeconds(); v != nil {
				return value(v.GetValue() / uint64(time.Second))
			}
			return nil
		}},
	{name: "container_memory_usage_bytes", help: "Current memory usage, in bytes.", kind: runtimeapi.MetricType_GAUGE,
		container: func(c *runtimeapi.ContainerStats) *runtimeapi.UInt64Value { return c.GetMemory().GetUsageBytes() }},
	{name: "container_memory_working_set_bytes", help: "Current working set, in bytes.", kind: runtimeapi.MetricType_GAUGE,
		container: func(c *runtimeapi.ContainerStats) *runtimeapi.UInt64Value { return c.GetMemory().GetWorkingSetBytes() }},
	{name: "container_memory_rss", help: "Size of anonymous memory, in bytes.", kind: runtimeapi.MetricType_GAUGE,
		container: func(c *runtimeapi.ContainerStats) *runtimeapi.UInt64Value { return c.GetMemory().GetRssBytes() }},
	{name: "container_memory_swap", help: "Swap used, in bytes.", kind: runtimeapi.MetricType_GAUGE,
		container: func(c *runtimeapi.ContainerStats) *runtimeapi.UInt64Value { return c.GetSwap().GetSwapUsageBytes() }},
	{name: "container_fs_usage_bytes", help: "Bytes of the writable layer.", kind: runtimeapi.MetricType_GAUGE,
		container: func(c *runtimeapi.ContainerStats) *runtimeapi.UInt64Value { return c.GetWritableLayer().GetUsedBytes() }},
	{name: "container_network_receive_bytes_total", help: "Cumulative bytes received.", kind: runtimeapi.MetricType_COUNTER, interfaces: true,
		sandbox: func(p *runtimeapi.PodSandboxStats) *runtimeapi.UInt64Value {
			return p.GetLinux().GetNetwork().GetDefaultInterface().GetRxBytes()
		}},
	{name: "container_network_transmit_bytes_total", help: "Cumulative bytes sent.", kind: runtimeapi.MetricType_COUNTER, interfaces: true,
		sandbox: func(p *runtimeapi.PodSandboxStats) *runtimeapi.UInt64Value {
			return p.GetLinux().GetNetwork().GetDefaultInterface().GetTxBytes()
		}},
	{name: "container_network_receive_errors_total", help: "Cumulative errors while receiving.", kind: runtimeapi.MetricType_COUNTER, interfaces: true,
		sandbox: func(p *runtimeapi.PodSandboxStats) *runtimeapi.UInt64Value {
			return p.GetLinux().GetNetwork().GetDefaultInterface().GetRxErrors()
		}},
	{name: "container_network_transmit_errors_total", help: "Cumulative errors while sending.", kind: runtimeapi.MetricType_COUNTER, interfaces: true,
		sandbox: func(p *runtimeapi.PodSandboxStats) *runtimeapi.UInt64Value {
			return p.GetLinux().GetNetwork().GetDefaultInterface().GetTxErrors()
		}},
}

var metricLabels = []string{"id", "name", "image"}

// ListMetricDescriptors describes the metrics of ListPodSandboxMetrics.
func (s *Server) ListMetricDescriptors(context.Context, *runtimeapi.ListMetricDescriptorsRequest) (*runtimeapi.ListMetricDescriptorsResponse, error) {
	resp := &runtimeapi.ListMetricDescriptorsResponse{}
	for _, m := range metricTable {
		labels := metricLabels
		if m.interfaces {
			labels = append(append([]string{}, metricLabels...), "interface")
		}
		resp.Descriptors = append(resp.Descriptors, &runtimeapi.MetricDescriptor{Name: m.name, Help: m.help, LabelKeys: labels})
	}
	return resp, nil
}

// ListPodSandboxMetrics tells all sandboxes' figures as metrics.
func (s *Server) ListPodSandboxMetrics(ctx context.Context, _ *runtimeapi.ListPodSandboxMetricsRequest) (*runtimeapi.ListPodSandboxMetricsResponse, error) {
	resp := &runtimeapi.ListPodSandboxMetricsResponse{}
	for _, r := range s.selectSandboxes(nil) {
		if r.State != sandbox.Ready {
			continue
		}
		st, err := s.sandboxStats(ctx, r)
		if err != nil {
			return nil, fault(err)
		}
		resp.PodMetrics = append(resp.PodMetrics, metricsOf(st))
	}
	return resp, nil
}

func metricsOf(p *runtimeapi.PodSandboxStats) *runtimeapi.PodSandboxMetrics {
	out := &runtimeapi.PodSandboxMetrics{PodSandboxId: p.GetAttributes().GetId()}
	at := p.GetLinux().GetCpu().GetTimestamp()
	for _, m := range metricTable {
		if m.sandbox == nil {
			continue
		}
		if v := m.sandbox(p); v != nil {
			a := p.GetAttributes()
			out.Metrics = append(out.Metrics, &runtimeapi.Metric{Name: m.name, Timestamp: at, MetricType: m.kind, Value: v,
				LabelValues: []string{a.GetId(), a.GetMetadata().GetName(), "", p.GetLinux().GetNetwork().GetDefaultInterface().GetName()}})
		}
	}
	for _, c := range p.GetLinux().GetContainers() {
		cm := &runtimeapi.ContainerMetrics{ContainerId: c.GetAttributes().GetId()}
		for _, m := range metricTable {
			if m.container == nil {
				continue
			}
			if v := m.container(c); v != nil {
				cm.Metrics = append(cm.Metrics, &runtimeapi.Metric{Name: m.name, Timestamp: at, MetricType: m.kind, Value: v,
					LabelValues: []string{c.GetAttributes().GetId(), c.GetAttributes().GetMetadata().GetName(), ""}})
			}
		}
		out.ContainerMetrics = append(out.ContainerMetrics, cm)
	}
	return out
}

// StreamPodSandboxMetrics is ListPodSandboxMetrics in pages.
func (s *Server) StreamPodSandboxMetrics(_ *runtimeapi.StreamPodSandboxMetricsRequest, stream grpc.ServerStreamingServer[runtimeapi.StreamPodSandboxMetricsResponse]) error {
	all, err := s.ListPodSandboxMetrics(stream.Context(), nil)
	if err != nil {
		return err
	}
	return sendPages(all.GetPodMetrics(), stream, func(p []*runtimeapi.PodSandboxMetrics) *runtimeapi.StreamPodSandboxMetricsResponse {
		return &runtimeapi.StreamPodSandboxMetricsResponse{PodSandboxMetrics: p}
	})
}
