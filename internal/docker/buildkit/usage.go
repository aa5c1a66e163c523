package buildkit

import (
	"context"
	"regexp"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"nau/internal/docker/buildkit/wire"
	"nau/internal/engine/build"
)

// DiskUsage lists what the builder keeps.
func (c *controller) DiskUsage(ctx context.Context, req *wire.DiskUsageRequest) (*wire.DiskUsageResponse, error) {
	fits, err := parseFilter(req.Filter)
	if err != nil {
		return nil, err
	}
	list, err := c.s.cfg.Builder.Usage(ctx)
	if err != nil {
		return nil, err
	}
	out := &wire.DiskUsageResponse{}
	for _, u := range list {
		if fits(u) && (req.AgeLimit == 0 || time.Since(u.Used) >= time.Duration(req.AgeLimit)) {
			out.Record = append(out.Record, recordOf(u))
		}
	}
	return out, nil
}

// Prune removes what the builder keeps and tells what went.
func (c *controller) Prune(req *wire.PruneRequest, stream grpc.ServerStreamingServer[wire.UsageRecord]) error {
	fits, err := parseFilter(req.Filter)
	if err != nil {
		return err
	}
	removed, err := c.s.cfg.Builder.Prune(stream.Context(), build.PruneOptions{All: req.All, Keep: func(u build.Usage) bool { return !fits(u) }, MinAge: time.Duration(req.KeepDuration),
		Reserved: req.ReservedSpace, Max: req.MaxUsedSpace, MinFree: req.MinFreeSpace})
	for _, u := range removed {
		if serr := stream.Send(recordOf(u)); serr != nil {
			return serr
		}
	}
	return err
}

func recordOf(u build.Usage) *wire.UsageRecord {
	return &wire.UsageRecord{Id: u.ID, Mutable: u.Kind == build.KindMount, InUse: u.InUse, Size: u.Size, CreatedAt: timestamppb.New(u.Created), LastUsedAt: timestamppb.New(u.Used),
		UsageCount: 1, Description: u.Text, RecordType: u.Kind, Shared: u.Shared}
}

// condition is one part of a filter: FIELD, FIELD==VALUE, FIELD!=VALUE, FIELD~=EXPRESSION.
var condition = regexp.MustCompile(`^([a-z]+)(?:(==|!=|~=)(.*))?$`)

// parseFilter reads filters; one has to fit, with all its parts.
func parseFilter(list []string) (func(build.Usage) bool, error) {
	var any []func(build.Usage) bool
	for _, text := range list {
		if text == "" {
			continue // no filter, as buildx says it
		}
		var all []func(build.Usage) bool
		for part := range strings.SplitSeq(text, ",") {
			f, err := parseCondition(part)
			if err != nil {
				return nil, status.Errorf(codes.InvalidArgument, "read filter %q: %v", text, err)
			}
			all = append(all, f)
		}
		any = append(any, func(u build.Usage) bool {
			for _, f := range all {
				if !f(u) {
					return false
				}
			}
			return true
		})
	}
	return func(u build.Usage) bool {
		for _, f := range any {
			if f(u) {
				return true
			}
		}
		return len(any) == 0
	}, nil
}

func parseCondition(part string) (func(build.Usage) bool, error) {
	m := condition.FindStringSubmatch(part)
	if m == nil {
		return nil, strconv.ErrSyntax
	}
	field, err := fieldOf(m[1])
	if err != nil {
		return nil, err
	}
	value := strings.Trim(m[3], `"`)
	switch m[2] {
	case "==":
		return func(u build.Usage) bool { return field(u) == value }, nil
	case "!=":
		return func(u build.Usage) bool { return field(u) != value }, nil
	case "~=":
		expr, err := regexp.Compile(value)
		if err != nil {
			return nil, err
		}
		return func(u build.Usage) bool { return expr.MatchString(field(u)) }, nil
	}
	return func(u build.Usage) bool { v := field(u); return v != "" && v != "false" }, nil
}

func fieldOf(name string) (func(build.Usage) string, error) {
	switch name {
	case "id":
		return func(u build.Usage) string { return u.ID }, nil
	case "type":
		return func(u build.Usage) string { return u.Kind }, nil
	case "description":
		return func(u build.Usage) string { return u.Text }, nil
	case "inuse":
		return func(u build.Usage) string { return strconv.FormatBool(u.InUse) }, nil
	case "mutable":
		return func(u build.Usage) string { return strconv.FormatBool(u.Kind == build.KindMount) }, nil
	case "immutable":
		return func(u build.Usage) string { return strconv.FormatBool(u.Kind != build.KindMount) }, nil
	case "shared":
		return func(u build.Usage) string { return strconv.FormatBool(u.Shared) }, nil
	case "private":
		return func(u build.Usage) string { return strconv.FormatBool(!u.Shared) }, nil
	}
	return nil, strconv.ErrSyntax
}
