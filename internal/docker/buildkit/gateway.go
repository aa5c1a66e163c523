package buildkit

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	types "github.com/moby/buildkit/api/types"
	gateway "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/apicaps"
	caps "github.com/moby/buildkit/util/apicaps/pb"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// bridge is the service by which a client drives a build of its own: it asks for results and says which of them to export.
type bridge struct {
	gateway.UnimplementedLLBBridgeServer
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

// What clients must not count on here, of what the protocol's libraries list.
var (
	notFrontend = []apicaps.CapID{gateway.CapGatewayExec, gateway.CapGatewayExecExtraHosts, gateway.CapGatewayExecSecretEnv, gateway.CapGatewayExecSignals,
		gateway.CapGatewayExecFilesystem, gateway.CapAttestations, gateway.CapSourceMetaResolver, gateway.CapSourceMetaResolverImageAttestations,
		gateway.CapSourceMetaResolverHTTPChecksumRequest}
	notLLB = []apicaps.CapID{pb.CapAttestations, pb.CapMergeOp, pb.CapDiffOp, pb.CapRemoteCacheGHA, pb.CapRemoteCacheS3, pb.CapRemoteCacheAzBlob, pb.CapSourcePolicy,
		pb.CapSourcePolicySession, pb.CapExecMetaCDI, pb.CapSessionExporter, pb.CapSourceGitSignatureVerify, pb.CapSourceHTTPSignatureVerify}
)

func without(list []*caps.APICap, not []apicaps.CapID) []*caps.APICap {
	for _, c := range list {
		if slices.Contains(not, apicaps.CapID(c.ID)) {
			c.Enabled, c.DisabledReason, c.DisabledReasonMsg = false, "unsupported", "not served by this builder"
		}
	}
	return list
}

// Ping tells what is served.
func (b *bridge) Ping(ctx context.Context, _ *gateway.PingRequest) (*gateway.PongResponse, error) {
	workers, err := (&controller{s: b.s}).ListWorkers(ctx, nil)
	if err != nil {
		return nil, err
	}
	return &gateway.PongResponse{FrontendAPICaps: without(gateway.Caps.All(), notFrontend), LLBCaps: without(pb.Caps.All(), notLLB),
		Workers: append([]*types.WorkerRecord{}, workers.Record...)}, nil
}

// Solve builds a Dockerfile.
func (b *bridge) Solve(ctx context.Context, req *gateway.SolveRequest) (*gateway.SolveResponse, error) {
	j, err := b.job(ctx)
	if err != nil {
		return nil, err
	}
	if req.Frontend == "" {
		if len(req.Definition.GetDef()) == 0 {
			return &gateway.SolveResponse{Result: &gateway.Result{Result: &gateway.Result_Ref{Ref: &gateway.Ref{}}}}, nil
		}
		id, err := imageOf(req.Definition)
		if err != nil {
			return nil, err
		}
		r, err := b.s.reuse(j, id)
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
		inputs = map[string]*pb.Definition{}
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

func answer(out *solved) *gateway.SolveResponse {
	res := &gateway.Result{Metadata: map[string][]byte{}}
	maps.Copy(res.Metadata, out.metadata)
	switch {
	case len(out.results) == 0:
		res.Result = &gateway.Result_Ref{Ref: &gateway.Ref{}}
	case !out.multi:
		r := out.results[0]
		res.Result = &gateway.Result_Ref{Ref: refOf(r)}
		res.Metadata["containerimage.config"] = r.img.RawConfig
	default:
		refs := &gateway.RefMap{Refs: map[string]*gateway.Ref{}}
		for _, r := range out.results {
			refs.Refs[r.platform] = refOf(r)
			res.Metadata["containerimage.config/"+r.platform] = r.img.RawConfig
		}
		res.Result = &gateway.Result_Refs{Refs: refs}
	}
	if len(out.results) > 0 {
		var list platforms
		for _, r := range out.results {
			p := r.res.Platform()
			list.Platforms = append(list.Platforms, platformEntry{r.platform, platform{p.Architecture, p.OS, p.Variant}})
		}
		res.Metadata["refs.platforms"], _ = json.Marshal(list)
	}
	return &gateway.SolveResponse{Result: res}
}

// resultScheme begins the name of a result, by which a client can make it an input of another build.
const resultScheme = "nau-result://"

func refOf(r *result) *gateway.Ref {
	source, _ := proto.MarshalOptions{Deterministic: true}.Marshal(&pb.Op{Op: &pb.Op_Source{Source: &pb.SourceOp{Identifier: resultScheme + r.img.ID.String()}}})
	last, _ := proto.MarshalOptions{Deterministic: true}.Marshal(&pb.Op{Inputs: []*pb.Input{{Digest: digest.FromBytes(source).String()}}})
	return &gateway.Ref{Id: r.id, Def: &pb.Definition{Def: [][]byte{source, last}, Metadata: map[string]*pb.OpMetadata{digest.FromBytes(source).String(): {}}}}
}

// imageOf reads a definition that names a result of this builder.
func imageOf(def *pb.Definition) (string, error) {
	for _, b := range def.Def {
		var op pb.Op
		if err := proto.Unmarshal(b, &op); err != nil {
			return "", status.Errorf(codes.InvalidArgument, "read definition: %v", err)
		}
		switch x := op.Op.(type) {
		case nil: // the last one names the others
		case *pb.Op_Source:
			if id, ok := cutResult(x.Source.Identifier); ok {
				return id, nil
			}
			return "", status.Errorf(codes.Unimplemented, "source %s: this builder takes Dockerfiles, not definitions of steps", x.Source.Identifier)
		default:
			return "", status.Errorf(codes.Unimplemented, "step %s: this builder takes Dockerfiles, not definitions of steps", fmt.Sprintf("%T", x)[len("*pb.Op_"):])
		}
	}
	return "", status.Error(codes.InvalidArgument, "the definition is empty")
}

func cutResult(identifier string) (string, bool) {
	if len(identifier) > len(resultScheme) && identifier[:len(resultScheme)] == resultScheme {
		return identifier[len(resultScheme):], true
	}
	return "", false
}

// Return says what of the results is to be exported.
func (b *bridge) Return(ctx context.Context, req *gateway.ReturnRequest) (*gateway.ReturnResponse, error) {
	j, err := b.job(ctx)
	if err != nil {
		return nil, err
	}
	select {
	case j.returns <- req:
		return &gateway.ReturnResponse{}, nil
	default:
		return nil, status.Error(codes.FailedPrecondition, "the build has returned already")
	}
}

// returned finds the results that a client returns, sorted by platform.
func returned(j *job, res *gateway.Result) ([]*result, error) {
	var ids []string
	switch x := res.GetResult().(type) {
	case *gateway.Result_Ref:
		ids = append(ids, x.Ref.GetId())
	case *gateway.Result_RefDeprecated:
		ids = append(ids, x.RefDeprecated)
	case *gateway.Result_Refs:
		for _, k := range slices.Sorted(maps.Keys(x.Refs.GetRefs())) {
			ids = append(ids, x.Refs.Refs[k].GetId())
		}
	case *gateway.Result_RefsDeprecated:
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
	return out, nil
}

// Inputs are the client's own: it has them.
func (b *bridge) Inputs(ctx context.Context, _ *gateway.InputsRequest) (*gateway.InputsResponse, error) {
	j, err := b.job(ctx)
	if err != nil {
		return nil, err
	}
	return &gateway.InputsResponse{Definitions: j.req.FrontendInputs}, nil
}

// Evaluate has nothing to do: results are made when they are asked for.
func (b *bridge) Evaluate(ctx context.Context, req *gateway.EvaluateRequest) (*gateway.EvaluateResponse, error) {
	j, err := b.job(ctx)
	if err != nil {
		return nil, err
	}
	_, err = j.result(req.Ref)
	return &gateway.EvaluateResponse{}, err
}
