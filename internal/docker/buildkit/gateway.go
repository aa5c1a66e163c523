package buildkit

import (
	"context"
	"encoding/json"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"nau/internal/docker/buildkit/wire"
)

// bridge is the service by which a client drives a build of its own: it asks for results and says which of them to export.
type bridge struct {
	s *Server
}

// keyBuild is the request header that names the build.
const keyBuild = "buildkit-controlapi-buildid"

func (b *bridge) job(ctx context.Context) (*job, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	if ids := md.Get(keyBuild); len(ids) == 1 && ids[0] != "" {
		j, err := b.s.jobs.find(ctx, ids[0])
		if err == nil && j.ctx.Err() != nil {
			err = j.over()
		}
		return j, err
	}
	return nil, status.Errorf(codes.InvalidArgument, "the request names no build: %s is missing", keyBuild)
}

// What clients may count on: of the protocol's front ends, and of what definitions and exporters can say.
var (
	frontendCaps = []string{"solve.base", "solve.inlinereturn", "readfile", "readdir", "statfile", "return", "returnmap", "importcaches", "proto.refarray", "reference.output",
		"frontend.inputs", "gateway.solve.metadata", "frontend.caps", "gateway.solve.evaluate", "gateway.evaluate", "gateway.warnings"}
	llbCaps = []string{"source.image", "source.image.resolvemode", "source.local", "source.local.unique", "source.local.sessionid", "source.local.includepatterns",
		"source.git", "source.git.keepgitdir", "source.git.fullurl", "source.git.httpauth",
		"source.git.knownsshhosts", "source.git.mountsshsock", "source.git.subdir", "source.git.checksum", "source.git.skipsubmodules", "source.local.followpaths", "source.local.excludepatterns", "source.local.sharedkeyhint", "source.http", "source.http.checksum", "exec.meta.base", "exec.meta.network",
		"exec.meta.proxyenv", "exec.meta.ulimit", "exec.meta.cgroup.parent", "exec.mount.bind", "exec.mount.cache", "exec.mount.cache.sharing", "exec.mount.tmpfs",
		"exec.mount.tmpfs.size", "exec.mount.secret", "exec.mount.ssh", "exec.secretenv", "file.base", "constraints", "platform", "meta.ignorecache", "meta.description",
		"exporter.image.annotations", "exporter.image.attestations", "exporter.sourcedateepoch", "exporter.multiple", "gc.freespacefilter"}
)

func capable(ids []string) (out []*wire.Capability) {
	for _, id := range ids {
		out = append(out, &wire.Capability{Id: id, Enabled: true})
	}
	return out
}

// Ping tells what is served.
func (b *bridge) Ping(ctx context.Context, _ *wire.PingRequest) (*wire.PongResponse, error) {
	workers, err := (&controller{s: b.s}).ListWorkers(ctx, nil)
	if err != nil {
		return nil, err
	}
	return &wire.PongResponse{FrontendCaps: capable(frontendCaps), LlbCaps: capable(llbCaps), Workers: workers.Record}, nil
}

// Solve builds a Dockerfile.
func (b *bridge) Solve(ctx context.Context, req *wire.SolveRequest) (*wire.SolveResponse, error) {
	j, err := b.job(ctx)
	if err != nil {
		return nil, err
	}
	if req.Frontend == "" {
		if len(req.Definition.GetDef()) == 0 {
			return &wire.SolveResponse{Result: &wire.Result{Result: &wire.Result_Ref{Ref: &wire.Ref{}}}}, nil
		}
		r, err := b.s.defined(j, req.Definition)
		if err != nil {
			return nil, err
		}
		return answer(&solved{results: []*result{r}}), nil
	}
	attrs := maps.Clone(j.req.FrontendAttrs)
	if attrs == nil {
		attrs = map[string]string{}
	}
	maps.Copy(attrs, req.FrontendOpt)
	inputs := maps.Clone(j.req.FrontendInputs)
	if inputs == nil {
		inputs = map[string]*wire.Definition{}
	}
	maps.Copy(inputs, req.FrontendInputs)
	if len(req.CacheImports) > 0 {
		text, err := json.Marshal(req.CacheImports)
		if err != nil {
			return nil, err
		}
		attrs["cache-imports"] = string(text)
	}
	out, err := b.s.solve(j, j.req.Session, req.Frontend, attrs, inputs)
	if err != nil {
		return nil, err
	}
	return answer(out), nil
}

// platforms is the metadata that says which result is for which platform.
type platforms struct{ Platforms []platformEntry }

type platformEntry struct {
	ID       string
	Platform platform
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Variant      string `json:"variant,omitempty"`
}

func answer(out *solved) *wire.SolveResponse {
	res := &wire.Result{Metadata: map[string][]byte{}}
	maps.Copy(res.Metadata, out.metadata)
	switch {
	case len(out.results) == 0:
		res.Result = &wire.Result_Ref{Ref: &wire.Ref{}}
	case !out.multi:
		r := out.results[0]
		res.Result = &wire.Result_Ref{Ref: refOf(r)}
		if r.res == nil {
			return &wire.SolveResponse{Result: res}
		}
		res.Metadata["containerimage.config"] = r.img.RawConfig
	default:
		refs := &wire.RefMap{Refs: map[string]*wire.Ref{}}
		for _, r := range out.results {
			refs.Refs[r.platform] = refOf(r)
			res.Metadata["containerimage.config/"+r.platform] = r.img.RawConfig
		}
		res.Result = &wire.Result_Refs{Refs: refs}
	}
	if len(out.results) > 0 {
		var list platforms
		for _, r := range out.results {
			p := r.res.Platform()
			list.Platforms = append(list.Platforms, platformEntry{r.platform, platform{p.Architecture, p.OS, p.Variant}})
		}
		res.Metadata["refs.platforms"], _ = json.Marshal(list)
	}
	return &wire.SolveResponse{Result: res}
}

// resultScheme begins the name of a result, by which a client can make it an input of another build.
const resultScheme = "nau-result://"

func refOf(r *result) *wire.Ref {
	if r.res == nil {
		return &wire.Ref{Id: r.id, Def: r.def}
	}
	source, _ := proto.MarshalOptions{Deterministic: true}.Marshal(&wire.Op{Source: &wire.SourceOp{Identifier: resultScheme + r.img.ID.String()}})
	last, _ := proto.MarshalOptions{Deterministic: true}.Marshal(&wire.Op{Inputs: []*wire.Input{{Digest: digest.FromBytes(source).String()}}})
	return &wire.Ref{Id: r.id, Def: &wire.Definition{Def: [][]byte{source, last}, Metadata: map[string]*wire.OpMetadata{digest.FromBytes(source).String(): {}}}}
}

// Return says what of the results is to be exported.
func (b *bridge) Return(ctx context.Context, req *wire.ReturnRequest) (*wire.ReturnResponse, error) {
	j, err := b.job(ctx)
	if err != nil {
		return nil, err
	}
	select {
	case j.returns <- req:
		return &wire.ReturnResponse{}, nil
	default:
		return nil, status.Error(codes.FailedPrecondition, "the build has returned already")
	}
}

// returned finds the results that a client returns, sorted by platform.
func returned(j *job, res *wire.Result) ([]*result, error) {
	var ids []string
	switch x := res.GetResult().(type) {
	case *wire.Result_Ref:
		ids = append(ids, x.Ref.GetId())
	case *wire.Result_RefDeprecated:
		ids = append(ids, x.RefDeprecated)
	case *wire.Result_Refs:
		for _, k := range slices.Sorted(maps.Keys(x.Refs.GetRefs())) {
			ids = append(ids, x.Refs.Refs[k].GetId())
		}
	case *wire.Result_RefsDeprecated:
		for _, k := range slices.Sorted(maps.Keys(x.RefsDeprecated.GetRefs())) {
			ids = append(ids, x.RefsDeprecated.Refs[k])
		}
	}
	var out []*result
	for _, id := range ids {
		if id == "" {
			continue
		}
		r, err := j.result(id)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return exportable(out...)
}

// exportable refuses results that are files alone.
func exportable(results ...*result) ([]*result, error) {
	for _, r := range results {
		if r.res == nil {
			return nil, status.Error(codes.Unimplemented, "this builder exports what Dockerfiles make: copy the source in one")
		}
	}
	return results, nil
}

// Inputs are the client's own: it has them.
func (b *bridge) Inputs(ctx context.Context, _ *wire.InputsRequest) (*wire.InputsResponse, error) {
	j, err := b.job(ctx)
	if err != nil {
		return nil, err
	}
	return &wire.InputsResponse{Definitions: j.req.FrontendInputs}, nil
}

// Evaluate has nothing to do: results are made when they are asked for.
func (b *bridge) Evaluate(ctx context.Context, req *wire.EvaluateRequest) (*wire.EvaluateResponse, error) {
	j, err := b.job(ctx)
	if err != nil {
		return nil, err
	}
	_, err = j.result(req.Ref)
	return &wire.EvaluateResponse{}, err
}
