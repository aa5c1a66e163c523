package image

import (
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// HostPlatform is this machine's.
func HostPlatform() ocispec.Platform {
	return normalise(ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH})
}

// ParsePlatform reads "os/arch[/variant]", "arch[/variant]" or "os".
func ParsePlatform(s string) ocispec.Platform {
	p := ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}
	parts := strings.Split(s, "/")
	if slices.Contains(knownOS, strings.ToLower(parts[0])) || len(parts) > 1 && !isArch(parts[0]) {
		p.OS, parts = parts[0], parts[1:]
	}
	if len(parts) > 0 && parts[0] != "" {
		p.Architecture = parts[0]
	}
	if len(parts) > 1 {
		p.Variant = parts[1]
	}
	return normalise(p)
}

// Words that a platform may be made of; what else stands alone is a mistake rather than an architecture. Source: Go's list of ports.
var (
	knownOS   = []string{"linux", "windows", "freebsd", "darwin", "openbsd", "netbsd", "solaris", "illumos", "dragonfly", "plan9", "aix", "android", "ios", "js", "wasip1"}
	knownArch = []string{"386", "amd64", "arm", "arm64", "loong64", "mips", "mipsle", "mips64", "mips64le", "ppc64", "ppc64le", "riscv64", "s390x", "wasm", "sparc64"}
	wordRule  = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)
)

func isArch(s string) bool {
	return slices.Contains(knownArch, normalise(ocispec.Platform{Architecture: s}).Architecture)
}

// ReadPlatform is ParsePlatform for what a person wrote: what cannot be a platform is refused.
func ReadPlatform(s string) (ocispec.Platform, error) {
	parts := strings.Split(s, "/")
	for _, p := range parts {
		if !wordRule.MatchString(p) {
			return ocispec.Platform{}, fmt.Errorf("%q is an invalid component of %q: platform specifier component must match %q: invalid argument", p, s, wordRule)
		}
	}
	if len(parts) > 3 {
		return ocispec.Platform{}, fmt.Errorf("%q: cannot parse platform specifier: invalid argument", s)
	}
	p := ParsePlatform(s)
	if len(parts) == 1 && !isArch(s) && !slices.Contains(knownOS, strings.ToLower(s)) {
		return p, fmt.Errorf("%q: unknown operating system or architecture: invalid argument", s)
	}
	return p, nil
}

// normalise gives one platform one spelling, and the architectures with variants their default.
func normalise(p ocispec.Platform) ocispec.Platform {
	p.OS = strings.ToLower(p.OS)
	p.Architecture = strings.ToLower(p.Architecture)
	p.Variant = strings.ToLower(p.Variant)
	switch p.Architecture {
	case "x86_64", "x86-64":
		p.Architecture = "amd64"
	case "aarch64":
		p.Architecture = "arm64"
	case "i386", "i686":
		p.Architecture = "386"
	case "armhf":
		p.Architecture, p.Variant = "arm", "v7"
	case "armel":
		p.Architecture, p.Variant = "arm", "v6"
	}
	switch p.Architecture + p.Variant {
	case "amd64v1", "arm64v8", "arm648":
		p.Variant = ""
	case "arm":
		p.Variant = "v7"
	case "arm5", "arm6", "arm7", "arm8":
		p.Variant = "v" + p.Variant
	}
	return p
}

// armVariants and amd64Variants: a machine runs its own variant and those after it.
var variants = map[string][]string{
	"arm":   {"v8", "v7", "v6", "v5"},
	"amd64": {"v4", "v3", "v2", ""},
	"arm64": {"v9.5", "v9.4", "v9.3", "v9.2", "v9.1", "v9", "v8.7", "v8.6", "v8.5", "v8.4", "v8.3", "v8.2", "v8.1", ""},
}

// rank tells how well an image for have suits a machine that wants want: 0 not at all, more is better.
func rank(want, have ocispec.Platform) int {
	want, have = normalise(want), normalise(have)
	if want.OS != have.OS || want.Architecture != have.Architecture {
		return 0
	}
	if want.Variant == have.Variant {
		return 1000
	}
	order := variants[want.Architecture]
	wi, hi := -1, -1
	for i, v := range order {
		if v == want.Variant {
			wi = i
		}
		if v == have.Variant {
			hi = i
		}
	}
	if wi < 0 || hi < wi {
		return 0
	}
	return 999 - (hi - wi)
}

// attestation tells build records (in-toto) from images: they stand in an index beside them.
func attestation(d ocispec.Descriptor) bool {
	if d.Annotations[annotationType] == typeAttestation {
		return true
	}
	return d.Platform != nil && d.Platform.OS == "unknown" && d.Platform.Architecture == "unknown"
}

// choose picks the manifest of an index for a platform.
func choose(index []ocispec.Descriptor, want ocispec.Platform) (ocispec.Descriptor, bool) {
	best, at := 0, -1
	plain := -1
	for i, d := range index {
		if attestation(d) || !isManifest(d.MediaType) && !isIndex(d.MediaType) {
			continue
		}
		if d.Platform == nil || d.Platform.OS == "" && d.Platform.Architecture == "" {
			if plain < 0 {
				plain = i
			}
			continue
		}
		if r := rank(want, *d.Platform); r > best {
			best, at = r, i
		}
	}
	if at < 0 {
		at = plain // says nothing of its platform: the configuration will
	}
	if at < 0 {
		return ocispec.Descriptor{}, false
	}
	return index[at], true
}

// Suits reports whether an image that is here runs where a platform is wanted.
func Suits(want ocispec.Platform, img *Image) bool {
	return rank(want, ocispec.Platform{OS: img.Config.OS, Architecture: img.Config.Architecture, Variant: img.Config.Variant}) > 0
}

// SuitsPlatform reports whether what is for one platform runs where another is wanted.
func SuitsPlatform(want, have ocispec.Platform) bool { return rank(want, have) > 0 }

// FormatPlatform writes "os/arch[/variant]".
func FormatPlatform(p ocispec.Platform) string {
	p = normalise(p)
	if p.Variant == "" {
		return p.OS + "/" + p.Architecture
	}
	return p.OS + "/" + p.Architecture + "/" + p.Variant
}
