package buildkit

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"nau/internal/docker/buildkit/wire"
	"nau/internal/engine/build"
)

// describe words an error as clients of BuildKit know it.
func describe(err error) error {
	var run *build.RunError
	if errors.As(err, &run) {
		return fmt.Errorf("process %q did not complete successfully: exit code: %d", strings.Join(run.Args, " "), run.Code)
	}
	var missing *build.MissingError
	if errors.As(err, &missing) {
		return fmt.Errorf("failed to compute cache key: %w", notThere(missing))
	}
	var step *build.StepError
	if errors.Is(err, build.ErrDockerfile) || errors.As(err, &step) {
		said := build.Said(err)
		if strings.HasPrefix(said, "parse stage name ") {
			said = "failed to " + said
		}
		return build.Reword(err, said)
	}
	return err
}

// ofStep words an error as it stands below the step that it happened in.
func ofStep(err error) string {
	var missing *build.MissingError
	if errors.As(err, &missing) {
		return notThere(missing).Error()
	}
	return describe(err).Error()
}

// notThere words a missing file of the context.
func notThere(m *build.MissingError) error {
	sum := sha256.Sum256([]byte(m.Name))
	ref := strings.ToLower(base32.StdEncoding.EncodeToString(sum[:])[:25])
	return build.Reword(m, fmt.Sprintf("failed to calculate checksum of ref %s::%s: %q: not found", ref, ref, "/"+m.Name))
}

// located adds the place in the Dockerfile.
func located(err error, info *wire.SourceInfo) error {
	ranges := place(err)
	err = describe(err)
	if err == nil || info == nil || len(ranges) == 0 {
		return err
	}
	return &sourceError{err, &wire.Source{Info: info, Ranges: ranges}}
}

// place finds the lines that an error is about.
func place(err error) (out []*wire.Range) {
	add := func(from, to int) {
		out = append(out, &wire.Range{Start: &wire.Position{Line: int32(from)}, End: &wire.Position{Line: int32(max(from, to))}})
	}
	var step *build.StepError
	var loc *parser.LocationError
	switch {
	case errors.As(err, &step) && step.From > 0:
		add(step.From, step.To)
	case errors.As(err, &loc):
		for _, group := range loc.Locations {
			for _, r := range group {
				add(r.Start.Line, r.End.Line)
			}
		}
	}
	return out
}

// sourceError is an error with a place in a file, which clients show with the lines around it.
type sourceError struct {
	error
	source *wire.Source
}

func (e *sourceError) Unwrap() error { return e.error }

// GRPCStatus carries the place as a detail, under the name by which clients know it.
func (e *sourceError) GRPCStatus() *status.Status {
	b, err := json.Marshal(e.source)
	if err != nil {
		return status.New(codes.Unknown, e.Error())
	}
	p := status.New(codes.Unknown, e.Error()).Proto()
	p.Details = append(p.Details, &anypb.Any{TypeUrl: "github.com/moby/buildkit/errdefs.Source+json", Value: b})
	return status.FromProto(p)
}
