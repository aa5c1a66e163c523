// Package anatomy takes a container apart into what the kernel knows: namespaces, cgroups, layers, mounts, a veth pair, packet rules,
// capabilities and processes, each with the shell commands that would make it by hand.
//
// Gather reads: /proc, the cgroup file systems, rtnetlink, nftables and the engine's records on disk; it changes nothing, starts no program and
// needs no running engine. Recipes and Render are pure: facts in, text out. The package is not a monitor (one look, no history) and knows
// neither pods nor Docker's names; who asks translates them to a container's ID. Commands import it.
package anatomy

import "time"

// Anatomy is a container taken apart. What a container that does not run cannot have is empty. Slices are in the order they are shown in.
type Anatomy struct {
	Container  Container   `json:"container"`
	Namespaces []Namespace `json:"namespaces"`
	Cgroups    Cgroups     `json:"cgroups"`
	Image      Image       `json:"image"`
	Root       Root        `json:"root"`
	Mounts     []Mount     `json:"mounts"`
	Network    Network     `json:"network"`
	Packets    []Table     `json:"packets"`
	Security   Security    `json:"security"`
	Rlimits    []Rlimit    `json:"rlimits"`
	Processes  []Process   `json:"processes"`
	// ByHand has the shell commands of a section by its name in this document, "namespaces" to "processes".
	ByHand map[string][]string `json:"byHand"`
	// Missing says what could not be read, and why.
	Missing []string `json:"missing,omitempty"`
}

// Container says whose anatomy this is.
type Container struct {
	ID       string            `json:"id"`
	Name     string            `json:"name,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
	State    string            `json:"state"`
	Pid      int               `json:"pid,omitempty"` // on the host; 0 = it does not run
	Created  time.Time         `json:"created"`
	Started  time.Time         `json:"started,omitzero"`
	Command  []string          `json:"command,omitempty"`
	Dir      string            `json:"dir,omitempty"`
	Hostname string            `json:"hostname,omitempty"`
	Sandbox  string            `json:"sandbox"`
	Siblings []string          `json:"siblings,omitempty"` // names of the sandbox's other containers
	Bundle   string            `json:"bundle"`             // folder of config.json and rootfs
}

// Host is the name of who has the host's namespaces.
const Host = "host"

// Namespace is one of the first process's namespaces.
type Namespace struct {
	Kind  string `json:"kind"`
	Inode uint64 `json:"inode"`
	// Shared names who else is in it: Host alone, or other containers.
	Shared []string `json:"shared,omitempty"`
	Pin    string   `json:"pin,omitempty"` // the file that keeps it alive without a process
}

// With tells whether who is in the namespace too.
func (n Namespace) With(who string) bool {
	for _, s := range n.Shared {
		if s == who {
			return true
		}
	}
	return false
}

// Cgroups are the container's places in the mounted hierarchies.
type Cgroups struct {
	Mode   string   `json:"mode"` // v1, v2, hybrid
	Groups []Cgroup `json:"groups"`
}

// Cgroup is the place in one hierarchy.
type Cgroup struct {
	Controllers []string     `json:"controllers"` // none: version 2, or grouping only
	Unified     bool         `json:"unified"`
	Path        string       `json:"path"` // below the hierarchy's root
	Dir         string       `json:"dir"`  // the folder on the host
	Files       []CgroupFile `json:"files"`
}

// CgroupFile is one of its files.
type CgroupFile struct {
	Name  string `json:"name"`
	Value string `json:"value"` // lines joined by "; "
	Limit bool   `json:"limit"` // a setting, else a measurement
	Means string `json:"means,omitempty"`
}

// Image is what the root file system was made of.
type Image struct {
	Reference  string  `json:"reference"`
	ID         string  `json:"id"`                   // digest of the configuration
	Manifest   string  `json:"manifest,omitempty"`   // digest
	Layers     []Layer `json:"layers"`               // bottom first
	Size       int64   `json:"size"`                 // bytes of all layers' file content
	Compressed int64   `json:"compressed,omitempty"` // bytes of all layers' blobs
}

// Layer is one layer of the image.
type Layer struct {
	DiffID     string `json:"diffID"`
	Digest     string `json:"digest,omitempty"` // of the blob, as pulled
	MediaType  string `json:"mediaType,omitempty"`
	Compressed int64  `json:"compressed,omitempty"` // bytes of the blob
	Blob       string `json:"blob,omitempty"`       // its file, if it is kept
	Size       int64  `json:"size"`                 // bytes of file content
	Disk       int64  `json:"disk"`                 // bytes of disk blocks
	Inodes     int64  `json:"inodes"`
	Dir        string `json:"dir,omitempty"` // where it is extracted
}

// Root is the overlay mount that is "/" inside.
type Root struct {
	Target  string   `json:"target,omitempty"` // on the host
	Lower   []string `json:"lower,omitempty"`  // top first
	Places  []Place  `json:"places,omitempty"` // in the last of Lower, if that is no layer
	Upper   string   `json:"upper,omitempty"`
	Work    string   `json:"work,omitempty"`
	Options []string `json:"options,omitempty"` // the rest
	Bytes   int64    `json:"bytes"`             // disk blocks that the container has written to Upper
	Inodes  int64    `json:"inodes"`
	Devices []Device `json:"devices,omitempty"` // in its /dev, if that is one of its own
}

// Place is what the engine has ready beneath all layers, empty, for a mount to cover.
type Place struct {
	Path string `json:"path"` // in the folder
	File bool   `json:"file,omitempty"`
}

// Device is a device node or a symbolic link of /dev.
type Device struct {
	Name  string `json:"name"`
	Kind  string `json:"kind,omitempty"` // c, b; of a link neither
	Major uint32 `json:"major,omitempty"`
	Minor uint32 `json:"minor,omitempty"`
	Mode  string `json:"mode,omitempty"` // octal
	Link  string `json:"link,omitempty"`
}

// Mount is one line of the container's mount table.
type Mount struct {
	ID      int    `json:"id"`
	Parent  int    `json:"parent"`
	Target  string `json:"target"` // inside
	Type    string `json:"type"`
	Source  string `json:"source"`         // the device as the kernel names it
	Root    string `json:"root"`           // the part of the file system that is shown
	Host    string `json:"host,omitempty"` // the same place on the host, where it has one
	File    bool   `json:"file,omitempty"` // it is mounted on a file, not on a folder
	Options string `json:"options"`
	Super   string `json:"super"`
	Device  string `json:"device"` // major:minor
}

// Network is how the container reaches others.
type Network struct {
	Host       bool     `json:"host"` // the host's own
	Netns      string   `json:"netns,omitempty"`
	Links      []Link   `json:"links,omitempty"` // inside
	Veths      []Veth   `json:"veths,omitempty"`
	Routes     []Route  `json:"routes,omitempty"`     // inside
	HostRoutes []Route  `json:"hostRoutes,omitempty"` // the host's, to the container's addresses
	Neighbours []string `json:"neighbours,omitempty"` // inside: "ADDRESS lladdr MAC dev LINK"
}

// Link is a network interface.
type Link struct {
	Name  string   `json:"name"`
	Index int      `json:"index"`
	Kind  string   `json:"kind,omitempty"`
	MAC   string   `json:"mac,omitempty"`
	MTU   int      `json:"mtu"`
	State string   `json:"state"`
	Peer  int      `json:"peer,omitempty"` // index of the other end, in its namespace
	Addrs []string `json:"addrs,omitempty"`
	// Broadcast tells that its IPv4 addresses have the broadcast address of their network.
	Broadcast bool `json:"broadcast,omitempty"`
	NoDAD     bool `json:"noDAD,omitempty"` // its IPv6 addresses are used at once: nobody else can have them
	owner     int  // index of the bridge it is a port of
}

// Veth is a pair.
type Veth struct {
	Inside Link  `json:"inside"`
	Host   Link  `json:"host"`
	Bridge *Link `json:"bridge,omitempty"`
}

// Route is a route of the main table.
type Route struct {
	To     string `json:"to"` // "default" or a prefix
	Via    string `json:"via,omitempty"`
	Dev    string `json:"dev,omitempty"`
	Src    string `json:"src,omitempty"`
	Scope  string `json:"scope,omitempty"`
	Proto  int    `json:"proto,omitempty"`  // who made it, of those that have a number only; 110 is Nau
	Onlink bool   `json:"onlink,omitempty"` // the gateway is on the link, whatever the addresses say
	Auto   bool   `json:"auto,omitempty"`   // made by the kernel with an address
}

// Table is what one nftables table has to do with the container's addresses.
type Table struct {
	Family   string        `json:"family"`
	Name     string        `json:"name"`
	Sets     []PacketSet   `json:"sets,omitempty"`   // that the elements are in, or that the rules ask
	Chains   []PacketChain `json:"chains,omitempty"` // that the rules are in, or go to
	Elements []PacketEntry `json:"elements,omitempty"`
	Rules    []PacketRule  `json:"rules,omitempty"`
}

// PacketSet is a set or map of a table.
type PacketSet struct {
	Name string `json:"name"`
	Map  bool   `json:"map,omitempty"`
	Text string `json:"text"` // what it is declared with: "type ipv4_addr; flags interval;"
}

// PacketChain is a chain of a table.
type PacketChain struct {
	Name string `json:"name"`
	Hook string `json:"hook,omitempty"` // "nat prerouting -100" of a base chain
}

// PacketEntry is an element of a set or map.
type PacketEntry struct {
	Set  string `json:"set"`
	Text string `json:"text"`
}

// PacketRule is a rule that such an element decides, or that leads to one.
type PacketRule struct {
	Chain string `json:"chain"`
	Hook  string `json:"hook,omitempty"` // "nat prerouting -100" of a base chain
	Text  string `json:"text"`
}

// Security is what the first process may do.
type Security struct {
	UID           []int        `json:"uid"` // real, effective, saved, file system
	GID           []int        `json:"gid"`
	Groups        []int        `json:"groups"`
	Capabilities  Capabilities `json:"capabilities"`
	NoNewPrivs    bool         `json:"noNewPrivs"`
	Seccomp       string       `json:"seccomp"` // off, strict, filter
	Filters       int          `json:"seccompFilters"`
	DefaultAction string       `json:"seccompDefaultAction,omitempty"` // of the profile that was asked for
	Syscalls      int          `json:"seccompSyscalls,omitempty"`      // that it names
	Label         string       `json:"label,omitempty"`                // AppArmor's or SELinux's
	Modules       string       `json:"securityModules,omitempty"`      // of this kernel
	OOMScoreAdj   string       `json:"oomScoreAdj,omitempty"`
	UIDMap        []IDMap      `json:"uidMap"`
	GIDMap        []IDMap      `json:"gidMap"`
	MaskedPaths   []string     `json:"maskedPaths,omitempty"`
	ReadonlyPaths []string     `json:"readonlyPaths,omitempty"`
}

// Capabilities are the five sets, as "CAP_X" by number.
type Capabilities struct {
	Bounding    []string `json:"bounding"`
	Permitted   []string `json:"permitted"`
	Effective   []string `json:"effective"`
	Inheritable []string `json:"inheritable"`
	Ambient     []string `json:"ambient"`
}

// IDMap is one line of uid_map or gid_map.
type IDMap struct {
	Inside  uint32 `json:"inside"`
	Outside uint32 `json:"outside"`
	Count   uint32 `json:"count"`
}

// Rlimit is one line of /proc/PID/limits.
type Rlimit struct {
	Name string `json:"name"`
	Soft string `json:"soft"`
	Hard string `json:"hard"`
	Unit string `json:"unit,omitempty"`
}

// Process is one of the container's processes.
type Process struct {
	Pid     int    `json:"pid"`    // on the host
	Inside  int    `json:"inside"` // in the container's PID namespace
	Parent  int    `json:"parent"`
	Depth   int    `json:"depth"`
	State   string `json:"state"`
	UID     int    `json:"uid"`
	Threads int    `json:"threads"`
	RSS     int64  `json:"rss"` // bytes
	Command string `json:"command"`
}
