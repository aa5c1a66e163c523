package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"nau/internal/engine/content"
	"nau/internal/engine/image/remote"
)

func (q *request) getManifest() error {
	d, media, err := q.repo.resolve(q.arg)
	if q.g.cfg.Mirror != nil {
		if md, mm, merr := q.mirrorManifest(d, err == nil); merr == nil {
			d, media, err = md, mm, nil
		} else if err != nil && !errors.Is(merr, fs.ErrNotExist) {
			return merr
		}
	}
	if err != nil {
		return q.unknownManifest(err)
	}
	b, err := q.g.cfg.Content.ReadAll(d, remote.MaxManifest)
	if errors.Is(err, content.ErrNotFound) {
		return q.unknownManifest(fs.ErrNotExist)
	}
	if err != nil {
		return err
	}
	h := q.w.Header()
	h.Set("Content-Type", media)
	h.Set("Docker-Content-Digest", d.String())
	h.Set("ETag", `"`+d.String()+`"`)
	h.Set("Content-Length", strconv.Itoa(len(b)))
	if strings.Contains(q.r.Header.Get("If-None-Match"), d.String()) {
		h.Del("Content-Length")
		q.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	if q.r.Method == http.MethodHead {
		return nil
	}
	_, err = q.w.Write(b)
	return ignoreGone(err)
}

func (q *request) unknownManifest(err error) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("find manifest %s of %s: %w", q.arg, q.repo.name, err)
	}
	if !q.repo.exists() {
		return fault(http.StatusNotFound, "NAME_UNKNOWN", "repository name not known to registry", map[string]string{"name": q.repo.name})
	}
	return fault(http.StatusNotFound, "MANIFEST_UNKNOWN", "manifest unknown", map[string]string{"name": q.repo.name, "reference": q.arg})
}

// manifestParts is what the registry needs to know of any manifest.
type manifestParts struct {
	MediaType    string               `json:"mediaType"`
	ArtifactType string               `json:"artifactType"`
	Config       *ocispec.Descriptor  `json:"config"`
	Layers       []ocispec.Descriptor `json:"layers"`
	Blobs        []ocispec.Descriptor `json:"blobs"`
	Manifests    []ocispec.Descriptor `json:"manifests"`
	Subject      *ocispec.Descriptor  `json:"subject"`
	Annotations  map[string]string    `json:"annotations"`
}

// blobs lists what must be in the repository before the manifest. Layers with URLs of their own may lie elsewhere.
func (m *manifestParts) blobs() []ocispec.Descriptor {
	var all []ocispec.Descriptor
	if m.Config != nil {
		all = append(all, *m.Config)
	}
	for _, l := range append(append([]ocispec.Descriptor{}, m.Layers...), m.Blobs...) {
		if len(l.URLs) == 0 {
			all = append(all, l)
		}
	}
	return all
}

func (q *request) putManifest() error {
	b, err := io.ReadAll(io.LimitReader(q.r.Body, remote.MaxManifest+1))
	if err != nil {
		return fault(http.StatusBadRequest, "MANIFEST_INVALID", "read body", nil)
	}
	if len(b) > remote.MaxManifest {
		return fault(http.StatusRequestEntityTooLarge, "MANIFEST_INVALID", "manifest is too large", remote.MaxManifest)
	}
	var m manifestParts
	if err := json.Unmarshal(b, &m); err != nil {
		return fault(http.StatusBadRequest, "MANIFEST_INVALID", "manifest is not JSON: "+err.Error(), nil)
	}
	if m.Manifests != nil && (m.Layers != nil || m.Config != nil) {
		return fault(http.StatusBadRequest, "MANIFEST_INVALID", "manifest is index and image in one", nil)
	}
	media, _, _ := strings.Cut(q.r.Header.Get("Content-Type"), ";")
	if media = strings.TrimSpace(media); media == "" {
		media = m.MediaType
	}
	if media == "" {
		return fault(http.StatusBadRequest, "MANIFEST_INVALID", "no media type", nil)
	}
	if m.MediaType != "" && m.MediaType != media {
		return fault(http.StatusBadRequest, "MANIFEST_INVALID", "mediaType and Content-Type differ", map[string]string{"mediaType": m.MediaType, "contentType": media})
	}
	d := digest.FromBytes(b)
	var tags []string
	if want := digest.Digest(q.arg); want.Validate() == nil {
		if !want.Algorithm().Available() || want.Algorithm().FromBytes(b) != want {
			return fault(http.StatusBadRequest, "DIGEST_INVALID", "manifest does not have this digest", q.arg)
		}
		d = want
	} else if tagRule.MatchString(q.arg) {
		tags = []string{q.arg}
	} else {
		return fault(http.StatusBadRequest, "TAG_INVALID", "invalid tag", q.arg)
	}
	also, err := tagsOf(q.r.URL.Query()["tag"])
	if err != nil {
		return err
	}
	if err := q.checkBlobs(&m); err != nil {
		return err
	}
	if err := q.g.storeManifest(q.repo, d, media, b, &m, append(tags, also...)...); err != nil {
		return err
	}
	h := q.w.Header()
	h.Set("Location", "/v2/"+q.repo.name+"/manifests/"+d.String())
	h.Set("Docker-Content-Digest", d.String())
	for _, tag := range also {
		h.Add("OCI-Tag", tag)
	}
	if m.Subject != nil {
		h.Set("OCI-Subject", m.Subject.Digest.String())
	}
	q.w.WriteHeader(http.StatusCreated)
	return nil
}

// maxTags is how many tags one push may give; the specification wants ten at least.
const maxTags = 100

// tagsOf checks the tags that a push names beside its reference (distribution-spec after 1.1, "Pushing Manifests": ?tag=a&tag=b).
func tagsOf(tags []string) ([]string, error) {
	if len(tags) > maxTags {
		return nil, fault(http.StatusRequestURITooLong, "TAG_INVALID", fmt.Sprintf("%d tags in one push, %d are the most", len(tags), maxTags), nil)
	}
	for _, tag := range tags {
		if !tagRule.MatchString(tag) {
			return nil, fault(http.StatusBadRequest, "TAG_INVALID", "invalid tag", tag)
		}
	}
	return tags, nil
}

// checkBlobs reports everything that is missing at once.
func (q *request) checkBlobs(m *manifestParts) error {
	var missing []string
	for _, b := range m.blobs() {
		if b.Digest.Validate() != nil {
			return fault(http.StatusBadRequest, "MANIFEST_INVALID", "bad digest in manifest", string(b.Digest))
		}
		if !q.repo.hasBlob(b.Digest) || !q.g.cfg.Content.Has(b.Digest) {
			missing = append(missing, b.Digest.String())
		}
	}
	for _, c := range m.Manifests {
		if c.Digest.Validate() != nil {
			return fault(http.StatusBadRequest, "MANIFEST_INVALID", "bad digest in index", string(c.Digest))
		}
	}
	if m.Subject != nil && m.Subject.Digest.Validate() != nil {
		return fault(http.StatusBadRequest, "MANIFEST_INVALID", "bad digest of subject", string(m.Subject.Digest))
	}
	if missing != nil {
		return fault(http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN", "manifest names blobs that are not in the repository", missing)
	}
	return nil
}

// storeManifest keeps a manifest, and makes it and its blobs durable before it is acknowledged.
func (g *Registry) storeManifest(repo repository, d digest.Digest, media string, b []byte, m *manifestParts, tags ...string) error {
	lease := g.cfg.Content.Lease()
	defer lease.Release()
	lease.Hold(d)
	if err := g.cfg.Content.PutBytes(d, b); err != nil {
		return err
	}
	settle := []digest.Digest{d}
	for _, x := range m.blobs() {
		settle = append(settle, x.Digest)
	}
	if err := g.cfg.Content.Settle(settle...); err != nil {
		return err
	}
	if m.Subject != nil {
		desc := ocispec.Descriptor{MediaType: media, Digest: d, Size: int64(len(b)), ArtifactType: m.ArtifactType, Annotations: m.Annotations}
		if desc.ArtifactType == "" && m.Config != nil {
			desc.ArtifactType = m.Config.MediaType
		}
		if err := repo.addReferrer(m.Subject.Digest, desc); err != nil {
			return err
		}
	}
	if err := repo.put("_manifests", content.PinName(d), []byte(media)); err != nil {
		return err
	}
	for _, tag := range tags {
		if err := repo.setTag(tag, d); err != nil {
			return err
		}
	}
	return nil
}

func (q *request) deleteManifest() error {
	if !q.g.cfg.Deletes {
		return fault(http.StatusMethodNotAllowed, "UNSUPPORTED", "deletes are not enabled", nil)
	}
	d, media, err := q.repo.resolve(q.arg)
	if err != nil {
		return q.unknownManifest(err)
	}
	if digest.Digest(q.arg).Validate() != nil { // a tag alone
		if err := q.repo.drop("_tags", "tag-"+q.arg); err != nil {
			return err
		}
		q.w.WriteHeader(http.StatusAccepted)
		return nil
	}
	_ = media
	tags, err := q.repo.list("_tags", "tag-")
	if err != nil {
		return err
	}
	for _, t := range tags {
		if b, err := q.repo.get("_tags", "tag-"+t); err == nil && digest.Digest(b) == d {
			if err := q.repo.drop("_tags", "tag-"+t); err != nil {
				return err
			}
		}
	}
	if b, err := q.g.cfg.Content.ReadAll(d, remote.MaxManifest); err == nil {
		var m manifestParts
		if json.Unmarshal(b, &m) == nil && m.Subject != nil && m.Subject.Digest.Validate() == nil {
			if err := q.repo.drop("_referrers/of-"+content.PinName(m.Subject.Digest), content.PinName(d)); err != nil {
				return err
			}
		}
	}
	if err := q.repo.drop("_manifests", content.PinName(d)); err != nil {
		return err
	}
	q.w.WriteHeader(http.StatusAccepted)
	return nil
}

func (q *request) listReferrers() error {
	d, err := digestArg(q.arg)
	if err != nil {
		return err
	}
	names, err := q.repo.list("_referrers/of-"+content.PinName(d), "")
	if err != nil {
		return err
	}
	index := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{}}
	index.SchemaVersion = 2
	want := q.r.URL.Query().Get("artifactType")
	for _, n := range names {
		b, err := q.repo.get("_referrers/of-"+content.PinName(d), n)
		if err != nil {
			continue // deleted meanwhile
		}
		var desc ocispec.Descriptor
		if json.Unmarshal(b, &desc) != nil || want != "" && desc.ArtifactType != want {
			continue
		}
		index.Manifests = append(index.Manifests, desc)
	}
	if want != "" {
		q.w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	q.w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
	return ignoreGone(json.NewEncoder(q.w).Encode(index))
}
