// Package image knows images: their names, manifests, configurations, and the ways they come and go — pull from and push to registries,
// import and export of archives, tag, remove, prune, commit. Blobs lie in engine/content, unpacked layers in engine/layer.
//
// The life of an image: Pull, Import or Create brings blobs and layers under a lease, writes one record, and drops the lease; names point to
// records; Remove takes names away, and with the last one the record; what no record needs any more is collected.
//
// It is not a registry server (internal/registry, over the same blobs) and knows nothing of containers: a caller that wants an image kept
// says so by Config.InUse. The engine's rooms, internal/docker and internal/cri may import it.
package image

import (
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"nau/internal/engine/image/remote"
)

// Image is one record with the names that point to it. Values are immutable: callers must not write into slices or maps.
type Image struct {
	ID          digest.Digest        // digest of the configuration blob
	RepoTags    []string             // familiar form, "nginx:1.25", "10.0.0.1:5000/app:v1"; sorted
	RepoDigests []string             // familiar form, "nginx@sha256:…"; sorted
	Config      ocispec.Image        // the parsed configuration blob
	RawConfig   []byte               // the configuration blob as stored (docker's extensions such as Healthcheck are in it)
	DiffIDs     []digest.Digest      // bottom first: the argument for layer.Store.Prepare
	Manifest    ocispec.Descriptor   // of this platform
	Target      ocispec.Descriptor   // what its names point to: an index, or Manifest
	Layers      []ocispec.Descriptor // compressed blobs, bottom first; one per DiffID
	Size        int64                // bytes of the unpacked layers' content
	Compressed  int64                // bytes of the layer blobs
	Content     int64                // bytes of all its blobs
	Total       int64                // Size and Content, and those of all that its Target names
	Beside      []digest.Digest      // images of other platforms that its Target names
	Parent      digest.Digest        // image this was built or committed from, if made here
	Created     time.Time            // when it came here (Config.Created is when it was built)
	LastTagged  time.Time
	Pinned      bool // somebody made, loaded, named or asked for it by hand: a node that needs room leaves it alone
}

// Auth is what a registry wants to see. The zero value is anonymous.
type Auth = remote.Auth

// Registries says how registry hosts are reached: mirrors, plain HTTP, extra roots.
type Registries = remote.Config

// PullOptions of one pull. Zero values are the defaults.
type PullOptions struct {
	Said     bool              // asked for by hand: what an index says about the image comes too, and the image is Pinned
	Platform *ocispec.Platform // nil = this machine's
	Auth     *Auth             // nil = Config.Credentials, then anonymous
	Progress func(Event)       // called from one goroutine at a time, must not block; nil = nobody looks
	Offline  bool              // answer from what is here, never ask the network
}

// PushOptions of one push.
type PushOptions struct {
	Auth     *Auth
	Progress func(Event)
	Platform *ocispec.Platform // nil: everything that is here
}

// Selection is told when a part of an index is pushed, as not all of it is here.
type Selection struct{ Index, Manifest ocispec.Descriptor }

// Event is one line of progress. ID is the layer's short digest as docker prints it ("" = a line about the whole pull).
type Event struct {
	ID      string
	Status  string // the Status… texts below, as docker's clients know them
	Current int64  // bytes
	Total   int64  // bytes; 0 = unknown
	Digest  digest.Digest

	Selected *Selection
}

// Status texts of a pull and push, letter for letter docker's.
const (
	StatusPulling      = "Pulling from "
	StatusUpToDate     = "Status: Image is up to date for "
	StatusNewer        = "Status: Downloaded newer image for "
	StatusPushTo       = "The push refers to repository"
	StatusPullingLayer = "Pulling fs layer"
	StatusWaiting      = "Waiting"
	StatusDownloading  = "Downloading"
	StatusVerifying    = "Verifying Checksum"
	StatusDownloaded   = "Download complete"
	StatusExtracting   = "Extracting"
	StatusPulled       = "Pull complete"
	StatusExists       = "Already exists"
	StatusRetrying     = "Retrying"
	StatusPreparing    = "Preparing"
	StatusPushing      = "Pushing"
	StatusPushed       = "Pushed"
	StatusPushExists   = "Layer already exists"
	StatusMounted      = "Mounted from"
)

// Removed is one line of docker's answer to a removal.
type Removed struct {
	ID       digest.Digest `json:"-"` // of the image that it belonged to
	Untagged string        `json:",omitempty"`
	Deleted  string        `json:",omitempty"`
}

// RemoveOptions of one removal.
type RemoveOptions struct {
	Force   bool // untag all names of an ID, and pass over stopped containers
	NoPrune bool // keep untagged parents
	Orphan  bool // an ID goes though images were made here from it: they keep their layers

	Platforms []ocispec.Platform // only what there is for these goes, whatever its names are; nil = all
}

// DiskUsage accounts for the bytes of images.
type DiskUsage struct {
	LayersSize  int64 // disk taken by unpacked layers
	BlobsSize   int64 // disk taken by blobs
	Images      []ImageUsage
	Reclaimable int64 // disk taken by images that nothing uses, blobs and layers
}

// ImageUsage of one image: Shared bytes are in layers that other images have too.
type ImageUsage struct {
	ID             digest.Digest
	Shared, Unique int64
	InUse          bool
}
