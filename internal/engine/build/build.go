// Package build makes images out of Dockerfiles: parser and shell words are libraries, the solver and the executor are here.
//
// The life of a build: Parse makes a plan of the Dockerfile (stages, who needs whom); stages run at the same time, each over its base image or
// the stage it continues; Expand turns a stage's instructions into steps once its base's configuration is known; a step's result is looked up
// by content — the files below, the instruction, the inputs' digest — and made when it is not there: RUN as a container of the engine, COPY,
// ADD and WORKDIR by writing into a snapshot. What a snapshot changed becomes a layer; layers are kept by images without a name, as Docker's
// classic builder does, so that prune and rmi free what a cache holds. The target stage's image gets the names.
//
// Parse and Expand are pure. Nothing here speaks Docker's API: internal/docker and cmd/nau translate. The engine's fronts import it.
package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"nau/internal/engine/container"
	"nau/internal/engine/image"
	"nau/internal/engine/layer"
	"nau/internal/engine/sandbox"
	"nau/internal/engine/spec"
	"nau/internal/kernel/idmap"
)

// Kinds of errors; test with errors.Is.
var (
	ErrDockerfile  = errors.New("dockerfile parse error")        // the Dockerfile, or what it names, is wrong
	ErrContext     = errors.New("build context")                 // a file that the context does not have, or a context that cannot be read
	ErrUnsupported = errors.New("not supported by this builder") // with what to do instead
	ErrNotGiven    = errors.New("not given to the build")        // a secret or agent that the request does not have
	ErrEntitlement = errors.New("entitlement is not allowed")    // a privilege that the request does not grant
)

// RunError is a RUN that ended with another code than 0.
type RunError struct {
	Args []string
	Code int
}

func (e *RunError) Error() string {
	last := ""
	for i, a := range e.Args {
		if i > 0 {
			last += " "
		}
		last += a
	}
	return fmt.Sprintf("The command '%s' returned a non-zero code: %d", last, e.Code)
}

// StepError says which instruction of the Dockerfile an error is about.
type StepError struct {
	Text     string
	From, To int // its lines in the Dockerfile; 0 = unknown
	Err      error
}

// Error names the line, except for a command that ran and said itself what is wrong.
func (e *StepError) Error() string {
	var code *RunError
	if e.From == 0 || errors.As(e.Err, &code) {
		return e.Err.Error()
	}
	return fmt.Sprintf("line %d: %s", e.From, e.Err)
}

func (e *StepError) Unwrap() error { return e.Err }

// MissingError is a file that the context does not have, or that its ignore rules leave out.
type MissingError struct{ Name string }

func (e *MissingError) Error() string {
	return fmt.Sprintf("%s: file not found or excluded by .dockerignore: stat %s: file does not exist", ErrContext, e.Name)
}

func (e *MissingError) Unwrap() error { return ErrContext }

// Said words an error for who shows the place in the Dockerfile otherwise, or not at all: without lines and kinds, unless the parser named them.
func Said(err error) string {
	text := err.Error()
	var step *StepError
	if errors.As(err, &step) {
		text = step.Err.Error()
	}
	return strings.TrimSuffix(strings.TrimPrefix(text, ErrDockerfile.Error()+": "), ": "+ErrDockerfile.Error())
}

// Reword says an error in other words; its kinds stay.
func Reword(err error, said string) error { return &worded{err, said} }

type worded struct {
	error
	said string
}

func (w *worded) Error() string { return w.said }
func (w *worded) Unwrap() error { return w.error }

// Origin marks the containers and sandboxes of builds in the engine's records; fronts leave them out of their lists.
const Origin = "build"

// Config of a Builder.
type Config struct {
	Dir        string // of cache records, cache mounts and work folders
	Images     *image.Store
	Layers     *layer.Store
	Containers *container.Manager // nil: no RUN
	Sandboxes  *sandbox.Manager
	Network    string    // that RUN steps join; "" = none
	Remap      idmap.Map // of the user namespaces of RUN steps; zero = none
	Ended      func()    // is told that a build has ended; nil = nobody
	Log        *slog.Logger
}

// Request is one build.
type Request struct {
	Context    io.Reader // archive of the context in any compression; nil = Folder
	Folder     string    // of the context on this machine; "" with a nil Context = an empty context
	Dockerfile string    // path in the context; "" = "Dockerfile"
	Inline     []byte    // the Dockerfile itself, instead of one in the context
	Ignore     []byte    // the ignore rules, instead of those in the context; nil = as the context has them
	// Fetch brings the context when a step first needs it; Inline and Ignore are then given too. paths are what the Dockerfile names of it, with
	// wildcards; nil = all of it. What is ignored need not come.
	Fetch     func(ctx context.Context, paths []string) (folder string, err error)
	Contexts  map[string]Named // further contexts by name: they stand in for stages and images
	Args      map[string]*string
	Target    string
	Tags      []string
	Labels    map[string]string
	NoCache   bool
	Squash    bool       // the layers over the base image become one
	Keeping   *Keeping   // of the containers of Classic's steps; nil = none stays
	Classic   bool       // goes on as Docker's classic builder does: see classic.go
	Fresh     []string   // stages whose steps are not taken from the cache
	Imports   []Imported // caches of elsewhere, asked in order for what is not here
	Pull      bool       // ask registries for base images even if they are here
	Platform  string
	Secret    func(ctx context.Context, id string) ([]byte, error)                           // ErrNotGiven; nil = there are none
	Agent     func(ctx context.Context, id string, at Socket) (stop func() error, err error) // forwards an SSH agent; ErrNotGiven; nil = there are none
	Network   string                                                                         // of RUN without --network: "", "default", "none", "host", or a network's name
	Sandbox   string                                                                         // that RUN joins instead of a network; it is somebody else's and stays
	Hosts     []sandbox.HostAlias
	Resources spec.Resources
	ShmSize   int64
	Rlimits   []specs.POSIXRlimit // of RUN
	Cgroup    string              // parent of RUN's cgroups, absolute below the hierarchy's root; "" = the engine's
	Hostname  string              // of RUN; "" = "buildkitsandbox"
	Insecure  bool                // grants RUN --security=insecure
	HostNet   bool                // grants RUN --network=host
	Auth      func(host string) (*image.Auth, error)
	Epoch     *time.Time // SOURCE_DATE_EPOCH; nil = the argument of that name, else the clock
	Progress  func(Event)
}

// Socket is where an agent is to listen.
type Socket struct {
	Path     string // does not exist yet, and is short enough for the kernel
	UID, GID int
	Mode     os.FileMode
}

// Builder makes images in one engine.
type Builder struct {
	cfg    Config
	cache  *cache
	mounts cacheMounts

	collecting sync.Mutex
	collected  time.Time // last; under collecting
}

// New opens the builder and removes what a crash left.
func New(cfg Config) (*Builder, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	b := &Builder{cfg: cfg, mounts: cacheMounts{dir: filepath.Join(cfg.Dir, "mounts"), busy: map[string]*cacheMount{}}}
	for _, d := range []string{"work", "mounts", "cache"} {
		if err := os.MkdirAll(filepath.Join(cfg.Dir, d), 0o700); err != nil {
			return nil, fmt.Errorf("open builder: %w", err)
		}
	}
	b.cache = &cache{dir: filepath.Join(cfg.Dir, "cache"), images: cfg.Images}
	if err := b.clean(); err != nil {
		return nil, fmt.Errorf("open builder: %w", err)
	}
	return b, nil
}

// Named is a further context: an image, or a folder.
type Named struct {
	Image  string // reference or ID
	Folder string // on this machine
}

// Build runs one build to its end and returns the image. Nothing of it is left besides the image and the cache, however it ends.
func (b *Builder) Build(ctx context.Context, req Request) (*image.Image, error) {
	res, err := b.Solve(ctx, req)
	if err != nil {
		return nil, err
	}
	img, err := res.Image(req.Tags)
	if cerr := res.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, err
	}
	return img, nil
}

// EventKind says what an event tells.
type EventKind string

// The kinds of events. Events of one stage come in order; those of different stages mix.
const (
	StepBegins  EventKind = "step"     // Text, Number, Total
	StepRuns    EventKind = "running"  // ID: the container
	StepCleared EventKind = "cleared"  // ID: the container, which is removed
	StepOutput  EventKind = "output"   // Data, Stderr
	StepPulls   EventKind = "pull"     // Pull
	StepEnds    EventKind = "done"     // ID: the image so far, if there is one; Cached; Err
	StageEnds   EventKind = "stage"    // ID: its image, if there is one; Err
	Warning     EventKind = "warning"  // Text
	Unused      EventKind = "unused"   // Text: a warning of arguments that no ARG asks for, which BuildKit does not give
	Noted       EventKind = "note"     // Text
	Resolves    EventKind = "resolve"  // Text: what a base image is called; ends with Resolved
	Resolved    EventKind = "resolved" // Text, Err
	BuildBegins EventKind = "begin"    // Total, Stages
	BuildEnds   EventKind = "built"    // ID
	Tagged      EventKind = "tagged"   // Text
	Triggers    EventKind = "triggers" // Number of ONBUILD triggers that follow
)

// Event is one thing that happened in a build. Stage is -1 when it is about the whole.
type Event struct {
	Kind   EventKind
	Time   time.Time
	Stage  int
	Name   string // of the stage, "stage-N" for one without a name among several
	Number int    // of the step in the whole plan, from 1; 0 = a trigger's
	Total  int
	Place  int // of the step among those of its stage that make files, FROM being the first; 0 = it makes none
	Places int
	Base   string // of a FROM: the image it begins with
	Stages []int  // that will run, in order
	Text   string
	ID     string
	Cached bool
	Stderr bool
	Data   []byte
	Pull   image.Event
	Err    error
}

// parsePlatform reads a platform; "" is this machine's.
func parsePlatform(s string) ocispec.Platform {
	if s == "" {
		return image.ParsePlatform("linux")
	}
	return image.ParsePlatform(s)
}

func shortID(id digest.Digest) string {
	e := id.Encoded()
	return e[:min(12, len(e))]
}
