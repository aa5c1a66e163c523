package docker

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/docker/go-units"
	bt "github.com/moby/moby/api/types/build"
	dn "github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/registry"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"nau/internal/engine/build"
	"nau/internal/engine/image"
	"nau/internal/engine/spec"
)

// openBuilder opens the builder, which removes what a crash left of builds.
func (s *Server) openBuilder() (err error) {
	cfg := build.Config{Dir: filepath.Join(s.e.Config().DataDir, "build"), Images: s.e.Images, Layers: s.e.Layers, Containers: s.e.Containers,
		Sandboxes: s.e.Sandboxes, Remap: s.e.Config().Remap, Log: s.log,
		Ended: func() { s.ended.Go(s.collectBuilds) }}
	if n := s.defaultNetwork(); n != nil {
		cfg.Network = n.spec.Name
	}
	s.builder, err = build.New(cfg)
	return err
}

// collectBuilds keeps the builder's cache within its bounds.
func (s *Server) collectBuilds() {
	removed, err := s.builder.Collect(context.Background(), time.Now())
	if err != nil {
		s.log.Warn("collect what builds have left", "error", err)
	}
	if len(removed) > 0 {
		s.log.Info("collected what builds have left", "items", len(removed), "bytes", build.Freed(removed))
	}
}

// buildImage answers POST /build of the classic builder. The cache is by content, so cachefrom has nothing to add.
func (s *Server) buildImage(c *call) error {
	switch v := c.get("version"); v {
	case "", "1":
	case "2":
		return s.postedBuild(c)
	default:
		return badRequest("invalid version %q", v)
	}
	req, err := s.buildRequest(c)
	if err != nil {
		return err
	}
	release, err := s.remoteContext(c, &req)
	if err != nil {
		return err
	}
	defer release()
	p := newProgress(c)
	quiet := c.flag("q")
	text := &build.Text{Out: streamLines{p}}
	if req.Classic {
		text.Err = coloured{text.Out}
	}
	target := -1
	req.Progress = func(e build.Event) {
		switch {
		case quiet:
			return
		case e.Kind == build.StepPulls:
			p.event(e.Pull)
			return
		case e.Kind == build.BuildBegins:
			target = e.Stages[len(e.Stages)-1]
		case e.Kind == build.StageEnds && req.Classic && e.Stage != target && e.ID != "": // the classic builder tells the image of each stage
			p.put(line{Aux: bt.Result{ID: e.ID}})
		case e.Kind == build.BuildEnds:
			p.put(line{Aux: bt.Result{ID: e.ID}})
		}
		text.Event(e)
	}
	img, err := s.builder.Build(c.ctx(), req)
	if err == nil {
		s.built(img.ID.String(), req.Tags)
		if quiet {
			p.put(line{Stream: img.ID.String() + "\n"})
		}
		return nil
	}
	var run *build.RunError
	if errors.As(err, &run) {
		p.put(map[string]any{"errorDetail": map[string]any{"code": run.Code, "message": oneLine(err)}, "error": oneLine(err)})
		return nil
	}
	said := oneLine(err)
	if req.Classic {
		said = classicError(err)
	}
	for _, kind := range []error{build.ErrDockerfile, build.ErrContext, build.ErrUnsupported, build.ErrEntitlement} {
		if errors.Is(err, kind) {
			return p.finish(badRequest("%s", said))
		}
	}
	return p.finish(build.Reword(err, said))
}

// built tells of an image that a build made, and of the names that it gave.
func (s *Server) built(id string, names []string) {
	s.imageEvent("create", id, id)
	for _, name := range names {
		if named, err := reference.ParseNormalizedNamed(name); err == nil {
			s.imageEvent("tag", id, reference.FamiliarString(reference.TagNameOnly(named)))
		}
	}
}

// classicError words what is wrong as Docker's classic builder does, which names no lines except for what cannot be parsed.
func classicError(err error) string {
	var step *build.StepError
	var missing *build.MissingError
	if errors.As(err, &step) && errors.As(err, &missing) {
		instruction, _, _ := strings.Cut(step.Text, " ")
		return fmt.Sprintf("%s failed: file not found in build context or excluded by .dockerignore: stat %s: file does not exist", strings.ToUpper(instruction), missing.Name)
	}
	said := build.Said(err)
	if said == "file with no instructions" {
		return "failed to parse Dockerfile: " + said
	}
	if _, why, ok := strings.Cut(said, `": invalid reference format: `); ok && strings.HasPrefix(said, "parse stage name ") {
		return "invalid reference format: " + why
	}
	return oneLine(errors.New(said))
}

// coloured marks what commands write to their standard error, as the classic builder does.
type coloured struct{ w io.Writer }

func (c coloured) Write(b []byte) (int, error) {
	if _, err := fmt.Fprintf(c.w, "\x1b[91m%s\x1b[0m", b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// streamLines sends text as documents of the build stream.
type streamLines struct{ p *progress }

func (s streamLines) Write(b []byte) (int, error) {
	s.p.put(line{Stream: string(b)})
	return len(b), nil
}

// buildRequest reads the query. Source: Docker Engine API, "ImageBuild".
func (s *Server) buildRequest(c *call) (build.Request, error) {
	var own map[string]bool
	if err := buildHeader(c, "X-Build-Own", &own); err != nil {
		return build.Request{}, err
	}
	req := build.Request{Classic: !own["needed"], Squash: c.flag("squash"), Dockerfile: c.get("dockerfile"), Target: c.get("target"), NoCache: c.flag("nocache"), Pull: c.flag("pull"), Platform: c.get("platform"),
		Context: c.Body}
	switch {
	case c.flag("squash") && !s.cfg.Experimental && !own["squash"]:
		return req, badRequest("squash is only supported with experimental mode")
	case c.get("outputs") != "":
		return req, badRequest("outputs need BuildKit; the image is in the engine when the build ends")
	}
	if req.Platform != "" {
		if _, err := image.ReadPlatform(req.Platform); err != nil {
			return req, badRequest("%v", err)
		}
	}
	for _, t := range c.query["t"] {
		if t != "" {
			req.Tags = append(req.Tags, t)
		}
	}
	documents := map[string]any{"buildargs": &req.Args, "labels": &req.Labels}
	for name, into := range documents {
		if v := c.get(name); v != "" {
			if err := json.Unmarshal([]byte(v), into); err != nil {
				return req, badRequest("error reading %s: %v", name, err)
			}
		}
	}
	if err := s.buildPlace(c, &req); err != nil {
		return req, err
	}
	if req.Classic {
		req.Keeping = s.keeping(c)
	}
	if err := buildSecrets(c, &req); err != nil {
		return req, err
	}
	auths, err := registryConfig(c.Header.Get("X-Registry-Config"))
	if err != nil {
		return req, err
	}
	req.Auth = authIn(auths)
	return req, nil
}

// authIn finds a registry's credentials among those that a client sent.
func authIn(auths map[string]registry.AuthConfig) func(host string) (*image.Auth, error) {
	return func(host string) (*image.Auth, error) {
		for _, key := range []string{host, "https://" + host, "https://index.docker.io/v1/"} {
			if a, ok := auths[key]; ok && (key != "https://index.docker.io/v1/" || host == "docker.io") {
				return authOf(a), nil
			}
		}
		return nil, nil
	}
}

// limit reads a number; what is none is 0, which means no limit.
func (c *call) limit(name string) int64 {
	n, _ := strconv.ParseInt(c.get(name), 10, 64)
	return n
}

// buildPlace reads limits and network of the RUN steps.
func (s *Server) buildPlace(c *call, req *build.Request) error {
	positive := func(name string) *int64 {
		if n := c.limit(name); n != 0 {
			return &n
		}
		return nil
	}
	unsigned := func(name string) *uint64 {
		if n := c.limit(name); n > 0 {
			return new(uint64(n))
		}
		return nil
	}
	req.Resources = spec.Resources{Memory: positive("memory"), Swap: positive("memswap"), CPUShares: unsigned("cpushares"), CPUQuota: positive("cpuquota"),
		CPUPeriod: unsigned("cpuperiod"), Cpus: c.get("cpusetcpus"), Mems: c.get("cpusetmems")}
	req.ShmSize, req.Cgroup = c.limit("shmsize"), c.get("cgroupparent")
	if err := buildLimits(c.get("ulimits"), req); err != nil {
		return err
	}
	switch mode := cmp.Or(c.get("networkmode"), "default"); mode {
	case "default", dn.NetworkBridge:
		req.Network = "default"
	case "none", "host":
		req.Network = mode
	default:
		if of, ok := strings.CutPrefix(mode, "container:"); ok {
			r, err := s.find(of)
			if err != nil {
				return err
			}
			if !running(r) {
				return conflict("cannot join network of a non running container: %s", r.ID)
			}
			req.Sandbox = r.Config.Sandbox
			break
		}
		n, err := s.network(mode)
		if err != nil {
			return err
		}
		req.Network = n.spec.Name
	}
	var hosts []string
	for _, h := range c.query["extrahosts"] {
		if json.Unmarshal([]byte(h), &hosts) != nil {
			hosts = append(hosts, strings.Split(h, ",")...)
		}
	}
	if len(hosts) == 0 {
		return nil
	}
	n := s.defaultNetwork()
	if n == nil {
		n = &net_{}
	}
	var err error
	req.Hosts, err = extraHosts(hosts, n.gateway(false))
	return err
}

// buildLimits reads the ulimits of the RUN steps, a JSON list.
func buildLimits(text string, req *build.Request) error {
	if text == "" {
		return nil
	}
	var list []units.Ulimit
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return badRequest("error reading ulimits: %v", err)
	}
	for _, u := range list {
		req.Rlimits = append(req.Rlimits, specs.POSIXRlimit{Type: "RLIMIT_" + strings.ToUpper(u.Name), Hard: uint64(u.Hard), Soft: uint64(u.Soft)})
	}
	return nil
}

// registryConfig reads credentials by registry.
func registryConfig(header string) (map[string]registry.AuthConfig, error) {
	if header == "" {
		return nil, nil
	}
	b, err := base64.URLEncoding.DecodeString(header)
	if err != nil {
		return nil, badRequest("read X-Registry-Config: %v", err)
	}
	var out map[string]registry.AuthConfig
	if err := json.Unmarshal(b, &out); err != nil {
		return nil, badRequest("read X-Registry-Config: %v", err)
	}
	return out, nil
}

// buildHeader reads a header that Docker's classic endpoint does not have: a JSON map in base64. X-Build-Own is what nau build wants otherwise than
// Docker's clients: needed builds the stages that the target needs and no others, squash merges layers without experimental features.
func buildHeader(c *call, name string, into any) error {
	header := c.Header.Get(name)
	if header == "" {
		return nil
	}
	b, err := base64.StdEncoding.DecodeString(header)
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		return badRequest("read %s: it is not a map in base64", name)
	}
	return nil
}

// buildSecrets reads X-Build-Secrets and X-Build-Agents: maps of IDs to contents (base64)
// and of IDs to sockets of agents on this machine.
func buildSecrets(c *call, req *build.Request) error {
	var contents map[string][]byte
	var agents map[string]string
	for name, into := range map[string]any{"X-Build-Secrets": &contents, "X-Build-Agents": &agents} {
		if err := buildHeader(c, name, into); err != nil {
			return err
		}
	}
	if contents != nil {
		req.Secret = func(_ context.Context, id string) ([]byte, error) {
			if data, ok := contents[id]; ok {
				return data, nil
			}
			return nil, build.ErrNotGiven
		}
	}
	if agents != nil {
		req.Agent = build.Agents(agents)
	}
	return nil
}

// remoteContext fetches a context that is named by an address: a repository, an archive, or a Dockerfile alone. It lasts until release.
func (s *Server) remoteContext(c *call, req *build.Request) (release func(), err error) {
	release = func() {}
	remote := c.get("remote")
	if remote == "" {
		return release, nil
	}
	if !build.IsRemote(remote) {
		return release, badRequest("cannot use %q as a context: it is no address of an archive, a Dockerfile or a repository", remote)
	}
	dir, release, err := s.builder.Scratch()
	if err != nil {
		return func() {}, err
	}
	req.Context, req.Folder = nil, dir
	if req.Inline, _, err = s.builder.Remote(c.ctx(), remote, dir, *req); err != nil {
		release()
		return func() {}, badRequest("unable to prepare remote context: %s", oneLine(err))
	}
	return release, nil
}
