package cri

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"nau/internal/engine/container"
	"nau/internal/engine/image"
	"nau/internal/engine/layer"
	"nau/internal/engine/network"
	"nau/internal/engine/sandbox"
	"nau/internal/engine/spec"
	"nau/internal/oci/monitor"
)

// rules says which gRPC code a kind of error has; the first that matches wins.
var rules = []struct {
	kind error
	code codes.Code
}{
	{context.DeadlineExceeded, codes.DeadlineExceeded},
	{context.Canceled, codes.Canceled},
	{container.ErrNotFound, codes.NotFound},
	{sandbox.ErrNotFound, codes.NotFound},
	{image.ErrNotFound, codes.NotFound},
	{image.ErrManifestUnknown, codes.NotFound},
	{monitor.ErrNotFound, codes.NotFound},
	{container.ErrAmbiguous, codes.InvalidArgument},
	{sandbox.ErrAmbiguous, codes.InvalidArgument},
	{image.ErrAmbiguous, codes.InvalidArgument},
	{image.ErrInvalidReference, codes.InvalidArgument},
	{spec.ErrNoCommand, codes.InvalidArgument},
	{container.ErrRuntime, codes.InvalidArgument},
	{container.ErrNameTaken, codes.AlreadyExists},
	{sandbox.ErrNameTaken, codes.AlreadyExists},
	{network.ErrPortTaken, codes.AlreadyExists},
	{network.ErrNoAddress, codes.ResourceExhausted},
	{layer.ErrLimit, codes.ResourceExhausted},
	{container.ErrState, codes.FailedPrecondition},
	{monitor.ErrState, codes.FailedPrecondition},
	{image.ErrInUse, codes.FailedPrecondition},
	{image.ErrUnauthorized, codes.PermissionDenied},
	{image.ErrUnreachable, codes.Unavailable},
	{monitor.ErrUnavailable, codes.Unavailable},
	{image.ErrUnsupported, codes.Unimplemented},
	{monitor.ErrUnsupported, codes.Unimplemented},
	{image.ErrNoPlatform, codes.NotFound},
}

// fault gives an error of the engine its gRPC code.
func fault(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	for _, r := range rules {
		if errors.Is(err, r.kind) {
			return status.Error(r.code, err.Error())
		}
	}
	return status.Error(codes.Unknown, err.Error())
}

func invalid(format string, args ...any) error {
	return status.Errorf(codes.InvalidArgument, format, args...)
}

func internalError(err error) error { return status.Error(codes.Internal, err.Error()) }
