// Package version says what this program is and which Kubernetes it speaks. It
// imports nothing of the house; everybody may import it.
package version

import "runtime"

// version is set at link time.
var version = "dev"

// Kubernetes is the API version that Nau implements; clients compare it.
const (
	KubernetesMajor = "1"
	KubernetesMinor = "36"
	Kubernetes      = "v1.36.3"
)

// Nau is the program's own version.
func Nau() string { return version }

// GitVersion is what /version and the node report: Kubernetes' version with
// Nau's as build metadata.
func GitVersion() string { return Kubernetes + "+nau" }

// Platform is GOOS/GOARCH.
func Platform() string { return runtime.GOOS + "/" + runtime.GOARCH }
