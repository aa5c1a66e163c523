// Package version says what this program is and which Kubernetes it speaks. It
// imports nothing of the house; everybody may import it.
package version

import (
	"runtime"
	"runtime/debug"
	"time"
)

// Set at link time.
var (
	version = "dev"
	commit  = "" // short
	built   = "" // RFC 3339
)

// Commit is what this program was built from; "" where nobody told.
func Commit() string {
	if commit != "" {
		return commit
	}
	revision := setting("vcs.revision")
	return revision[:min(len(revision), 12)]
}

// Built is when, or else the time of the commit, for a build that can be repeated; zero where nobody told.
func Built() time.Time {
	for _, text := range []string{built, setting("vcs.time")} {
		if t, err := time.Parse(time.RFC3339, text); err == nil {
			return t
		}
	}
	return time.Time{}
}

// setting is what the compiler wrote down.
func setting(key string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == key {
				return s.Value
			}
		}
	}
	return ""
}

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
