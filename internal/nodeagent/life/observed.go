package life

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ContainerState is a container's state in the runtime.
type ContainerState uint8

// The states of CRI.
const (
	Unknown ContainerState = iota
	Created
	Running
	Exited
)

// String names the state.
func (s ContainerState) String() string {
	return [...]string{"unknown", "created", "running", "exited"}[s]
}

// Container is what the runtime said of one container. It is never changed once it is in an Observed.
type Container struct {
	ID, Name, Sandbox string
	Attempt           uint32 // counts up from 0 within the pod's life: the restart count
	State             ContainerState
	Created           time.Time
	Started, Finished time.Time
	ExitCode          int32
	Reason, Message   string // Message holds the termination message once the container exited
	Image             string // as asked for
	ImageID           string
	Hash              string // of the spec's fields that force a restart
	Resources         *runtimeapi.LinuxContainerResources
	User              *runtimeapi.LinuxContainerUser
	StopSignal        string
}

// Sandbox is what the runtime said of one sandbox.
type Sandbox struct {
	ID      string
	Attempt uint32
	Ready   bool
	Created time.Time
	IPs     []string
}

// Observed is all the runtime has of a pod. Sandboxes and Containers are ordered newest first; Sort does that.
type Observed struct {
	Sandboxes  []*Sandbox
	Containers []*Container
}

// Sort orders o as it promises.
func (o *Observed) Sort() {
	slices.SortStableFunc(o.Sandboxes, func(a, b *Sandbox) int {
		if a.Attempt != b.Attempt {
			return int(b.Attempt) - int(a.Attempt)
		}
		return b.Created.Compare(a.Created)
	})
	slices.SortStableFunc(o.Containers, func(a, b *Container) int {
		if c := b.Created.Compare(a.Created); c != 0 {
			return c
		}
		return int(b.Attempt) - int(a.Attempt)
	})
}

// Sandbox returns the newest sandbox, nil if there is none.
func (o *Observed) Sandbox() *Sandbox {
	if len(o.Sandboxes) == 0 {
		return nil
	}
	return o.Sandboxes[0]
}

// Latest returns the newest container of a name, in any sandbox; nil if there is none.
func (o *Observed) Latest(name string) *Container { return o.Nth(name, 0) }

// Nth returns the n-th newest container of a name.
func (o *Observed) Nth(name string, n int) *Container {
	for _, c := range o.Containers {
		if c.Name == name {
			if n == 0 {
				return c
			}
			n--
		}
	}
	return nil
}

// In returns the newest container of a name within one sandbox.
func (o *Observed) In(sandbox, name string) *Container {
	for _, c := range o.Containers {
		if c.Name == name && c.Sandbox == sandbox {
			return c
		}
	}
	return nil
}

// AnyRunning tells whether a container of the pod may still have processes.
func (o *Observed) AnyRunning() bool {
	return slices.ContainsFunc(o.Containers, func(c *Container) bool { return c.State == Running })
}

// Health is what probes say of one running container.
type Health struct {
	Started bool   // the startup probe has succeeded, or there is none
	Ready   bool   // the readiness probe says so, or there is none
	Failed  string // "liveness" or "startup" when that probe demands a restart
}

// healthy is what a container without probes is.
var healthy = Health{Started: true, Ready: true}

// Sidecar tells whether an init container keeps running beside the others. Source: KEP-753.
func Sidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}
