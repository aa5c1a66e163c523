package buildkit

import (
	"context"
	"io"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"nau/internal/docker/buildkit/wire"
	"nau/internal/engine/build"
	"nau/internal/engine/image"
)

// Posted is a build that came in one HTTP request, as clients before buildx and those without a session of BuildKit's protocol ask for one.
type Posted struct {
	Ref      string // by which it can be cancelled
	Session  string // whose folders, secrets and credentials it may ask for; "" = nobody's
	Archive  io.Reader
	Auth     func(host string) (*image.Auth, error) // where there is no session
	Attrs    map[string]string                      // of the front end
	Exporter string                                 // "" = nothing is kept but the cache
	Exports  map[string]string
	HostNet  bool
}

// postedContext is the address that stands for the archive which came with the request.
const postedContext = "posted:"

// Build runs a posted build to its end and tells its story meanwhile, in status messages as they are on the wire; id is the image that it made,
// "" if it made none.
func (s *Server) Build(ctx context.Context, p Posted, tell func(status []byte)) (id string, err error) {
	req := &wire.ControlSolveRequest{Ref: p.Ref, Session: p.Session, Frontend: "dockerfile.v0", FrontendAttrs: p.Attrs}
	if p.Exporter != "" {
		req.Exporters = []*wire.Exporter{{Type: p.Exporter, Attrs: p.Exports}}
	}
	if p.HostNet {
		req.Entitlements = []string{hostNetwork}
	}
	if p.Archive != nil {
		p.Attrs["context"] = postedContext
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	j := newJob(ctx, req)
	j.posted, j.auth, j.cancel = p.Archive, p.Auth, cancel
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		// the story ends with the build, whether somebody hears it or not
		_ = j.story.follow(context.WithoutCancel(ctx), func(r *wire.StatusResponse) error {
			b, err := proto.Marshal(r)
			if err == nil {
				tell(b)
			}
			return err
		})
	}()
	res, err := (&controller{s}).run(j)
	j.story.end()
	<-heard
	if err != nil {
		return "", said(err)
	}
	return res.ExporterResponse["containerimage.config.digest"], nil
}

// Cancel ends a posted build that is under way.
func (s *Server) Cancel(ref string) {
	s.jobs.mu.Lock()
	j := s.jobs.byRef[ref]
	s.jobs.mu.Unlock()
	if j != nil && j.cancel != nil {
		j.cancel()
	}
}

// said is an error without what it is for gRPC.
func said(err error) error {
	if st, ok := status.FromError(err); ok {
		return build.Reword(err, st.Message())
	}
	return err
}

// clientOf is whom a build may ask: its session, or nobody but the credentials that came with the request.
func (s *Server) clientOf(j *job, id string) (*client, error) {
	if id == "" && j.auth != nil {
		return &client{known: j.auth}, nil
	}
	return s.client(j.ctx, id)
}
