package image

import (
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"nau/internal/engine/content"
	"nau/internal/engine/image/remote"
)

// Kinds of errors; test with errors.Is. A *RegistryError (errors.As) has the status and the words of a registry that refused.
var (
	ErrNotFound         = errors.New("no such image")
	ErrAmbiguous        = errors.New("ambiguous image id prefix")
	ErrInvalidReference = errors.New("invalid reference format")
	ErrInUse            = errors.New("image is in use")
	ErrParent           = errors.New("image has dependent child images")
	ErrConflict         = errors.New("image is referenced more than once")
	ErrNoPlatform       = errors.New("no matching manifest for the platform")
	ErrForeign          = errors.New("operating system is not supported")
	ErrUnsupported      = errors.New("unsupported image")
	ErrArchive          = errors.New("bad image archive")

	ErrUnauthorized    = remote.ErrUnauthorized    // 401, 403, or a denied code
	ErrManifestUnknown = remote.ErrManifestUnknown // the registry knows no such repository, tag or digest
	ErrUnreachable     = remote.ErrUnreachable     // no endpoint answered
	ErrCorrupt         = remote.ErrCorrupt
	ErrDigest          = content.ErrDigest
)

// RegistryError is a registry's refusal in its own words.
type RegistryError = remote.Error

// NoPlatformError is an ErrNoPlatform that says which platform is missing.
type NoPlatformError struct{ Platform ocispec.Platform }

func (e *NoPlatformError) Error() string {
	return ErrNoPlatform.Error() + " " + FormatPlatform(e.Platform)
}

// Is makes it one of its kind.
func (e *NoPlatformError) Is(target error) bool { return target == ErrNoPlatform }

// InUseError is an ErrInUse that says which image it is, and whose.
type InUseError struct {
	ID      digest.Digest
	Users   []string // IDs of containers
	Running bool     // one of them runs
}

func (e *InUseError) Error() string {
	return ErrInUse.Error() + ": " + shortID(e.ID) + " is used by container " + strings.Join(e.Users, ", ")
}

// Is makes it one of its kind.
func (e *InUseError) Is(target error) bool { return target == ErrInUse }

// CorruptLayerError is an ErrCorrupt that says which layer came with other bytes than its digest promises.
type CorruptLayerError struct{ Digest digest.Digest }

func (e *CorruptLayerError) Error() string {
	return "filesystem layer verification failed for digest " + e.Digest.String()
}

// Is makes it one of its kind.
func (e *CorruptLayerError) Is(target error) bool { return target == ErrCorrupt }

// ArchiveError is an ErrArchive in the words that people look for.
type ArchiveError struct {
	words string
	cause error
}

// badArchive makes one.
func badArchive(format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return &ArchiveError{words: err.Error(), cause: errors.Unwrap(err)}
}

func (e *ArchiveError) Error() string { return e.words }

// Unwrap is what was found.
func (e *ArchiveError) Unwrap() error { return e.cause }

// Is makes it one of its kind.
func (e *ArchiveError) Is(target error) bool { return target == ErrArchive }

// layerCountError is an ErrUnsupported: manifest and configuration do not agree.
type layerCountError struct{ manifest, config int }

func (e *layerCountError) Error() string {
	return fmt.Sprintf("invalid manifest, layers length mismatch: expected %d, got %d", e.manifest, e.config)
}

func (e *layerCountError) Is(target error) bool { return target == ErrUnsupported }
