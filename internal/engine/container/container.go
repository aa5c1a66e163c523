// Package container runs processes in sandboxes: images' layers below, a specification around, the monitor as their parent.
//
// The life of a container:
//
//	Create: image resolved, writable layer prepared, record written              created
//	Start:  root file system mounted, specification built, monitor runs it       running ⇄ paused
//	exit:   the monitor's event; code recorded, mounts and cgroup given back     exited → Start again
//	Remove: writable layer and record deleted
//
// The monitor knows what runs; the records know what there is. Open brings both together after a restart, a crash or a reboot:
// what the monitor does not know any more has exited with UnknownExit, what the records do not know is cleaned up.
//
// Orchestration is elsewhere: nothing here restarts a container. The engine and its fronts import it.
package container

import (
	"context"
	"errors"
	"io"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"nau/internal/engine/image"
	"nau/internal/engine/layer"
	"nau/internal/engine/sandbox"
	"nau/internal/engine/spec"
	"nau/internal/kernel/idmap"
	"nau/internal/oci/monitor"
)

// Kinds of errors; test with errors.Is.
var (
	ErrNotFound  = errors.New("no such container")
	ErrAmbiguous = errors.New("container ID prefix is ambiguous")
	ErrNameTaken = errors.New("container name is taken")
	ErrState     = errors.New("not possible in this state")
	ErrRuntime   = errors.New("no such runtime")
)

// Config is what a front asks for. Dialect-neutral; a front keeps its own words in Extra.
type Config struct {
	ID          string            `json:",omitempty"` // 64 hexadecimal digits; "" = a new one
	Name        string            `json:",omitempty"` // unique when not empty
	Sandbox     string            // ID
	Origin      string            // the front: "cri", "docker"
	Labels      map[string]string `json:",omitempty"`
	Annotations map[string]string `json:",omitempty"`
	Extra       []byte            `json:",omitempty"` // the front's own, opaque here

	Image      string // reference or ID
	Process    spec.Process
	Security   spec.Security
	Mounts     []spec.Mount   `json:",omitempty"`
	Devices    []spec.Device  `json:",omitempty"`
	CDI        []string       `json:",omitempty"` // devices that a vendor describes: "vendor.example/class=name"
	Resources  spec.Resources `json:",omitzero"`
	PID        PIDMode        `json:",omitempty"` // "" = as the sandbox has it
	PIDOf      string         `json:",omitempty"` // ID of the container whose PID namespace to join
	IPCOf      string         `json:",omitempty"` // ID of the container whose IPC namespace and shared memory to join
	CgroupNS   CgroupNS       `json:",omitempty"`
	NoShm      bool           `json:",omitempty"` // nothing at /dev/shm
	OpenStdin  bool           `json:",omitempty"`
	StdinOnce  bool           `json:",omitempty"`
	Size       Size           `json:",omitzero"`  // of the terminal at first
	StopSignal string         `json:",omitempty"` // "" = the image's, then SIGTERM
	Log        monitor.LogConfig
	Runtime    string            `json:",omitempty"` // name; "" = the sandbox's
	Sysctls    map[string]string `json:",omitempty"`
	Ephemeral  bool              `json:",omitempty"` // never started again after a reboot: its layer need not survive a power loss

	// Restart and AutoRemove are kept for the front that has them; the engine does not act on them.
	Restart    RestartPolicy `json:",omitzero"`
	AutoRemove bool          `json:",omitempty"`
}

// PIDMode overrides the sandbox's choice of PID namespace.
type PIDMode string

// The modes.
const (
	PIDOwn  PIDMode = "own"
	PIDHost PIDMode = "host"
)

// CgroupNS chooses the cgroup namespace. "" is one of its own on cgroup v2 unless privileged, else the host's.
type CgroupNS string

// The choices.
const (
	CgroupOwn  CgroupNS = "private"
	CgroupHost CgroupNS = "host"
)

// RestartPolicy in Docker's words: "", "no", "on-failure", "always", "unless-stopped".
type RestartPolicy struct {
	Name    string
	Retries int // of on-failure; 0 = no limit
}

// Wanted tells that a container is to be started without being asked for.
func (p RestartPolicy) Wanted() bool { return p.Name != "" && p.Name != "no" }

// State of a container.
type State string

// The states.
const (
	Created State = "created"
	Running State = "running"
	Paused  State = "paused"
	Exited  State = "exited"
)

// Exit codes that no process gave.
const (
	UnknownExit = monitor.UnknownExit // the monitor does not know it any more
	StartExit   = 128                 // Start went wrong
)

// Record is a container as stored. Values handed out are read-only.
type Record struct {
	ID       string
	Config   Config
	Image    digest.Digest
	ImageRef string `json:",omitempty"` // repository digest if there is one, else the ID
	// Inherited is what the image says of its containers: it may be removed by force before they are started. Nil in a record of an earlier version.
	Inherited *spec.Image `json:",omitempty"`
	Created   time.Time
	Layers    []digest.Digest // of the image, bottom first
	Shows     []digest.Digest `json:",omitempty"` // images that mounts show, as they were at create
	Owners    idmap.Map       `json:",omitzero"`  // of the sandbox's user namespace, whose the writable layer is

	State     State
	Pid       int            `json:",omitempty"`
	Started   time.Time      `json:",omitzero"`
	Finished  time.Time      `json:",omitzero"`
	Before    time.Time      `json:",omitzero"` // when the run before this one ended; zero in the first
	ExitCode  int            `json:",omitempty"`
	OOMKilled bool           `json:",omitempty"`
	Error     string         `json:",omitempty"` // why Start went wrong
	Lost      bool           `json:",omitempty"` // how the run ended is not known
	User      spec.Resolved  `json:",omitzero"`
	Process   *specs.Process `json:",omitempty"` // as started; execs are like it
	Cgroup    string         `json:",omitempty"`
	Starts    int            `json:",omitempty"`
}

// Images finds images; *image.Store is it.
type Images interface {
	Get(refOrID string) (*image.Image, error)
}

// Layers keeps writable layers; *layer.Store is it.
type Layers interface {
	Prepare(ctx context.Context, key string, parent []digest.Digest, opts ...layer.Option) (layer.Mount, error)
	Mounts(ctx context.Context, key string) (layer.Mount, error)
	Targets() string
	Remove(key string) error
	Snapshots() []layer.Snapshot
	Usage(ctx context.Context, key string) (layer.Usage, error)
}

// Sandboxes places containers; *sandbox.Manager is it.
type Sandboxes interface {
	Get(id string) (*sandbox.Record, error)
	Place(id string) (sandbox.Place, error)
}

// Runtime runs containers; *monitor.Client is it.
type Runtime interface {
	Create(ctx context.Context, r monitor.CreateRequest) (pid int, err error)
	Start(ctx context.Context, id string) (time.Time, error)
	Kill(ctx context.Context, id string, sig syscall.Signal, all bool) error
	Pause(ctx context.Context, id string) error
	Resume(ctx context.Context, id string) error
	Update(ctx context.Context, id string, r *specs.LinuxResources) error
	Delete(ctx context.Context, id string, force bool) (monitor.ExitStatus, error)
	List(ctx context.Context) ([]monitor.State, error)
	State(ctx context.Context, id string) (monitor.State, error)
	Exec(ctx context.Context, r monitor.ExecRequest) (pid int, err error)
	WaitExec(ctx context.Context, id, execID string) (monitor.ExitStatus, error)
	ResizeExec(ctx context.Context, id, execID string, w, h uint16) error
	KillExec(ctx context.Context, id, execID string, sig syscall.Signal) error
	Attach(ctx context.Context, id string, o monitor.AttachOptions) (*monitor.AttachStreams, error)
	Resize(ctx context.Context, id string, w, h uint16) error
	CloseStdin(ctx context.Context, id string) error
	ReopenLog(ctx context.Context, id string) error
	Stats(ctx context.Context, id string) (monitor.Stats, error)
	Events(ctx context.Context, since uint64) (<-chan monitor.Event, error)
}

// Size of a terminal.
type Size struct{ Width, Height uint16 }

// Streams are the caller's ends of a process's standard streams; nil = none.
type Streams struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Resize         <-chan Size // closed or nil when there is nothing to tell
}

// ExecConfig asks for one more process in a running container.
type ExecConfig struct {
	ID         string // "" = a new one
	Args       []string
	Env        []string // after the container's
	Dir        string   // "" = the container's
	User       string   // "" = the container's
	Terminal   bool
	Size       Size
	Privileged bool
	Started    func(pid int) // told when it runs; may be nil
	Streams
}
