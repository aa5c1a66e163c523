package fakecri

import (
	"context"
	"io"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// piece is how many items one message of a streamed list has at most.
const piece = 64

// StreamPodSandboxes implements CRI.
func (r *Runtime) StreamPodSandboxes(ctx context.Context, in *runtimeapi.StreamPodSandboxesRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[runtimeapi.StreamPodSandboxesResponse], error) {
	l, err := r.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{Filter: in.GetFilter()})
	return inPieces(ctx, l.GetItems(), err, func(p []*runtimeapi.PodSandbox) *runtimeapi.StreamPodSandboxesResponse {
		return &runtimeapi.StreamPodSandboxesResponse{PodSandboxes: p}
	})
}

// StreamContainers implements CRI.
func (r *Runtime) StreamContainers(ctx context.Context, in *runtimeapi.StreamContainersRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[runtimeapi.StreamContainersResponse], error) {
	l, err := r.ListContainers(ctx, &runtimeapi.ListContainersRequest{Filter: in.GetFilter()})
	return inPieces(ctx, l.GetContainers(), err, func(p []*runtimeapi.Container) *runtimeapi.StreamContainersResponse {
		return &runtimeapi.StreamContainersResponse{Containers: p}
	})
}

// StreamContainerStats implements CRI.
func (r *Runtime) StreamContainerStats(ctx context.Context, in *runtimeapi.StreamContainerStatsRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[runtimeapi.StreamContainerStatsResponse], error) {
	l, err := r.ListContainerStats(ctx, &runtimeapi.ListContainerStatsRequest{Filter: in.GetFilter()})
	return inPieces(ctx, l.GetStats(), err, func(p []*runtimeapi.ContainerStats) *runtimeapi.StreamContainerStatsResponse {
		return &runtimeapi.StreamContainerStatsResponse{ContainerStats: p}
	})
}

// StreamPodSandboxStats implements CRI.
func (r *Runtime) StreamPodSandboxStats(ctx context.Context, in *runtimeapi.StreamPodSandboxStatsRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[runtimeapi.StreamPodSandboxStatsResponse], error) {
	l, err := r.ListPodSandboxStats(ctx, &runtimeapi.ListPodSandboxStatsRequest{Filter: in.GetFilter()})
	return inPieces(ctx, l.GetStats(), err, func(p []*runtimeapi.PodSandboxStats) *runtimeapi.StreamPodSandboxStatsResponse {
		return &runtimeapi.StreamPodSandboxStatsResponse{PodSandboxStats: p}
	})
}

// StreamPodSandboxMetrics implements CRI.
func (r *Runtime) StreamPodSandboxMetrics(ctx context.Context, in *runtimeapi.StreamPodSandboxMetricsRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[runtimeapi.StreamPodSandboxMetricsResponse], error) {
	l, err := r.ListPodSandboxMetrics(ctx, &runtimeapi.ListPodSandboxMetricsRequest{})
	return inPieces(ctx, l.GetPodMetrics(), err, func(p []*runtimeapi.PodSandboxMetrics) *runtimeapi.StreamPodSandboxMetricsResponse {
		return &runtimeapi.StreamPodSandboxMetricsResponse{PodSandboxMetrics: p}
	})
}

// inPieces streams a list, unless there is none because of err.
func inPieces[T, M any](ctx context.Context, list []T, err error, message func([]T) *M) (grpc.ServerStreamingClient[M], error) {
	if err != nil {
		return nil, err
	}
	p := &pieces[M]{ctx: ctx}
	for part := range slices.Chunk(list, piece) {
		p.left = append(p.left, message(part))
	}
	return p, nil
}

// pieces is a stream whose messages are there.
type pieces[M any] struct {
	ctx  context.Context
	left []*M
}

// Recv returns the next message, and io.EOF after the last.
func (p *pieces[M]) Recv() (*M, error) {
	if err := p.ctx.Err(); err != nil {
		return nil, err
	}
	if len(p.left) == 0 {
		return nil, io.EOF
	}
	m := p.left[0]
	p.left = p.left[1:]
	return m, nil
}
func (p *pieces[M]) Header() (metadata.MD, error) { return nil, nil }
func (p *pieces[M]) Trailer() metadata.MD         { return nil }
func (p *pieces[M]) CloseSend() error             { return nil }
func (p *pieces[M]) Context() context.Context     { return p.ctx }
func (p *pieces[M]) SendMsg(any) error {
	return status.Error(codes.Unimplemented, "send on a list's stream")
}
func (p *pieces[M]) RecvMsg(any) error {
	return status.Error(codes.Unimplemented, "receive untyped on a list's stream")
}
