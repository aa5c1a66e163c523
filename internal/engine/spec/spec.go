// Package spec turns a container's wishes into an OCI runtime specification.
//
// It is the vocabulary of what a container's process may see and do (Process, Security, Mount, Device, Resources), told in
// neither CRI's nor Docker's dialect, and the pure function Build that makes a config.json of it, with Docker's default
// capabilities, seccomp profile, masked and read-only paths. It starts nothing and keeps nothing. The engine's rooms and its
// two fronts import it; it imports no other room of the engine.
package spec

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Process is what runs.
type Process struct {
	Entrypoint []string // replaces the image's entrypoint, and drops the image's command, when not nil
	Args       []string // replaces the image's command when not nil
	Env        []string // KEY=value; after the image's, the last one wins
	Dir        string   // absolute; "" = the image's, then "/"
	User       User
	Terminal   bool
	Rlimits    []specs.POSIXRlimit
	OOMScore   *int // oom_score_adj, -1000..1000
	Init       bool // a reaping init runs as process 1
	Umask      *uint32
}

// User names who runs the process. The zero value asks the image.
type User struct {
	Name        string   // "user", "user:group", "1000", "1000:1000"; looked up in the root file system
	UID, GID    *int64   // win over Name's parts
	Groups      []int64  // supplementary, by number
	GroupNames  []string // supplementary, by name or number (Docker's --group-add)
	GroupAlone  bool     // a group that Name has, or the image's user, is the user's only one of /etc/group (Docker's "user:group")
	StrictGroup bool     // only Groups and the primary group, nothing of /etc/group (KEP-3619)
}

// ProfileKind says where a seccomp or AppArmor profile comes from.
type ProfileKind string

// The kinds of profile.
const (
	ProfileDefault    ProfileKind = ""           // the runtime's
	ProfileUnconfined ProfileKind = "unconfined" // none
	ProfileLocal      ProfileKind = "local"      // a file on this host (seccomp) or a loaded profile's name (AppArmor)
	ProfileInline     ProfileKind = "inline"     // Value holds the profile itself
)

// Profile is a seccomp or AppArmor profile.
type Profile struct {
	Kind  ProfileKind `json:",omitempty"`
	Value string      `json:",omitempty"` // path, name or JSON text
}

// Security is what the process may do.
type Security struct {
	Privileged    bool // all capabilities and devices, nothing masked; the profiles and NoNewPrivs are kept as they are given
	ReadOnlyRoot  bool
	NoNewPrivs    bool
	CapAdd        []string // with or without CAP_, any case; "ALL"
	CapDrop       []string
	CapAmbient    []string
	Seccomp       Profile
	AppArmor      Profile
	ProcessLabel  string // SELinux
	MountLabel    string
	MaskedPaths   []string // nil = defaults; empty = none
	ReadonlyPaths []string

	WritableCgroups bool // the container may make cgroups below its own
}

// Propagation of a bind mount.
type Propagation string

// The propagations.
const (
	PropagatePrivate Propagation = "rprivate"
	PropagateSlave   Propagation = "rslave"
	PropagateShared  Propagation = "rshared"
)

// MountImage is the Type of a mount whose Source is an image's name. The engine turns it into a bind before Build sees it.
const MountImage = "image"

// Mount puts something at Target in the container.
type Mount struct {
	Type              string // "bind" (default), "tmpfs" or any file system
	Source            string // host path of a bind
	Target            string // absolute in the container
	ReadOnly          bool
	RecursiveReadOnly bool // with ReadOnly: submounts too; an error where the kernel cannot
	NonRecursive      bool
	Propagation       Propagation // "" = rprivate
	Options           []string    // further mount options, e.g. size=64m
	UIDs, GIDs        []specs.LinuxIDMapping
	MakeSource        bool   // make a missing source folder of a bind
	SubPath           string // of MountImage and of a bind: the part of it to show; a link that leads out of it is an error at start
}

// Device is a host's device node in the container.
type Device struct {
	Host, Container, Permissions string // permissions: subset of "rwm", "" = all
}

// Resources are the limits, in the OCI runtime specification's units. A nil pointer leaves the kernel's default.
type Resources struct {
	CPUShares   *uint64                   `json:",omitempty"`
	CPUQuota    *int64                    `json:",omitempty"` // µs a period; -1 = none
	CPUPeriod   *uint64                   `json:",omitempty"` // µs
	Cpus, Mems  string                    `json:",omitempty"` // cpuset lists
	Memory      *int64                    `json:",omitempty"` // bytes; -1 = none
	Swap        *int64                    `json:",omitempty"` // memory and swap together, bytes; -1 = none
	Reserve     *int64                    `json:",omitempty"`
	Pids        *int64                    `json:",omitempty"`
	OOMDisable  *bool                     `json:",omitempty"`
	Huge        map[string]uint64         `json:",omitempty"` // page size ("2MB") → bytes
	Unified     map[string]string         `json:",omitempty"` // cgroup v2 files
	BlkioWeight *uint16                   `json:",omitempty"`
	Devices     []specs.LinuxDeviceCgroup `json:",omitempty"` // further rules
	Swappiness  *uint64                   `json:",omitempty"` // 0..100; cgroup v1 only
	BlockIO     BlockIO                   `json:",omitzero"`
}

// BlockIO are the limits of single block devices. A nil list leaves what there is, an empty one takes all away.
type BlockIO struct {
	Weight              []DeviceRate `json:",omitempty"` // 10..1000
	ReadBps, WriteBps   []DeviceRate `json:",omitempty"` // bytes a second
	ReadIOps, WriteIOps []DeviceRate `json:",omitempty"` // operations a second
}

// DeviceRate is a figure of the block device whose node is at Path on this host. It is named by the path, as numbers change over a reboot.
type DeviceRate struct {
	Path string
	Rate uint64
}

// Namespaces are paths of pinned namespaces to join. An empty path with a false Host makes a new one.
type Namespaces struct {
	Net, IPC, UTS, PID, User, Cgroup               string
	HostNet, HostIPC, HostUTS, HostPID, HostCgroup bool
	OwnCgroup                                      bool                   // a cgroup namespace also where the default is none: on cgroup v1, privileged
	UIDs, GIDs                                     []specs.LinuxIDMapping // of a user namespace to make
}

// Image is the part of an image's configuration that a container inherits.
type Image struct {
	Entrypoint, Cmd, Env []string
	Dir, User            string
	StopSignal           string
	Volumes              []string
}

// Input is everything that Build looks at.
type Input struct {
	ID                              string
	Process                         Process
	Security                        Security
	Mounts                          []Mount // in order; a later one may lie inside an earlier one
	Devices                         []Device
	Resources                       Resources
	Namespaces                      Namespaces
	Image                           Image
	Resolved                        Resolved // of Process.User, by LookupUser
	Rootfs                          string
	Hostname                        string // set when the UTS namespace is new
	Sysctls                         map[string]string
	CgroupPath                      string
	ResolvConf, Hosts, HostnameFile string // host paths to mount; "" = none, and a Mount on the same target wins
	ShmDir                          string // host path to mount at /dev/shm; "" = a tmpfs of ShmSize
	ShmSize                         int64
	NoShm                           bool // nothing at /dev/shm
	Annotations                     map[string]string
	Init                            string // host path of the init program, for Process.Init
	Host                            Host
}

// Host is what this machine can, as probed once.
type Host struct {
	CgroupV2     bool // a unified hierarchy with controllers
	Hybrid       bool
	Seccomp      bool
	AppArmor     bool
	RecursiveRO  bool
	Capabilities []string                            // the ones that this process can give away, "CAP_X"
	HostDevices  func() ([]specs.LinuxDevice, error) // for privileged containers
	OOMScoreMin  int                                 // lowest oom_score_adj that this process may give
	RlimitMax    map[string]uint64                   // ceilings where this process may not raise hard limits
}
