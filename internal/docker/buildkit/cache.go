package buildkit

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"nau/internal/docker/buildkit/wire"
)

// cacheExport is one --cache-to of a build.
type cacheExport struct {
	kind  string
	attrs map[string]string
}

// cachesOf reads where the cache is to be exported.
func cachesOf(req *wire.ControlSolveRequest) (out []cacheExport, err error) {
	for _, e := range req.Cache.GetExports() {
		return nil, status.Errorf(codes.Unimplemented, "cache export of type %s is not served by this builder", e.Type)
	}
	return nil, nil
}

func (s *Server) exportCache(j *job, t *teller, results []*result, c cacheExport, out map[string]string) error {
	return nil
}
