package buildkit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"nau/internal/docker/buildkit/wire"
	"nau/internal/engine/build"
	"nau/internal/engine/record"
)

// solved is what one request to a front end came to.
type solved struct {
	results  []*result // in the order of the platforms
	multi    bool
	metadata map[string][]byte
}

// frontend is one request to build a Dockerfile.
type frontend struct {
	s       *Server
	j       *job
	o       options
	session string
	inputs  map[string]*wire.Definition
	t       *teller // of what is not a platform's
	dir     string

	file     []byte // the Dockerfile
	ignore   []byte
	remote   string          // folder of a context that is not the client's
	came     *build.Material // the context that is not the client's
	contexts map[string]build.Named

	mu      sync.Mutex
	further []build.Material                  // contexts from elsewhere
	fetched map[string]func() (string, error) // contexts by what of them came
}

// solve answers one request to a front end.
func (s *Server) solve(j *job, session, name string, attrs map[string]string, inputs map[string]*wire.Definition) (*solved, error) {
	if name != "dockerfile.v0" && name != "gateway.v0" {
		return nil, status.Errorf(codes.Unimplemented, "front end %s: this builder has dockerfile.v0 only", name)
	}
	j.asks(attrs)
	o, err := parse(attrs)
	if err != nil {
		return nil, err
	}
	f := &frontend{s: s, j: j, o: o, session: session, inputs: inputs, t: newTeller(j, ""), contexts: map[string]build.Named{}, fetched: map[string]func() (string, error){}}
	dir, release, err := s.cfg.Builder.Scratch()
	if err != nil {
		return nil, err
	}
	f.dir = dir
	j.later(release)
	if err := f.load(); err != nil {
		if o.Call == callLint {
			return f.wrong(err)
		}
		return nil, located(err, f.source())
	}
	if o.Call != "" {
		out, err := f.call()
		return out, located(err, f.source())
	}
	if err := f.warn(); err != nil {
		return nil, located(err, f.source())
	}
	if err := f.named(); err != nil {
		return nil, located(err, f.source())
	}
	out, err := f.build()
	return out, located(err, f.source())
}

// source is the Dockerfile as errors show it.
func (f *frontend) source() *wire.SourceInfo {
	if f.file == nil {
		return nil
	}
	return &wire.SourceInfo{Filename: f.o.Filename, Data: f.file, Language: "Dockerfile"}
}

// folder makes a new folder of the request.
func (f *frontend) folder(kind string) (string, error) {
	dir := filepath.Join(f.dir, kind+"-"+record.NewID()[:8])
	return dir, os.Mkdir(dir, 0o755)
}

// from finds the client that has a folder.
func (f *frontend) from(key string) (*client, error) {
	id := f.session
	if other := f.o.Sessions[key]; other != "" {
		id = other
	}
	return f.s.client(f.j.ctx, id)
}

// progressEvery is how often a transfer is told of.
const progressEvery = 100 * time.Millisecond

// transfer brings files of a client's folder, as a part of a step.
func (f *frontend) transfer(st *step, what, dest string, w wanted) error {
	c, err := f.from(w.key)
	if err != nil {
		return err
	}
	var told time.Time
	var n int
	id := "transferring " + what + ":"
	st.part(id, 0, 0, false)
	err = c.files(f.j.ctx, dest, w, func(bytes int, _ bool) {
		if n = bytes; time.Since(told) >= progressEvery {
			told = time.Now()
			st.part(id, int64(n), 0, false)
		}
	})
	st.part(id, int64(n), 0, true)
	return err
}

// load reads the Dockerfile and the ignore rules that go with it.
func (f *frontend) load() error {
	name := relative(f.o.Filename)
	if f.o.Remote != "" || f.inputs[f.o.ContextKey] != nil {
		if err := f.fetch(); err != nil {
			return err
		}
	}
	st := f.t.begin("[internal] load build definition from " + name)
	f.t.begins = st.v.Digest
	rules, err := f.dockerfile(st, name)
	if errors.Is(err, os.ErrNotExist) {
		st.end(nil) // it has come, without the file
		return fmt.Errorf("failed to read dockerfile: open %s: %w", name, unix.ENOENT)
	}
	st.end(err)
	if err != nil {
		return err
	}
	if len(f.file) == 0 {
		return fmt.Errorf("%w: the Dockerfile cannot be empty", build.ErrDockerfile)
	}
	if f.o.Syntax == "" {
		if err := build.SyntaxLine(f.file); err != nil {
			return status.Error(codes.Unimplemented, err.Error())
		}
	}
	if err := build.Check(f.file); err != nil {
		return err
	}
	st = f.t.begin("[internal] load .dockerignore")
	err = f.rules(st, rules)
	st.end(err)
	return err
}

// dockerfile reads the Dockerfile; rules are those of the ignore file named after it, nil if there is none.
func (f *frontend) dockerfile(st *step, name string) (rules []byte, err error) {
	if f.file != nil { // it came instead of a context
		return nil, nil
	}
	dir := f.remote
	if f.o.FileKey != "" && f.inputs["dockerfile"] == nil {
		if dir, err = f.folder("dockerfile"); err != nil {
			return nil, err
		}
		only := []string{name, name + ".dockerignore"}
		if err := f.transfer(st, "dockerfile", dir, wanted{key: f.o.FileKey, only: only, follow: only}); err != nil {
			return nil, err
		}
	}
	if f.file, err = build.ReadBelow(dir, name); err != nil {
		f.file = nil
		return nil, fmt.Errorf("failed to read dockerfile: open %s: %w", name, err)
	}
	rules, err = build.ReadBelow(dir, name+".dockerignore")
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return rules, err
}

// rules reads the context's own ignore file unless the Dockerfile has one.
func (f *frontend) rules(st *step, rules []byte) error {
	f.ignore = rules
	if rules != nil {
		return nil
	}
	f.ignore = []byte{}
	dir := f.remote
	if dir == "" {
		var err error
		if dir, err = f.folder("ignore"); err != nil {
			return err
		}
		only := []string{".dockerignore"}
		if err := f.transfer(st, "context", dir, wanted{key: f.o.ContextKey, only: only, follow: only}); err != nil {
			return err
		}
	}
	b, err := build.ReadBelow(dir, ".dockerignore")
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	f.ignore = b
	return err
}

// fetch brings a context that is not a folder of the client: what it uploads, or what an address has.
func (f *frontend) fetch() (err error) {
	from := defined{address: f.o.Remote}
	if def := f.inputs[f.o.ContextKey]; def != nil {
		if from, err = define(def); err != nil {
			return err
		}
	}
	if f.remote, err = f.folder("remote"); err != nil {
		return err
	}
	var came build.Material
	if f.file, came, err = f.bring(from, f.remote); came.Address != "" {
		f.came = &came
	}
	return err
}

// bring fills a folder from an address.
func (f *frontend) bring(from defined, dir string) (file []byte, came build.Material, err error) {
	if from.image != "" {
		return nil, came, status.Error(codes.Unimplemented, "a result of this builder is no context by itself: name it with --build-context")
	}
	address, shown := from.address, from.address
	if strings.HasPrefix(address, uploaded) || address == postedContext {
		shown = "upload"
	}
	st := f.t.begin("[internal] load remote build context " + strings.TrimSpace(strings.TrimPrefix(shown, "upload")))
	defer func() { st.end(err) }()
	if shown != "upload" {
		return f.remoteFiles(from, dir)
	}
	if address == postedContext {
		if f.j.posted == nil {
			return nil, came, status.Error(codes.InvalidArgument, "no archive came with the build")
		}
		return nil, came, build.Unpack(f.j.ctx, dir, f.j.posted)
	}
	c, err := f.from(f.o.ContextKey)
	if err != nil {
		return nil, came, err
	}
	r, err := c.archive(f.j.ctx, address)
	if err != nil {
		return nil, came, err
	}
	defer r.Close()
	return nil, came, build.Unpack(f.j.ctx, dir, r)
}

// named resolves the further contexts.
func (f *frontend) named() error {
	for name, where := range f.o.Contexts {
		base, platform, _ := strings.Cut(name, "::")
		if platform != "" && (len(f.o.Platforms) != 1 || platform != f.o.Platforms[0]) {
			if len(f.o.Platforms) > 1 {
				return fmt.Errorf("context %s: %w: further contexts by platform in a build of several platforms", name, build.ErrUnsupported)
			}
			if !slices.Contains([]string{text(f.s.cfg.Builder.Platforms()[0])}, platform) {
				continue
			}
		}
		n, err := f.one(base, where)
		if err != nil {
			return fmt.Errorf("context %s: %w", base, err)
		}
		f.contexts[base] = n
	}
	return nil
}

func (f *frontend) one(name, where string) (build.Named, error) {
	scheme, rest, _ := strings.Cut(where, ":")
	from := defined{address: where}
	switch {
	case strings.HasPrefix(where, "docker-image://"):
		return build.Named{Image: strings.TrimPrefix(where, "docker-image://")}, nil
	case scheme == "local":
		dir, err := f.local(name, rest)
		return build.Named{Folder: dir}, err
	case scheme == "input":
		def := f.inputs[rest]
		if def == nil {
			return build.Named{}, fmt.Errorf("%w: the input %s did not come", build.ErrContext, rest)
		}
		var err error
		if from, err = define(def); err != nil {
			return build.Named{}, err
		}
		if from.image != "" {
			return build.Named{Image: from.image}, nil
		}
	case !build.IsRemote(where):
		return build.Named{}, fmt.Errorf("%q: %w: name a folder, docker-image://REFERENCE, or an address", where, build.ErrUnsupported)
	}
	dir, err := f.folder("context")
	if err != nil {
		return build.Named{}, err
	}
	_, came, err := f.bring(from, dir)
	if came.Address != "" {
		f.mu.Lock()
		f.further = append(f.further, came)
		f.mu.Unlock()
	}
	return build.Named{Folder: dir}, err
}

// local brings a further folder of the client, without what its own ignore file names.
func (f *frontend) local(name, key string) (string, error) {
	dir, err := f.folder("context")
	if err != nil {
		return "", err
	}
	st := f.t.begin("[context " + name + "] load .dockerignore")
	only := []string{".dockerignore"}
	rules, err := f.folder("ignore")
	if err == nil {
		err = f.transfer(st, name, rules, wanted{key: key, only: only, follow: only})
	}
	st.end(err)
	if err != nil {
		return "", err
	}
	text, err := build.ReadBelow(rules, ".dockerignore")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	st = f.t.begin("[context " + name + "] load from client")
	err = f.transfer(st, name, dir, wanted{key: key, without: build.IgnorePatterns(string(text))})
	st.end(err)
	return dir, err
}

// context brings what the Dockerfile names of the client's folder, once for all platforms.
func (f *frontend) context(paths []string) (string, error) {
	if f.remote != "" {
		return f.remote, nil
	}
	key := strings.Join(paths, "\x00")
	f.mu.Lock()
	once := f.fetched[key]
	if once == nil {
		once = sync.OnceValues(func() (string, error) {
			dir, err := f.folder("context")
			if err != nil {
				return "", err
			}
			st := f.t.begin("[internal] load build context")
			err = f.transfer(st, "context", dir, wanted{key: f.o.ContextKey, without: build.IgnorePatterns(string(f.ignore)), follow: paths})
			st.end(err)
			return dir, err
		})
		f.fetched[key] = once
	}
	f.mu.Unlock()
	return once()
}

// build runs the build for each platform, all at once.
func (f *frontend) build() (*solved, error) {
	list := f.o.Platforms
	if len(list) == 0 {
		list = []string{""}
	}
	out := &solved{multi: f.o.Multi, results: make([]*result, len(list)), metadata: map[string][]byte{}}
	req, err := f.request()
	if err != nil {
		return nil, err
	}
	var g errgroup.Group
	for i, p := range list {
		g.Go(func() error {
			req := req
			req.Platform = p
			prefix := ""
			if len(list) > 1 {
				prefix = p
			}
			t := newTeller(f.j, prefix)
			t.begins = f.t.begins
			req.Progress = t.event
			res, err := f.s.cfg.Builder.Solve(f.j.ctx, req)
			if err != nil {
				return err
			}
			r := &result{id: record.NewID(), platform: text(res.Platform()), res: res, inline: f.o.Inline}
			if err := f.j.keep(r); err != nil {
				return err
			}
			if r.img, err = res.Image(nil); err != nil {
				return err
			}
			r.facts = f.facts(res)
			f.j.proves(r.facts)
			if f.o.Scanner != "" {
				if err := f.scan(r); err != nil {
					return err
				}
			}
			out.results[i] = r
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return out, nil
}

// facts are what is known of a result, if its provenance was asked for.
func (f *frontend) facts(res *build.Result) *facts {
	if f.o.Provenance == nil {
		return nil
	}
	out := &facts{asked: *f.o.Provenance, ref: f.j.ref, began: f.j.began.UTC(), ended: time.Now().UTC(), attrs: f.o.Attrs, context: f.came, filename: f.o.Filename, file: f.file,
		platform: text(f.s.cfg.Builder.Platforms()[0]), taken: append(slices.Clone(f.further), res.Materials()...)}
	if f.o.FileKey != "" && f.inputs["dockerfile"] == nil && f.came == nil {
		out.locals = append(out.locals, f.o.FileKey)
	}
	f.mu.Lock()
	if len(f.fetched) > 0 {
		out.locals = append(out.locals, f.o.ContextKey)
	}
	f.mu.Unlock()
	slices.Sort(out.locals)
	out.locals = slices.Compact(out.locals)
	out.secrets, out.agents = res.Asks()
	return out
}

// request is the build's request, but for the platform.
func (f *frontend) request() (build.Request, error) {
	o := f.o
	c, err := f.s.clientOf(f.j, f.session)
	if err != nil {
		return build.Request{}, err
	}
	req := build.Request{Dockerfile: o.Filename, Inline: f.file, Ignore: f.ignore, Args: o.Args, Target: o.Target, Labels: o.Labels, NoCache: o.NoCache, Fresh: o.Fresh, Pull: o.Pull,
		Contexts: f.contexts, Secret: c.secret, Agent: c.agent, Network: o.Network, ShmSize: o.ShmSize, Cgroup: o.Cgroup, Hostname: o.Hostname,
		HostNet: slices.Contains(f.j.req.Entitlements, hostNetwork), Auth: c.credentials(f.j.ctx),
		Fetch: func(_ context.Context, paths []string) (string, error) { return f.context(paths) }}
	if o.Network == "host" && !req.HostNet {
		return req, fmt.Errorf("%w: %s: build with --allow %s", build.ErrEntitlement, hostNetwork, hostNetwork)
	}
	req.Imports = f.imports()
	if len(o.Hosts) > 0 {
		if req.Hosts, err = f.s.cfg.Hosts(o.Hosts); err != nil {
			return req, status.Error(codes.InvalidArgument, err.Error())
		}
	}
	for _, u := range o.Ulimits {
		req.Rlimits = append(req.Rlimits, specs.POSIXRlimit{Type: "RLIMIT_" + strings.ToUpper(u.Name), Soft: uint64(u.Soft), Hard: uint64(u.Hard)})
	}
	return req, nil
}

// reuse makes a result of an image that this builder made before.
func (s *Server) reuse(j *job, id string) (*result, error) {
	img, err := s.cfg.Images.Get(id)
	if err != nil {
		return nil, err
	}
	res, err := s.cfg.Builder.Solve(j.ctx, build.Request{Inline: []byte("FROM " + id), Ignore: []byte{}, Fetch: nothing})
	if err != nil {
		return nil, err
	}
	r := &result{id: record.NewID(), platform: text(res.Platform()), res: res, img: img}
	return r, j.keep(r)
}

func nothing(context.Context, []string) (string, error) {
	return "", fmt.Errorf("%w: there is none", build.ErrContext)
}

func text(p ocispec.Platform) string {
	return strings.TrimSuffix(p.OS+"/"+p.Architecture+"/"+p.Variant, "/")
}
