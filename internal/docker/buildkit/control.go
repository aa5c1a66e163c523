package buildkit

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"nau/internal/docker/buildkit/wire"
)

// controller is the service that builds are started and watched by.
type controller struct {
	s *Server
}

func (c *controller) version() *wire.Version {
	return &wire.Version{Package: "nau", Version: protocol() + "+nau." + notVersion.ReplaceAllString(c.s.cfg.Version, "-"), Revision: c.s.cfg.Version}
}

// notVersion is what the build part of a version must not have.
var notVersion = regexp.MustCompile(`[^0-9A-Za-z.-]`)

// protocol is the version of BuildKit whose messages and language are spoken here: clients decide by it what they may ask for.
var protocol = sync.OnceValue(func() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == "github.com/moby/buildkit" {
				return m.Version
			}
		}
	}
	return "v0.0.0"
})

func (c *controller) Info(context.Context, *wire.InfoRequest) (*wire.InfoResponse, error) {
	return &wire.InfoResponse{Version: c.version()}, nil
}

// Labels by which buildx learns what the engine of a docker builder can do: with a snapshotter it exports archives, indexes and caches.
const (
	labelSnapshotter = "org.mobyproject.buildkit.worker.snapshotter"
	labelHostGateway = "org.mobyproject.buildkit.worker.moby.host-gateway-ip"
)

func (c *controller) ListWorkers(context.Context, *wire.ListWorkersRequest) (*wire.ListWorkersResponse, error) {
	w := &wire.Worker{Id: "nau", Version: c.version(), Labels: map[string]string{labelSnapshotter: "overlayfs"}}
	if c.s.cfg.Gateway != nil {
		if ip := c.s.cfg.Gateway(); ip != "" {
			w.Labels[labelHostGateway] = ip
		}
	}
	for _, p := range c.s.cfg.Builder.Platforms() {
		w.Platforms = append(w.Platforms, &wire.Platform{Os: p.OS, Architecture: p.Architecture, Variant: p.Variant})
	}
	rules, err := c.s.cfg.Builder.Rules()
	if err != nil {
		return nil, err
	}
	for _, r := range rules {
		p := &wire.GCPolicy{All: r.All, KeepDuration: int64(r.MinAge), ReservedSpace: r.Reserved, MaxUsedSpace: r.Max, MinFreeSpace: r.MinFree}
		for _, k := range r.Kinds {
			p.Filters = append(p.Filters, "type=="+k)
		}
		w.GcPolicy = append(w.GcPolicy, p)
	}
	return &wire.ListWorkersResponse{Record: []*wire.Worker{w}}, nil
}

// entitlements that a build may be given. Nobody can grant all privileges to a build here.
const (
	hostNetwork = "network.host"
	insecure    = "security.insecure"
)

// Solve runs a build to its end. Without a frontend the client drives it through the gateway.
func (c *controller) Solve(ctx context.Context, req *wire.ControlSolveRequest) (*wire.ControlSolveResponse, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return c.run(newJob(ctx, req))
}

// run carries out a job.
func (c *controller) run(j *job) (res *wire.ControlSolveResponse, err error) {
	if err := c.s.jobs.add(j); err != nil {
		return nil, err
	}
	c.s.history.begin(j)
	defer func() {
		if cerr := j.close(); cerr != nil && err == nil {
			err = cerr
		}
		if herr := c.s.history.end(j, res, err, time.Now()); herr != nil {
			c.s.cfg.Log.Warn("a build is not remembered", "error", herr)
		}
		j.story.end()
		c.s.jobs.forget(j)
	}()
	exporters, caches, err := admit(j.req)
	if err != nil {
		return nil, err
	}
	results, err := c.results(j)
	if err != nil {
		return nil, err
	}
	return c.s.export(j, results, exporters, caches)
}

// admit refuses what is not carried out, before anything is built.
func admit(req *wire.ControlSolveRequest) ([]exporter, []cacheExport, error) {
	if slices.Contains(req.Entitlements, insecure) {
		return nil, nil, fmt.Errorf("granting entitlement %s is not allowed by build daemon configuration", insecure)
	}
	if req.SourcePolicy != nil && len(req.SourcePolicy.Rules) > 0 || req.SourcePolicySession != "" {
		return nil, nil, status.Error(codes.Unimplemented, "source policies are not applied by this builder: build without --policy")
	}
	exporters := exportersOf(req)
	for _, e := range exporters {
		if err := e.check(); err != nil {
			return nil, nil, err
		}
	}
	caches, err := cachesOf(req)
	if err != nil {
		return nil, nil, err
	}
	return exporters, caches, nil
}

// results runs the frontend, or waits for what the client returns.
func (c *controller) results(j *job) ([]*result, error) {
	switch {
	case j.req.Frontend != "":
		out, err := c.s.solve(j, j.req.Session, j.req.Frontend, j.req.FrontendAttrs, j.req.FrontendInputs)
		if err != nil {
			return nil, err
		}
		return out.results, nil
	case len(j.req.Definition.GetDef()) > 0:
		r, err := c.s.defined(j, j.req.Definition)
		if err != nil {
			return nil, err
		}
		return exportable(r)
	}
	select {
	case ret := <-j.returns:
		if ret.Error != nil {
			return nil, status.FromProto(ret.Error).Err()
		}
		return returned(j, ret.Result)
	case <-j.ctx.Done():
		return nil, status.FromContextError(j.ctx.Err()).Err()
	}
}

// Status tells the story of a build, also of one that has not begun.
func (c *controller) Status(req *wire.StatusRequest, stream grpc.ServerStreamingServer[wire.StatusResponse]) error {
	if known, err := c.s.history.replay(req.Ref, stream.Send); known {
		return err
	}
	j, err := c.s.jobs.find(stream.Context(), req.Ref)
	if err != nil {
		return err
	}
	err = j.story.follow(stream.Context(), stream.Send)
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
