package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/distribution/reference"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"nau/internal/engine/image"
	"nau/internal/engine/layer"
	"nau/internal/engine/record"
	"nau/internal/kernel"
)

// snapshotPrefix begins the keys of the builder's own snapshots.
const snapshotPrefix = "build-"

// solving is one build under way.
type solving struct {
	b      *Builder
	req    Request
	ctx    context.Context
	cancel context.CancelCauseFunc
	plan   *Plan
	id     string
	dir    string // of this build; removed at its end
	work   *image.Work
	epoch  *time.Time
	target ocispec.Platform

	stages []*stageRun
	ended  sync.WaitGroup
	tell   sync.Mutex // one event at a time

	mu        sync.Mutex
	mounted   []string          // mount points below dir, in order
	keys      []string          // snapshots
	views     map[string]*view  // read-only trees by chain
	boxes     map[string]string // sandbox IDs by stage and mode
	images    map[string]func() (*image.Image, error)
	count     int
	used      map[string]CacheRecord // every layer that was made or found
	materials []Material
	context   *tree // nil when it is fetched
	ctxDir    string
	ignore    *Ignore
	fetch     [2]func() (string, error) // the part that the Dockerfile names, and the whole
}

// stageRun is one stage under way.
type stageRun struct {
	once  sync.Once
	done  chan struct{}
	state *state
	err   error
}

// state is what a stage has come to.
type state struct {
	config   ImageConfig
	platform ocispec.Platform
	author   string
	layers   []image.LayerBlob
	history  []ocispec.History
	scope    Scope
	parent   digest.Digest // image that the next one continues
	exact    digest.Digest // image of exactly this state; "" = none made yet
	created  time.Time     // of the last layer
	fresh    bool          // a layer was added over the base image
	keys     []CacheRecord // of the layers over the base image
	origin   origin
}

func (s *state) copy() *state {
	c := *s
	c.config = clone(s.config)
	c.layers, c.history, c.keys = slices.Clone(s.layers), slices.Clone(s.history), slices.Clone(s.keys)
	return &c
}

func (s *state) diffIDs() []digest.Digest {
	out := make([]digest.Digest, len(s.layers))
	for i, l := range s.layers {
		out[i] = l.DiffID
	}
	return out
}

// begin reads context and Dockerfile, and makes the plan.
func (b *Builder) begin(ctx context.Context, req Request) (_ *solving, err error) {
	r := &solving{b: b, req: req, id: record.NewID()[:16], work: b.cfg.Images.Work(), views: map[string]*view{}, used: map[string]CacheRecord{}, boxes: map[string]string{}, images: map[string]func() (*image.Image, error){},
		target: parsePlatform(req.Platform)}
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	r.dir = filepath.Join(b.cfg.Dir, "work", r.id)
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	for _, t := range req.Tags {
		if _, err := reference.ParseNormalizedNamed(t); err != nil {
			return nil, fmt.Errorf("invalid tag %q: %w: %w", t, image.ErrInvalidReference, err)
		}
	}
	if err := os.Mkdir(r.dir, 0o700); err != nil {
		return nil, fmt.Errorf("begin build: %w", err)
	}
	if err := r.openContext(); err != nil {
		return nil, err
	}
	text, err := r.dockerfile()
	if err != nil {
		return nil, err
	}
	if err := req.syntax(text); err != nil {
		return nil, err
	}
	opts := b.Options(req)
	opts.Replaced = func(stage string) bool { _, ok := r.named(stage); return ok }
	r.plan, err = Parse(text, opts)
	if err != nil {
		return nil, err
	}
	if r.epoch = req.Epoch; r.epoch == nil {
		if v := req.Args["SOURCE_DATE_EPOCH"]; v != nil && *v != "" {
			n, err := strconv.ParseInt(*v, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("read SOURCE_DATE_EPOCH %q: %w: it is not a number of seconds", *v, ErrDockerfile)
			}
			r.epoch = new(time.Unix(n, 0).UTC())
		}
	}
	r.fetches()
	for range r.plan.Stages {
		r.stages = append(r.stages, &stageRun{done: make(chan struct{})})
	}
	return r, nil
}

// openContext unpacks the context's archive, or opens its folder.
func (r *solving) openContext() error {
	if r.req.Fetch != nil {
		return nil
	}
	r.ctxDir = r.req.Folder
	if r.req.Context != nil || r.ctxDir == "" {
		r.ctxDir = filepath.Join(r.dir, "context")
		if err := os.Mkdir(r.ctxDir, 0o755); err != nil {
			return err
		}
	}
	if r.req.Context != nil {
		if err := layer.Extract(r.ctx, r.ctxDir, "/", r.req.Context, layer.ExtractOptions{Owner: &[2]int{0, 0}, Overwrite: true, Dots: true}); err != nil {
			return fmt.Errorf("%w: %w", ErrContext, err)
		}
	}
	var err error
	if r.context, err = openTree(r.ctxDir); err != nil {
		return fmt.Errorf("%w: %w", ErrContext, err)
	}
	return nil
}

// dockerfile reads the Dockerfile and the ignore file that goes with it.
func (r *solving) dockerfile() ([]byte, error) {
	name := r.req.Dockerfile
	if name == "" {
		name = "Dockerfile"
	}
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	rules, err := r.req.Ignore, error(nil)
	if rules == nil && r.context != nil {
		rules, err = r.context.read(name + ".dockerignore")
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
			rules, err = r.context.read(".dockerignore")
		}
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("%w: %w", ErrContext, err)
	}
	text := r.req.Inline
	if text == nil && r.context != nil {
		if text, err = r.context.read(name); err != nil {
			return nil, fmt.Errorf("Cannot locate specified Dockerfile: %s: %w: %w", name, ErrContext, err)
		}
	}
	if len(text) == 0 {
		return nil, fmt.Errorf("%w: the Dockerfile (%s) cannot be empty", ErrDockerfile, name)
	}
	if r.ignore, err = ParseIgnore(string(rules)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrContext, err)
	}
	return text, nil
}

// read reads a small file.
func (t *tree) read(name string) ([]byte, error) {
	fd, err := kernel.OpenFileInRoot(t.root, name)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxDockerfile+1))
}

// solve runs what the target needs.
func (r *solving) solve() (*state, error) {
	r.emit(Event{Kind: BuildBegins, Stage: -1, Total: r.plan.Total, Stages: r.plan.Needed})
	for _, w := range r.plan.Warnings {
		r.emit(Event{Kind: Warning, Stage: -1, Text: w})
	}
	if r.plan.Unused != "" && !r.req.Classic {
		r.emit(Event{Kind: Unused, Stage: -1, Text: r.plan.Unused})
	}
	r.opening()
	for _, i := range r.plan.Needed {
		r.start(i)
	}
	st, err := r.result(r.plan.Target)
	if err != nil {
		r.cancel(err)
		r.ended.Wait()
		if cause := context.Cause(r.ctx); cause != nil && !errors.Is(cause, context.Canceled) {
			return nil, cause // what failed first
		}
		return nil, err
	}
	r.ended.Wait()
	if s := r.plan.Stages[r.plan.Target]; r.req.Classic && s.written == Scratch && len(s.commands) == 0 && len(r.req.Labels) == 0 {
		return nil, fmt.Errorf("%w: No image was generated. Is your Dockerfile empty?", ErrDockerfile)
	}
	if r.plan.Unused != "" && r.req.Classic {
		r.emit(Event{Kind: Unused, Stage: -1, Text: r.plan.Unused})
	}
	return st, nil
}

func (r *solving) start(i int) {
	s := r.stages[i]
	s.once.Do(func() {
		r.ended.Go(func() {
			s.state, s.err = r.stage(i)
			if s.err != nil {
				r.cancel(s.err)
			}
			ended := Event{Kind: StageEnds, Stage: i, Err: s.err}
			if s.state != nil {
				ended.ID = s.state.exact.String()
			}
			r.emit(ended)
			close(s.done)
		})
	})
}

// result waits for a stage.
func (r *solving) result(i int) (*state, error) {
	r.start(i)
	<-r.stages[i].done // every step heeds the context
	return r.stages[i].state, r.stages[i].err
}

func (r *solving) emit(e Event) {
	if r.req.Progress == nil {
		return
	}
	e.Time = time.Now()
	r.tell.Lock()
	defer r.tell.Unlock()
	r.req.Progress(e)
}

// stage runs one stage to its end.
func (r *solving) stage(i int) (*state, error) {
	s := r.plan.Stages[i]
	ev := Event{Kind: StepBegins, Stage: i, Name: r.plan.title(i), Number: s.First, Total: r.plan.Total, Place: 1, Places: 1 + s.writes(), Text: s.From, Base: s.Base}
	r.emit(ev)
	st, err := r.base(i)
	done := ev
	done.Kind, done.Err = StepEnds, err
	if err == nil {
		done.ID = st.exact.String()
	}
	r.emit(done)
	if err != nil {
		return nil, err
	}
	if n := len(st.config.OnBuild); n > 0 {
		r.emit(Event{Kind: Triggers, Stage: i, Number: n})
	}
	steps, _, scope, err := r.plan.Expand(i, st.config, st.scope)
	if err != nil {
		return nil, err
	}
	st.scope = scope
	number, place, places := s.First, 1, 1
	for _, step := range steps {
		if step.writes() {
			places++
		}
	}
	for _, step := range steps {
		ev := Event{Kind: StepBegins, Stage: i, Name: ev.Name, Total: r.plan.Total, Places: places, Text: step.Text}
		if !step.Trigger {
			number++
			ev.Number = number
		}
		if step.writes() {
			place++
			ev.Place = place
		}
		r.emit(ev)
		if step.Note != "" && r.req.Classic {
			r.emit(Event{Kind: Noted, Stage: i, Text: step.Note})
		}
		ev.Kind = StepEnds
		step.fresh = r.fresh(i)
		ev.Cached, err = r.step(i, st, step)
		if err == nil && st.exact == "" && !step.writes() {
			ev.ID = ""
		} else {
			ev.ID = st.exact.String()
		}
		ev.Err = err
		r.emit(ev)
		if err != nil {
			return nil, &StepError{Text: step.Text, From: step.Line, To: step.Last, Err: err}
		}
	}
	return st, nil
}

// base makes the state that a stage begins with.
func (r *solving) base(i int) (*state, error) {
	s := r.plan.Stages[i]
	if s.Parent >= 0 {
		st, err := r.result(s.Parent)
		if err != nil {
			return nil, err
		}
		st = st.copy()
		if r.req.Squash {
			if _, err := r.materialise(st); err != nil {
				return nil, err
			}
			st.origin = origin{st.exact, len(st.layers), len(st.history)}
		}
		return st, nil
	}
	platform := r.target
	if s.Platform != "" {
		platform = image.ParsePlatform(s.Platform)
	}
	if n, ok := r.named(s.Base); ok && n.Folder != "" {
		return r.folder(s.Base, n.Folder, platform)
	}
	if s.Base == Scratch {
		st := &state{platform: platform}
		st.config.Env = []string{defaultPath}
		if !r.req.Classic {
			st.config.WorkingDir = "/"
		}
		return st, nil
	}
	img, err := r.image(i, s.Base, platform)
	if err != nil {
		return nil, err
	}
	var cfg dockerspec.DockerOCIImage
	if err := json.Unmarshal(img.RawConfig, &cfg); err != nil {
		return nil, fmt.Errorf("read configuration of image %s: %w", s.Base, err)
	}
	st := &state{config: cfg.Config, platform: cfg.Platform, author: cfg.Author, history: cfg.History, parent: img.ID, exact: img.ID}
	if cfg.Created != nil {
		st.created = *cfg.Created
	}
	for n, d := range img.DiffIDs {
		st.layers = append(st.layers, image.LayerBlob{Blob: img.Layers[n], DiffID: d})
	}
	st.origin = origin{img.ID, len(st.layers), len(st.history)}
	return st, nil
}

// image finds or pulls an image and holds it, once in a build.
func (r *solving) image(stage int, ref string, platform ocispec.Platform) (*image.Image, error) {
	if n, ok := r.named(ref); ok {
		ref = n.Image
	}
	key := keyOf(ref, platform)
	r.mu.Lock()
	find := r.images[key]
	if find == nil {
		find = sync.OnceValues(func() (*image.Image, error) { return r.pull(stage, ref, platform) })
		r.images[key] = find
	}
	r.mu.Unlock()
	return find()
}

func (r *solving) pull(stage int, ref string, platform ocispec.Platform) (*image.Image, error) {
	resolving := Event{Kind: Resolves, Stage: stage, Text: ref}
	r.emit(resolving)
	resolved := sync.OnceFunc(func() {
		resolving.Kind = Resolved
		r.emit(resolving)
	})
	defer resolved()
	img, err := r.b.cfg.Images.On(ref, platform)
	if errors.Is(err, image.ErrNoPlatform) {
		img, err = r.b.cfg.Images.Get(ref)
	}
	fits := err == nil && (img.Config.OS == "" || img.Config.OS == platform.OS) && (img.Config.Architecture == "" || img.Config.Architecture == platform.Architecture)
	if !fits || r.req.Pull && !strings.HasPrefix(ref, "sha256:") {
		if err != nil && !errors.Is(err, image.ErrNotFound) {
			return nil, err
		}
		opts := image.PullOptions{Platform: &platform, Progress: func(e image.Event) {
			if e.Status == image.StatusPullingLayer || e.Status == image.StatusExists { // the registry has answered
				resolved()
			}
			r.emit(Event{Kind: StepPulls, Stage: stage, Pull: e})
		}}
		if r.req.Auth != nil {
			if named, err := reference.ParseNormalizedNamed(ref); err == nil {
				if opts.Auth, err = r.req.Auth(reference.Domain(named)); err != nil {
					return nil, err
				}
			}
		}
		if img, err = r.b.cfg.Images.Pull(r.ctx, ref, opts); err != nil {
			resolving.Err = err
			return nil, err
		}
	}
	r.work.Hold(img)
	if d := img.Manifest.Digest; d != "" && !strings.HasPrefix(ref, "sha256:") {
		r.took(Material{Image: ref, Platform: platform, Algorithm: d.Algorithm().String(), Digest: d.Encoded()})
	}
	return img, nil
}

// step runs one step and tells whether it came from the cache.
func (r *solving) step(i int, st *state, step Step) (hit bool, err error) {
	if err := r.ctx.Err(); err != nil {
		return false, context.Cause(r.ctx)
	}
	switch {
	case step.Run != nil:
		return r.run(i, st, step)
	case step.Copy != nil:
		return r.copy(i, st, step)
	case step.Dir != nil:
		return r.workdir(i, st, step)
	}
	return r.noted(i, st, step)
}

// meta notes a step that changes the configuration only.
func (s *state) meta(r *solving, step Step) {
	if step.Author != "" {
		s.author = step.Author
	}
	s.config = step.Config
	s.exact = ""
	if step.History != "" {
		s.history = append(s.history, r.entry(step, s.created, true))
	}
}

const historyComment = "nau.dockerfile.v1"

// date is a history entry's time.
func (r *solving) date(t time.Time) *time.Time {
	if r.epoch != nil {
		return r.epoch
	}
	if t.IsZero() {
		return nil
	}
	return &t
}

// cachedLayer finds the layer of key or makes it, and moves the state on.
func (r *solving) cachedLayer(st *state, step Step, key string, make func() (image.LayerBlob, error)) (hit bool, err error) {
	unlock, err := r.b.cache.lock(r.ctx, key)
	if err != nil {
		return false, err
	}
	defer unlock()
	var rec cached
	came := false // from elsewhere
	if !r.req.NoCache && !step.fresh {
		if rec, hit = r.b.cache.get(key, r.work); !hit {
			rec, came = r.imported(key)
		}
	}
	if !hit && !came {
		if rec.Layer, err = make(); err != nil {
			return false, err
		}
		rec.Created = r.clock()
	}
	rec.Text = step.Text
	st.keys = append(st.keys, r.use(key, rec))
	st.config = step.Config
	st.layers = append(st.layers, rec.Layer)
	st.created, st.fresh, st.exact = rec.Created, true, ""
	st.history = append(st.history, r.entry(step, rec.Created, false))
	if hit && (r.found(st, rec) || !r.req.Classic) {
		return true, nil
	}
	img, err := r.materialise(st)
	if err != nil {
		return false, err
	}
	if hit {
		return true, nil
	}
	rec.Image = img.ID
	return came, r.b.cache.put(key, rec)
}

// encode makes the configuration blob of a state.
func (r *solving) encode(st *state, created time.Time) []byte {
	doc := dockerspec.DockerOCIImage{Config: st.config}
	doc.Platform, doc.Author, doc.Created = st.platform, st.author, r.date(created)
	doc.RootFS = ocispec.RootFS{Type: "layers", DiffIDs: st.diffIDs()}
	doc.History = st.history
	b, err := json.Marshal(doc)
	if err != nil {
		panic(err) // plain data only
	}
	return b
}

// materialise makes an image without a name of the state, if there is none of exactly this state.
func (r *solving) materialise(st *state) (*image.Image, error) {
	if st.exact != "" {
		return r.b.cfg.Images.Get(st.exact.String())
	}
	img, err := r.work.Create(r.ctx, image.CreateOptions{Config: r.encode(st, st.created), Layers: st.layers, Parent: r.parent(st), Step: !r.req.Classic})
	if err != nil {
		return nil, err
	}
	st.parent, st.exact = img.ID, img.ID
	return img, nil
}

// parent is the image that a state continues. Only the classic builder's images say so, as Docker's do: those of BuildKit stand alone, and go alone.
func (r *solving) parent(st *state) digest.Digest {
	if !r.req.Classic {
		return ""
	}
	return st.parent
}

// finish makes the result and gives it its names. One without new layers is dated by when it was first made.
func (r *solving) finish(st *state, names []string) (*image.Image, error) {
	if st.exact != "" {
		for _, t := range names {
			if err := r.b.cfg.Images.Tag(r.ctx, st.exact.String(), t); err != nil {
				return nil, err
			}
		}
		return r.b.cfg.Images.Want(st.exact)
	}
	create := func(created time.Time) (*image.Image, error) {
		return r.work.Create(r.ctx, image.CreateOptions{Config: r.encode(st, created), Layers: st.layers, Names: names, Parent: r.parent(st)})
	}
	if st.fresh || r.epoch != nil {
		return create(st.created)
	}
	key := keyOf("result", r.encode(st, time.Time{}))
	rec, hit := r.b.cache.get(key, r.work)
	if hit && !r.req.NoCache {
		return create(rec.Created)
	}
	rec.Created = time.Now().UTC()
	img, err := create(rec.Created)
	if err != nil {
		return nil, err
	}
	rec.Image = img.ID
	return img, r.b.cache.put(key, rec)
}
