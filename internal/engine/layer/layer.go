// Package layer keeps extracted image layers and the writable snapshots of containers on top of them.
//
// The life of a layer: an archive (tar, tar+gzip, tar+zstd, tar+xz) is unpacked by Apply into a directory of its own, never looking at the
// layers below it, so that all layers of an image unpack at the same time; the directory becomes one overlayfs lower directory and is
// addressed by the digest of its uncompressed archive (the "diff ID"). The life of a snapshot: Prepare makes upper and work directories for a
// key, the caller mounts them over the lowers that Mount names, Diff and Changes tell what was written, Remove frees it.
//
// It is not an image store (names, manifests and downloads are engine/image), and it holds no mounts: whoever mounts unmounts.
// The engine's rooms may import it.
package layer

import (
	"errors"
	"time"

	"github.com/opencontainers/go-digest"

	"nau/internal/kernel/idmap"
)

// Kinds of errors. Errors returned wrap one of these where a caller can act on the kind; test with errors.Is.
var (
	ErrNotFound = errors.New("not found")
	ErrExists   = errors.New("already exists")
	ErrInUse    = errors.New("in use")
	// ErrArchive: the archive is malformed or hostile; a retry with the same bytes cannot help.
	ErrArchive = errors.New("bad layer archive")
	// ErrLimit: the archive passes a limit of Limits.
	ErrLimit = errors.New("layer archive passes a limit")
	// ErrDigest: the uncompressed archive's digest is not the one that was asked for.
	ErrDigest = errors.New("digest mismatch")
)

// DigestError is an ErrDigest that says which.
type DigestError struct{ Want, Got digest.Digest }

func (e *DigestError) Error() string {
	return ErrDigest.Error() + ": archive is " + e.Got.String()
}

// Is makes it one of its kind.
func (e *DigestError) Is(target error) bool { return target == ErrDigest }

// Mount is what overlayfs needs for one snapshot. Paths are absolute. Lower has at least one element, top layer first.
type Mount struct {
	Lower    []string
	Upper    string
	Work     string
	Volatile bool // mount with "volatile": nothing of the upper directory need survive a power loss

	// Owners, where not zero, are whose the files are: the lower directories, all below Base, are shown through the mapping; the upper directory's
	// files are owned by the host's ids. UserNS is the path of a user namespace with that mapping, if there is one at hand.
	Owners idmap.Map
	Base   string
	UserNS string
}

// Info describes an extracted layer.
type Info struct {
	DiffID  digest.Digest
	Size    int64 // bytes of file content, as docker counts an image's size
	Disk    int64 // bytes of disk blocks
	Inodes  int64
	Created time.Time
}

// Usage is what a snapshot's upper directory takes.
type Usage struct {
	Bytes  int64 // disk blocks, in bytes
	Inodes int64
}

// ChangeKind is one of docker's three: modified 0, added 1, deleted 2.
type ChangeKind int

const (
	Modified ChangeKind = 0
	Added    ChangeKind = 1
	Deleted  ChangeKind = 2
)

// Change is one path (absolute inside the container, "/etc/passwd") that a snapshot changes.
type Change struct {
	Path string
	Kind ChangeKind
	Same bool // a folder with the owner and the mode that it had: something in it changed, or its times
}

// Snapshot is the stored record of a writable layer.
type Snapshot struct {
	Key      string
	Parent   []digest.Digest // diff IDs, bottom first
	Volatile bool
	Created  time.Time
	Labels   map[string]string
	Owners   idmap.Map // zero: the host's own

	lasting bool // asked of Prepare
}
