package buildkit

import (
	"errors"
	"fmt"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"

	"nau/internal/engine/build"
)

// describe words an error as clients of BuildKit know it.
func describe(err error) error {
	var run *build.RunError
	if errors.As(err, &run) {
		return fmt.Errorf("process %q did not complete successfully: exit code: %d", strings.Join(run.Args, " "), run.Code)
	}
	return err
}

// located adds the place in the Dockerfile.
func located(err error, info *pb.SourceInfo) error {
	ranges := place(err)
	err = describe(err)
	if err == nil || info == nil || len(ranges) == 0 {
		return err
	}
	return errdefs.WithSource(err, &errdefs.Source{Info: info, Ranges: ranges})
}

// place finds the lines that an error is about.
func place(err error) (out []*pb.Range) {
	add := func(from, to int) {
		out = append(out, &pb.Range{Start: &pb.Position{Line: int32(from)}, End: &pb.Position{Line: int32(max(from, to))}})
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
