package docker

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/auxprogress"
	di "github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/storage"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"nau/internal/engine/image"
)

// credentials reads a request's X-Registry-Auth.
func credentials(header string) *image.Auth {
	if header == "" {
		return nil
	}
	b, err := base64.URLEncoding.DecodeString(header)
	if err != nil {
		if b, err = base64.RawURLEncoding.DecodeString(header); err != nil {
			return nil
		}
	}
	var a registry.AuthConfig
	if json.Unmarshal(b, &a) != nil || a.Username == "" && a.IdentityToken == "" && a.RegistryToken == "" {
		return nil
	}
	return authOf(a)
}

// progress writes what happens, a JSON document a line, as the CLI draws it. Nothing is written before the first document, so that an
// error can still have a status code.
type progress struct {
	w     http.ResponseWriter
	out   *http.ResponseController
	mu    sync.Mutex
	begun bool
}

// begin says that what was asked for is being done.
func (p *progress) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.begun {
		p.begun = true
		p.w.Header().Set("Content-Type", "application/json")
		p.w.WriteHeader(http.StatusOK)
	}
}

func (p *progress) put(v any) {
	p.begin()
	p.mu.Lock()
	defer p.mu.Unlock()
	var doc bytes.Buffer
	enc := json.NewEncoder(&doc)
	enc.SetEscapeHTML(false)
	if enc.Encode(v) != nil {
		return
	}
	_, _ = p.w.Write(append(bytes.TrimSuffix(doc.Bytes(), []byte("\n")), "\r\n"...)) // clients of old part documents so
	_ = p.out.Flush()
}

type line struct {
	Stream string  `json:"stream,omitempty"`
	Status string  `json:"status,omitempty"`
	Detail *detail `json:"progressDetail,omitempty"`
	ID     string  `json:"id,omitempty"`
	Aux    any     `json:"aux,omitempty"`
}

// detail is how far a layer is; it stands empty in every other document of one.
type detail struct {
	Current int64 `json:"current,omitempty"`
	Total   int64 `json:"total,omitempty"`
}

func (p *progress) event(e image.Event) {
	l := line{Status: e.Status, ID: e.ID}
	if e.ID != "" && !strings.HasPrefix(e.Status, image.StatusPulling) {
		l.Detail = &detail{}
	}
	if e.Total > 0 && e.ID != "" && (e.Status == image.StatusDownloading || e.Status == image.StatusExtracting || e.Status == image.StatusPushing) {
		l.Detail = &detail{e.Current, e.Total}
	}
	p.put(l)
}

// finish tells of an error: by status code if nothing was written yet, else as the last document.
func (p *progress) finish(err error) error {
	if err == nil {
		return nil
	}
	p.mu.Lock()
	begun := p.begun
	p.mu.Unlock()
	if !begun {
		return err
	}
	p.put(map[string]any{"errorDetail": map[string]any{"message": oneLine(err)}, "error": oneLine(err)})
	return nil
}

func newProgress(c *call) *progress {
	return &progress{w: c.w, out: http.NewResponseController(c.w)}
}

// createImage answers POST /images/create: a pull, or an import with fromSrc.
func (s *Server) createImage(c *call) error {
	if src := c.get("fromSrc"); src != "" {
		return s.importImage(c, src)
	}
	name := c.get("fromImage")
	if name == "" {
		return badRequest("either fromImage or fromSrc must be given")
	}
	named, err := readName(name, c.get("tag"))
	if err != nil {
		return err
	}
	p := newProgress(c)
	opts := image.PullOptions{Auth: credentials(c.Header.Get(registry.AuthHeader)), Progress: p.event, Said: true}
	if opts.Platform, err = asked(c.get("platform")); err != nil {
		return err
	}
	if c.get("tag") != "" || !reference.IsNameOnly(named) {
		_, err := s.pull(c, p, named, opts)
		return p.finish(err)
	}
	return p.finish(s.pullAll(c, p, named, opts)) // docker pull --all-tags
}

// pull brings one image, and tells of it.
func (s *Server) pull(c *call, p *progress, named reference.Named, opts image.PullOptions) (newer bool, err error) {
	tell := opts.Progress
	opts.Progress = func(e image.Event) {
		newer = newer || strings.HasPrefix(e.Status, image.StatusNewer)
		tell(e)
	}
	img, err := s.e.Images.Pull(c.ctx(), named.String(), opts)
	if err != nil {
		return false, pullError(named.String(), opts.Platform, err)
	}
	familiar := reference.FamiliarString(named)
	if opts.Platform != nil && !image.Suits(*opts.Platform, img) {
		p.put(line{Status: fmt.Sprintf("WARNING: image with reference %s was found but its platform (%s) does not match the specified platform (%s)",
			familiar, image.FormatPlatform(img.Config.Platform), image.FormatPlatform(*opts.Platform))})
	}
	s.imageEvent("pull", familiar, familiar)
	return newer, nil
}

// pullAll brings all tags of a repository. What they came to is told once.
func (s *Server) pullAll(c *call, p *progress, repository reference.Named, opts image.PullOptions) error {
	tags, err := s.e.Images.Tags(c.ctx(), repository.String(), opts.Auth)
	if err != nil {
		return pullError(repository.String(), opts.Platform, err)
	}
	opts.Progress = func(e image.Event) {
		if !strings.HasPrefix(e.Status, image.StatusNewer) && !strings.HasPrefix(e.Status, image.StatusUpToDate) {
			p.event(e)
		}
	}
	status := image.StatusUpToDate
	for _, t := range tags {
		named, err := readName(repository.String(), t)
		if err != nil {
			return err
		}
		newer, err := s.pull(c, p, named, opts)
		if err != nil {
			return err
		}
		if newer {
			status = image.StatusNewer
		}
	}
	p.put(line{Status: status + reference.FamiliarName(repository)})
	return nil
}

// repoDigests are an image's names by digest: those that it has, and what its tags point to.
func repoDigests(img *image.Image) []string {
	out := slices.Clone(img.RepoDigests)
	for _, t := range img.RepoTags {
		if n, err := reference.ParseNormalizedNamed(t); err == nil {
			out = append(out, reference.FamiliarName(n)+"@"+img.Target.Digest.String())
		}
	}
	slices.Sort(out)
	return append([]string{}, slices.Compact(out)...)
}

// summaryOf is one line of `docker images`.
func (s *Server) summaryOf(img *image.Image, users map[string]int64) di.Summary {
	target := img.Target
	created := img.Created
	if img.Config.Created != nil {
		created = *img.Config.Created
	}
	out := di.Summary{ID: img.ID.String(), ParentID: img.Parent.String(), Created: created.Unix(), RepoTags: append([]string{}, img.RepoTags...),
		RepoDigests: repoDigests(img), Labels: img.Config.Config.Labels, Size: img.Total, SharedSize: -1, Containers: -1, Descriptor: &target}
	if users != nil {
		out.Containers = users[img.ID.String()]
		for _, id := range img.Beside {
			out.Containers += users[id.String()]
		}
	}
	return out
}

func (s *Server) listImages(c *call) error {
	f, err := parseConditions(c.get("filters"), "before", "dangling", "label", "label!", "reference", "since", "until")
	if err != nil {
		return imageFilters(err)
	}
	if c.flag("identity") && !c.flag("manifests") && c.atLeast("1.54") {
		return badRequest("identity requires manifests=1")
	}
	if name := c.get("filter"); name != "" && !c.atLeast("1.41") {
		f["reference"] = append(f["reference"], name)
	}
	shared := map[string]int64{}
	if c.flag("shared-size") && c.atLeast("1.42") {
		use, err := s.e.Images.Usage(c.ctx())
		if err != nil {
			return err
		}
		for _, u := range use.Images {
			shared[u.ID.String()] = u.Shared
		}
	}
	dangling, err := f.boolean("dangling", false)
	if err != nil {
		return err
	}
	moment := func(name string) (time.Time, error) {
		if len(f[name]) == 0 {
			return zero, nil
		}
		img, err := s.image(f[name][0])
		if err != nil {
			return zero, err
		}
		return builtAt(img), nil
	}
	before, err := moment("before")
	if err != nil {
		return err
	}
	since, err := moment("since")
	if err != nil {
		return err
	}
	users := map[string]int64{}
	for _, r := range s.e.Containers.List() {
		users[r.Image.String()]++
	}
	parents := map[string]bool{}
	all := s.e.Images.List()
	for _, img := range all {
		parents[img.Parent.String()] = true
	}
	out := []any{}
	for _, img := range all {
		nameless := len(img.RepoTags) == 0 && len(img.RepoDigests) == 0
		if len(f["dangling"]) > 0 && dangling != (len(img.RepoTags) == 0) || nameless && parents[img.ID.String()] && !c.flag("all") {
			continue
		}
		at := builtAt(img)
		if !before.IsZero() && !at.Before(before) || !since.IsZero() && !at.After(since) || !f.until(at) || !f.labels(img.Config.Config.Labels) {
			continue
		}
		sum := s.summaryOf(img, users)
		if n, ok := shared[sum.ID]; ok {
			sum.SharedSize = n
		}
		if len(f["reference"]) > 0 {
			passes := func(n string) bool { return !f.any("reference", func(v string) bool { return refMatches(v, n) }) }
			sum.RepoTags, sum.RepoDigests = slices.DeleteFunc(sum.RepoTags, passes), slices.DeleteFunc(sum.RepoDigests, passes)
			if len(sum.RepoTags)+len(sum.RepoDigests) == 0 {
				continue
			}
		}
		if c.flag("manifests") && c.atLeast("1.47") {
			sum.Manifests = s.manifests(img)
		}
		out = append(out, sum)
	}
	return c.shaped(http.StatusOK, out, listedImage)
}

func refMatches(pattern, name string) bool {
	n, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return false
	}
	for _, full := range []string{n.String(), n.Name()} { // a pattern may have the whole name, too
		if ok, err := path.Match(pattern, full); err == nil && ok {
			return true
		}
	}
	ok, err := reference.FamiliarMatch(pattern, n)
	return err == nil && ok
}

func builtAt(img *image.Image) time.Time {
	if img.Config.Created != nil {
		return *img.Config.Created
	}
	return img.Created
}

func (s *Server) inspectImage(c *call) error {
	if c.atLeast("1.49") && c.get("platform") != "" && c.flag("manifests") {
		return badRequest("conflicting options: manifests and platform options cannot both be set")
	}
	img, err := s.imageOn(c, "1.49")
	if err != nil {
		return err
	}
	cfg := imageConfig(img)
	comment := "" // the last step's, whatever those before it said
	if h := img.Config.History; len(h) > 0 {
		comment = h[len(h)-1].Comment
	}
	doc := di.InspectResponse{ID: img.ID.String(), RepoTags: append([]string{}, img.RepoTags...), RepoDigests: repoDigests(img), Comment: comment,
		Created: stamp(builtAt(img)), Author: img.Config.Author, Config: &cfg, Architecture: img.Config.Architecture, Variant: img.Config.Variant, Os: img.Config.OS,
		OsVersion: img.Config.OSVersion, Size: img.Size + img.Content, RootFS: di.RootFS{Type: "layers"}, Metadata: di.Metadata{LastTagTime: img.LastTagged}}
	for _, d := range img.DiffIDs {
		doc.RootFS.Layers = append(doc.RootFS.Layers, d.String())
	}
	if lower, err := s.e.Layers.Lower(img.DiffIDs); err == nil && len(lower) > 0 {
		doc.GraphDriver = &storage.DriverData{Name: "overlay2", Data: map[string]string{"UpperDir": lower[0]}}
		if len(lower) > 1 {
			doc.GraphDriver.Data["LowerDir"] = strings.Join(lower[1:], ":")
		}
	}
	if c.atLeast("1.48") {
		d := img.Target
		if c.atLeast("1.49") && c.get("platform") != "" {
			d = img.Manifest
		}
		doc.Descriptor = &d
		if c.flag("manifests") {
			doc.Manifests = s.manifests(img)
		}
	}
	return c.shaped(http.StatusOK, doc, inspectedImage(img.Parent.String()))
}

func (s *Server) imageHistory(c *call) error {
	img, err := s.imageOn(c, "1.48")
	if err != nil {
		return err
	}
	out := []di.HistoryResponseItem{}
	ids := s.continued(img)
	layer := 0
	for i, h := range img.Config.History {
		item := di.HistoryResponseItem{ID: cmp.Or(ids[i+1], "<missing>"), CreatedBy: h.CreatedBy, Comment: h.Comment}
		if h.Created != nil {
			item.Created = h.Created.Unix()
		}
		if !h.EmptyLayer && layer < len(img.DiffIDs) {
			if info, ok := s.e.Layers.Has(img.DiffIDs[layer]); ok {
				item.Size = info.Size
			}
			layer++
		}
		if i == len(img.Config.History)-1 {
			item.ID, item.Tags = img.ID.String(), img.RepoTags
		}
		out = append([]di.HistoryResponseItem{item}, out...)
	}
	return c.json(http.StatusOK, out)
}

// continued finds the images that an image was built on, by how many lines their histories have.
func (s *Server) continued(img *image.Image) map[int]string {
	out := map[int]string{}
	for parent := img.Parent; parent != ""; {
		p, err := s.e.Images.Get(parent.String())
		if err != nil {
			break
		}
		out[len(p.Config.History)] = p.ID.String()
		parent = p.Parent
	}
	return out
}

func (s *Server) tagImage(c *call) error {
	img, err := s.image(c.vars["name"])
	if err != nil {
		return err
	}
	repo := c.get("repo")
	if repo == "" {
		return badRequest("invalid reference format")
	}
	named, err := readName(repo, c.get("tag"))
	if err != nil {
		return err
	}
	if _, ok := named.(reference.Digested); ok {
		return badRequest("refusing to create a tag with a digest reference")
	}
	if reference.FamiliarName(named) == string(digest.Canonical) {
		return badRequest("refusing to create an ambiguous tag using digest algorithm as name")
	}
	if err := s.e.Images.Tag(c.ctx(), c.vars["name"], reference.TagNameOnly(named).String()); err != nil {
		return err
	}
	s.imageEvent("tag", img.ID.String(), reference.FamiliarString(reference.TagNameOnly(named)))
	return c.done(http.StatusCreated)
}

func (s *Server) removeImage(c *call) error {
	name := c.vars["name"]
	if strings.TrimSpace(name) == "" {
		return badRequest("image name cannot be blank")
	}
	var err error
	opts := image.RemoveOptions{Force: c.flag("force"), NoPrune: c.flag("noprune")}
	if c.atLeast("1.50") {
		if opts.Platforms, err = platformsOf(c, "platforms"); err != nil {
			return err
		}
	}
	if len(opts.Platforms) > 0 && !opts.Force {
		return badRequest("Content will be removed from all images referencing this variant. Use —-force to force delete.")
	}
	img, err := s.image(name)
	if err != nil {
		return err
	}
	removed, err := s.e.Images.Remove(c.ctx(), name, opts)
	if err != nil {
		if users, running := s.e.Containers.ImageUsed(img.ID.String()); running && errors.Is(err, image.ErrConflict) {
			err = &image.InUseError{ID: img.ID, Users: users, Running: true} // which no force helps against: to be told first
		}
		return removalError(img, name, err, opts.Platforms)
	}
	return c.json(http.StatusOK, s.gone(removed))
}

// gone tells of what went, and words it.
func (s *Server) gone(removed []image.Removed) []di.DeleteResponse {
	out := []di.DeleteResponse{}
	for _, r := range removed {
		out = append(out, di.DeleteResponse{Deleted: r.Deleted, Untagged: r.Untagged})
		switch {
		case r.Untagged != "":
			s.imageEvent("untag", r.ID.String(), r.ID.String())
		case r.Deleted == r.ID.String():
			s.imageEvent("delete", r.Deleted, r.Deleted)
		}
	}
	return out
}

// removalError words a refusal as Docker does.
func removalError(img *image.Image, name string, err error, asked []ocispec.Platform) error {
	short := img.ID.Encoded()[:12]
	var none *image.NoPlatformError
	var used *image.InUseError
	switch {
	case errors.As(err, &none):
		return notFound("failed to delete platform %s for image %s: image with reference %s was found but does not provide any platform", image.FormatPlatform(none.Platform), img.ID, name)
	case errors.Is(err, image.ErrParent):
		return conflict("conflict: unable to delete %s (cannot be forced) - image has dependent child images", short)
	case errors.Is(err, image.ErrConflict):
		return conflict("conflict: unable to delete %s (must be forced) - image is referenced in multiple repositories", short)
	case errors.As(err, &used):
		short, who := used.ID.Encoded()[:12], used.Users[0][:min(12, len(used.Users[0]))]
		switch {
		case len(asked) > 0:
			return conflict("conflict: unable to delete platform %s of %s (cannot be forced) - container %s is using it", strings.Join(formatted(asked), ", "), name, who)
		case !strings.HasPrefix(img.ID.Encoded(), strings.TrimPrefix(name, "sha256:")):
			return conflict("conflict: unable to remove repository reference %q (must force) - container %s is using its referenced image %s", name, who, short)
		case used.Running:
			return conflict("conflict: unable to delete %s (cannot be forced) - image is being used by running container %s", short, who)
		}
		return conflict("conflict: unable to delete %s (must be forced) - image is being used by stopped container %s", short, who)
	}
	return err
}

// imageFilters adds which condition of images cannot be read.
func imageFilters(err error) error {
	var moment *badMoment
	if errors.As(err, &moment) {
		return badRequest("invalid value for 'until' filter: %v", moment)
	}
	return err
}

func (s *Server) pruneImages(c *call) error {
	f, err := parseFilters(c.get("filters"), "dangling", "label", "label!", "until")
	if err != nil {
		return imageFilters(err)
	}
	dangling, err := f.boolean("dangling", true)
	if err != nil {
		return err
	}
	removed, freed, err := s.e.Images.Prune(c.ctx(), image.PruneOptions{All: !dangling, Keep: func(img *image.Image) bool {
		return !f.labels(img.Config.Config.Labels) || !f.until(builtAt(img))
	}})
	if err != nil {
		return err
	}
	report := di.PruneReport{SpaceReclaimed: uint64(max(freed, 0)), ImagesDeleted: s.gone(removed)}
	s.hub.publish("image", "prune", "", map[string]string{"reclaimed": fmt.Sprint(report.SpaceReclaimed)}, zero)
	return c.json(http.StatusOK, report)
}

func (s *Server) pushImage(c *call) error {
	name := c.vars["name"]
	named, err := readName(name, c.get("tag"))
	if err != nil {
		return err
	}
	opts := image.PushOptions{Auth: credentials(c.Header.Get(registry.AuthHeader))}
	if opts.Platform, err = platformOf(c, "1.46"); err != nil {
		return err
	}
	p := newProgress(c)
	begun := false
	opts.Progress = func(e image.Event) {
		if e.Selected != nil {
			p.put(line{Aux: auxprogress.ManifestPushedInsteadOfIndex{ManifestPushedInsteadOfIndex: true, OriginalIndex: e.Selected.Index, SelectedManifest: e.Selected.Manifest}, Detail: &detail{}})
			return
		}
		if strings.HasPrefix(e.Status, image.StatusPushTo) { // once for all tags
			if begun {
				return
			}
			begun = true
		}
		p.event(e)
	}
	opts.Progress(image.Event{Status: image.StatusPushTo + " [" + named.Name() + "]"})
	refs, err := s.toPush(named)
	if err != nil {
		return p.finish(err)
	}
	for _, ref := range refs {
		desc, err := s.e.Images.Push(c.ctx(), ref.String(), opts)
		if err != nil {
			var none *image.NoPlatformError
			if errors.As(err, &none) {
				return p.finish(provides(reference.FamiliarString(ref), none))
			}
			return p.finish(pushError(err))
		}
		p.put(line{Aux: map[string]any{"Tag": ref.Tag(), "Digest": desc.Digest.String(), "Size": desc.Size}, Detail: &detail{}})
		s.imageEvent("push", reference.FamiliarString(ref), reference.FamiliarName(named))
	}
	return nil
}

// toPush are the names that a push is of: one with a tag, or all of a repository.
func (s *Server) toPush(named reference.Named) ([]reference.NamedTagged, error) {
	all := s.tagged(named)
	tagged, ok := named.(reference.NamedTagged)
	_, digested := named.(reference.Digested)
	switch {
	case digested:
		return nil, fail(http.StatusBadRequest, "cannot push a digest reference")
	case len(all) == 0:
		return nil, notFound("An image does not exist locally with the tag: %s", reference.FamiliarName(named))
	case !ok:
		return all, nil
	case !slices.ContainsFunc(all, func(n reference.NamedTagged) bool { return n.Tag() == tagged.Tag() }):
		return nil, notFound("tag does not exist: %s", reference.FamiliarString(tagged))
	}
	return []reference.NamedTagged{tagged}, nil
}

// tagged are the names with a tag that a repository has here.
func (s *Server) tagged(repository reference.Named) (out []reference.NamedTagged) {
	for _, img := range s.e.Images.List() {
		for _, t := range img.RepoTags {
			n, err := reference.ParseDockerRef(t)
			if tagged, ok := n.(reference.NamedTagged); err == nil && ok && n.Name() == repository.Name() {
				out = append(out, tagged)
			}
		}
	}
	slices.SortFunc(out, func(a, b reference.NamedTagged) int { return strings.Compare(a.String(), b.String()) })
	return out
}
