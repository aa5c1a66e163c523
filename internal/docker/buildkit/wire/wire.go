// Package wire is the messages of BuildKit's protocol that the builder speaks, and the names of its services and methods.
//
// The messages are written anew instead of taken from BuildKit's own packages, which would add megabytes to the program: see
// docs/decisions/020-buildkit-messages.md. Nothing is decided here. Only internal/docker/buildkit imports it.
package wire

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// Control is the service that builds are started and watched by.
type Control interface {
	Info(context.Context, *InfoRequest) (*InfoResponse, error)
	ListWorkers(context.Context, *ListWorkersRequest) (*ListWorkersResponse, error)
	Solve(context.Context, *ControlSolveRequest) (*ControlSolveResponse, error)
	DiskUsage(context.Context, *DiskUsageRequest) (*DiskUsageResponse, error)
	Status(*StatusRequest, grpc.ServerStreamingServer[StatusResponse]) error
	Prune(*PruneRequest, grpc.ServerStreamingServer[UsageRecord]) error
	Session(grpc.BidiStreamingServer[BytesMessage, BytesMessage]) error
	ListenBuildHistory(*BuildHistoryRequest, grpc.ServerStreamingServer[BuildHistoryEvent]) error
	UpdateBuildHistory(context.Context, *UpdateBuildHistoryRequest) (*UpdateBuildHistoryResponse, error)
}

// Bridge is the service by which a client drives a build of its own.
type Bridge interface {
	Ping(context.Context, *PingRequest) (*PongResponse, error)
	Solve(context.Context, *SolveRequest) (*SolveResponse, error)
	Return(context.Context, *ReturnRequest) (*ReturnResponse, error)
	Inputs(context.Context, *InputsRequest) (*InputsResponse, error)
	Evaluate(context.Context, *EvaluateRequest) (*EvaluateResponse, error)
	ReadFile(context.Context, *ReadFileRequest) (*ReadFileResponse, error)
	ReadDir(context.Context, *ReadDirRequest) (*ReadDirResponse, error)
	StatFile(context.Context, *StatFileRequest) (*StatFileResponse, error)
	Warn(context.Context, *WarnRequest) (*WarnResponse, error)
}

// Register offers both services; methods of the protocol that are not listed are answered as unimplemented.
func Register(s *grpc.Server, c Control, b Bridge) {
	s.RegisterService(&grpc.ServiceDesc{ServiceName: "moby.buildkit.v1.Control", HandlerType: (*Control)(nil),
		Methods: []grpc.MethodDesc{unary("Info", Control.Info), unary("ListWorkers", Control.ListWorkers), unary("Solve", Control.Solve), unary("DiskUsage", Control.DiskUsage),
			unary("UpdateBuildHistory", Control.UpdateBuildHistory)},
		Streams: []grpc.StreamDesc{stream("Status", Control.Status), stream("Prune", Control.Prune), stream("ListenBuildHistory", Control.ListenBuildHistory),
			{StreamName: "Session", ServerStreams: true, ClientStreams: true, Handler: func(srv any, s grpc.ServerStream) error {
				return srv.(Control).Session(&grpc.GenericServerStream[BytesMessage, BytesMessage]{ServerStream: s})
			}}}}, c)
	s.RegisterService(&grpc.ServiceDesc{ServiceName: "moby.buildkit.v1.frontend.LLBBridge", HandlerType: (*Bridge)(nil),
		Methods: []grpc.MethodDesc{unary("Ping", Bridge.Ping), unary("Solve", Bridge.Solve), unary("Return", Bridge.Return), unary("Inputs", Bridge.Inputs),
			unary("Evaluate", Bridge.Evaluate), unary("ReadFile", Bridge.ReadFile), unary("ReadDir", Bridge.ReadDir), unary("StatFile", Bridge.StatFile), unary("Warn", Bridge.Warn)}}, b)
}

// message is a pointer to a generated message.
type message[M any] interface {
	*M
	proto.Message
}

func unary[S, In, Out any, I message[In], O message[Out]](name string, do func(S, context.Context, *In) (*Out, error)) grpc.MethodDesc {
	return grpc.MethodDesc{MethodName: name, Handler: func(srv any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
		in := new(In)
		if err := decode(in); err != nil {
			return nil, err
		}
		call := func(ctx context.Context, req any) (any, error) { return do(srv.(S), ctx, req.(*In)) }
		if intercept == nil {
			return call(ctx, in)
		}
		return intercept(ctx, in, &grpc.UnaryServerInfo{Server: srv, FullMethod: name}, call)
	}}
}

func stream[S, In, Out any, I message[In], O message[Out]](name string, do func(S, *In, grpc.ServerStreamingServer[Out]) error) grpc.StreamDesc {
	return grpc.StreamDesc{StreamName: name, ServerStreams: true, Handler: func(srv any, s grpc.ServerStream) error {
		in := new(In)
		if err := s.RecvMsg(in); err != nil {
			return err
		}
		return do(srv.(S), in, &grpc.GenericServerStream[In, Out]{ServerStream: s})
	}}
}
