package buildkit

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/session/filesync"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tonistiigi/fsutil"
	fstypes "github.com/tonistiigi/fsutil/types"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"nau/internal/docker/buildkit/wire"
	"nau/internal/engine/image"
)

// exporter is one -o of a build.
type exporter struct {
	id    int // by which the client knows where it goes
	kind  string
	attrs map[string]string
}

func exportersOf(req *wire.ControlSolveRequest) (out []exporter) {
	for i, e := range req.Exporters {
		out = append(out, exporter{i, e.Type, e.Attrs})
	}
	if len(out) == 0 && req.Exporter != "" {
		out = append(out, exporter{0, req.Exporter, req.ExporterAttrs})
	}
	return out
}

// known are the attributes of exporters that are carried out, and the only values that some may have.
var known = map[string][]string{"name": nil, "push": nil, "registry.insecure": {"false", ""}, "push-by-digest": {"false", ""}, "unpack": nil, "prefer-image-digest": nil, "store": {"true", ""}, "dangling-name-prefix": {""},
	"danglingnameprefix": {""}, "name-canonical": {"false", ""}, "oci-mediatypes": {"true", ""}, "compression": {"gzip", ""}, "force-compression": nil, "compression-level": {""},
	"rewrite-timestamp": {"true", ""}, "context": nil, "tar": nil, "dest": nil, "load": {"true"}, "platform-split": nil, "mode": {"copy", ""}, "source-date-epoch": nil, "attestation-inline": nil,
	"attestation-prefix": nil, "buildinfo": nil, "buildinfo-attrs": nil, "oci-artifact": {"false", ""}, "prefer-nondist-layers": {"false", ""}}

// check refuses what is not carried out, before anything is built.
func (e exporter) check() error {
	if !slices.Contains([]string{"moby", "image", "docker", "oci", "local", "tar"}, e.kind) {
		return fmt.Errorf("exporter %q could not be found", e.kind)
	}
	for _, k := range slices.Sorted(maps.Keys(e.attrs)) {
		if strings.HasPrefix(k, "annotation") {
			continue
		}
		if k == "attestation-prefix" && strings.ContainsAny(e.attrs[k], "/\x00") {
			return status.Errorf(codes.InvalidArgument, "attestation-prefix %q: it is the beginning of a file's name, without folders", e.attrs[k])
		}
		values, ok := known[k]
		if !ok || values != nil && !slices.Contains(values, e.attrs[k]) {
			return status.Errorf(codes.Unimplemented, "exporter %s: %s=%s is not served by this builder", e.kind, k, e.attrs[k])
		}
	}
	return nil
}

func (e exporter) flag(name string, otherwise bool) bool {
	v, err := strconv.ParseBool(e.attrs[name])
	if err != nil {
		return otherwise
	}
	return v
}

// names are the full names that the result gets.
func (e exporter) names() (out []string, err error) {
	for n := range strings.SplitSeq(e.attrs["name"], ",") {
		if n == "" {
			continue
		}
		named, err := reference.ParseNormalizedNamed(n)
		if err != nil {
			return nil, status.Errorf(codes.InvalidArgument, "read name %q: %v", n, err)
		}
		out = append(out, reference.TagNameOnly(named).String())
	}
	return out, nil
}

// annotations of the manifests (index = false) or of the index, as annotation.KEY, annotation-manifest.KEY and annotation-index.KEY have them.
func (e exporter) annotations(index bool) map[string]string {
	out := map[string]string{}
	for k, v := range e.attrs {
		kind, key, ok := strings.Cut(k, ".")
		if kind, _, _ = strings.Cut(kind, "["); !ok {
			continue
		}
		if !index && (kind == "annotation" || kind == "annotation-manifest") || index && kind == "annotation-index" {
			out[key] = v
		}
	}
	return out
}

// export writes results where the client wants them.
func (s *Server) export(j *job, results []*result, list []exporter, caches []cacheExport) (*wire.ControlSolveResponse, error) {
	out := &wire.ControlSolveResponse{ExporterResponse: map[string]string{}}
	if len(results) == 0 {
		return out, nil
	}
	t := newTeller(j, "")
	if inline(caches) || results[0].inline {
		for _, r := range results {
			img, err := r.res.WithCache()
			if err != nil {
				return nil, err
			}
			r.img = img
		}
	}
	for _, e := range list {
		var err error
		switch e.kind {
		case "moby", "image":
			err = s.exportImage(j, t, results, e, out.ExporterResponse)
		case "docker", "oci":
			err = s.exportArchive(j, t, results, e, out.ExporterResponse)
		default:
			err = s.exportFiles(j, t, results, e)
		}
		if err != nil {
			return nil, err
		}
	}
	for _, c := range caches {
		if err := s.exportCache(j, t, results, c, out.ExporterResponse); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// made is what an image exporter made: one image, or an index of several.
type made struct {
	images []*image.Image
	target ocispec.Descriptor
}

// assemble makes the image or index that is exported, under names; statements are about subjectNames.
func (s *Server) assemble(j *job, results []*result, e exporter, names, subjectNames []string) (m made, err error) {
	notes := e.annotations(false)
	for _, r := range results {
		img := r.img
		if len(notes) > 0 {
			if img, err = r.res.Annotated(notes); err != nil {
				return m, err
			}
		}
		m.images = append(m.images, img)
	}
	g := image.Gathering{Images: m.images, Index: len(results) > 1 || len(e.annotations(true)) > 0, Annotations: e.annotations(true)}
	if attested(results, e) {
		g.Index = true
		for i, r := range results {
			said, err := r.statements(m.images[i], subjectNames, e)
			if err != nil {
				return m, err
			}
			g.Statements = append(g.Statements, said)
		}
	}
	m.target, err = s.cfg.Images.Gather(j.ctx, g, names)
	return m, err
}

// attested tells whether statements about the results go with what an exporter makes.
func attested(results []*result, e exporter) bool {
	return slices.ContainsFunc(results, func(r *result) bool { return len(r.scans) > 0 || r.proven(e) })
}

// proven tells whether a provenance goes with what an exporter makes. What clients ask for by themselves goes with what leaves the engine and has a
// place for it: pushed images and OCI archives. An image that stays would be another one, with the time of day in it, each time that it is built,
// and one without a name would not be found by what the client then takes for its ID.
func (r *result) proven(e exporter) bool {
	return r.facts != nil && (!r.facts.asked.inline || e.kind == "oci" || e.flag("push", false))
}

// statements are what is said about a result's image.
func (r *result) statements(img *image.Image, names []string, e exporter) (out []image.Statement, err error) {
	for _, s := range r.scans {
		st, err := s.statement(img, r.platform, names)
		if err != nil {
			return nil, err
		}
		out = append(out, st)
	}
	if !r.proven(e) {
		return out, nil
	}
	st, err := r.facts.statement(img, r.platform, names)
	return append(out, st), err
}

// told tells of what was made.
func (m made) told(st *step) {
	kind := "manifest "
	if m.target.MediaType == ocispec.MediaTypeImageIndex {
		kind = "manifest list "
	}
	st.whole("exporting " + kind + m.target.Digest.String())
}

// describe tells the client what was exported. Source: the exporter responses that buildx writes to --metadata-file and --iidfile.
func (m made) describe(names []string, out map[string]string) error {
	out["containerimage.digest"] = m.target.Digest.String()
	desc, err := json.Marshal(m.target)
	if err != nil {
		return err
	}
	out["containerimage.descriptor"] = base64.StdEncoding.EncodeToString(desc)
	if len(m.images) == 1 {
		out["containerimage.config.digest"] = m.images[0].ID.String()
	}
	if len(names) > 0 {
		out["image.name"] = strings.Join(names, ",")
	}
	return nil
}

func (s *Server) exportImage(j *job, t *teller, results []*result, e exporter, out map[string]string) (err error) {
	names, err := e.names()
	if err != nil {
		return err
	}
	st := t.begin("exporting to image")
	defer func() { st.end(err) }()
	st.whole("exporting layers")
	m, err := s.assemble(j, results, e, names, names)
	if err != nil {
		return err
	}
	m.told(st)
	if len(m.images) == 1 {
		st.whole("writing image " + m.images[0].ID.String())
	}
	for _, n := range names {
		st.whole("naming to " + n)
	}
	if e.flag("push", false) {
		if len(names) == 0 {
			return status.Error(codes.InvalidArgument, "push needs a name: build with --tag")
		}
		for _, n := range names {
			if err := s.push(j, st, n); err != nil {
				return err
			}
		}
	}
	if s.cfg.Built != nil {
		for _, img := range m.images {
			s.cfg.Built(img.ID.String(), names)
		}
	}
	return m.describe(names, out)
}

// push sends a name to its registry.
func (s *Server) push(j *job, st *step, name string) error {
	c, err := s.client(j.ctx, j.req.Session)
	if err != nil {
		return err
	}
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return err
	}
	auth, err := c.credentials(j.ctx)(reference.Domain(named))
	if err != nil {
		return err
	}
	id := "pushing " + name
	st.part(id, 0, 0, false)
	if _, err := s.cfg.Images.Push(j.ctx, name, image.PushOptions{Auth: auth}); err != nil {
		return fmt.Errorf("failed to push %s: %w", name, err)
	}
	st.part(id, 0, 0, true)
	return nil
}

// exportArchive sends an OCI layout, which is a docker-save archive too, as a stream or into a store of the client's.
func (s *Server) exportArchive(j *job, t *teller, results []*result, e exporter, out map[string]string) (err error) {
	names, err := e.names()
	if err != nil {
		return err
	}
	if e.kind == "docker" && (len(results) > 1 || attested(results, e)) {
		return status.Error(codes.InvalidArgument, "docker exporter does not currently support exporting manifest lists")
	}
	kind := map[string]string{"oci": "exporting to oci image format", "docker": "exporting to docker image format"}[e.kind]
	st := t.begin(kind)
	defer func() { st.end(err) }()
	st.whole("exporting layers")
	m, err := s.assemble(j, results, e, nil, names)
	if err != nil {
		return err
	}
	m.told(st)
	c, err := s.client(j.ctx, j.req.Session)
	if err != nil {
		return err
	}
	if err := m.describe(names, out); err != nil {
		return err
	}
	st.part("sending tarball", 0, 0, false)
	if e.flag("tar", true) {
		w, err := filesync.CopyFileWriter(j.ctx, out, e.id, c.Caller)
		if status.Code(err) == codes.AlreadyExists {
			return nil // the client has it
		}
		if err != nil {
			return fmt.Errorf("send archive: %w", err)
		}
		counted := &counter{w: w, st: st, id: "sending tarball"}
		err = s.cfg.Images.ExportAs(j.ctx, counted, m.images, m.target, names)
		if cerr := w.Close(); err == nil && status.Code(cerr) != codes.AlreadyExists {
			err = cerr
		}
		st.part("sending tarball", counted.n, 0, true)
		return err
	}
	err = c.putImages(j.ctx, "export", s.cfg.Images, m)
	st.part("sending tarball", 0, 0, true)
	return err
}

// counter tells how much was written.
type counter struct {
	w    io.Writer
	n    int64
	told time.Time
	st   *step
	id   string
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	if c.n += int64(n); time.Since(c.told) >= progressEvery {
		c.told = time.Now()
		c.st.part(c.id, c.n, 0, false)
	}
	return n, err
}

// exportFiles sends the result's files, each platform's below a folder of its own when there are several.
func (s *Server) exportFiles(j *job, t *teller, results []*result, e exporter) (err error) {
	name, part := "exporting to client directory", "copying files"
	if e.kind == "tar" {
		name, part = "exporting to client tarball", "sending tarball"
	}
	st := t.begin(name)
	defer func() { st.end(err) }()
	fs, err := s.filesOf(j, results, e.flag("platform-split", len(results) > 1), e)
	if err != nil {
		return err
	}
	c, err := s.client(j.ctx, j.req.Session)
	if err != nil {
		return err
	}
	st.part(part, 0, 0, false)
	if e.kind == "tar" {
		w, err := filesync.CopyFileWriter(j.ctx, nil, e.id, c.Caller)
		if err != nil {
			return fmt.Errorf("send archive: %w", err)
		}
		counted := &counter{w: w, st: st, id: part}
		err = errors.Join(fsutil.WriteTar(j.ctx, fs, counted), w.Close())
		st.part(part, counted.n, 0, true)
		return err
	}
	sent := 0
	var told time.Time
	err = filesync.CopyToCaller(j.ctx, fs, e.id, c.Caller, func(n int, _ bool) {
		if sent = n; time.Since(told) >= progressEvery {
			told = time.Now()
			st.part(part, int64(n), 0, false)
		}
	})
	st.part(part, int64(sent), 0, true)
	return err
}

// filesOf are the files of results, with what is said about them.
func (s *Server) filesOf(j *job, results []*result, split bool, e exporter) (fsutil.FS, error) {
	var dirs []fsutil.Dir
	for _, r := range results {
		dir, err := r.res.Folder()
		if err != nil {
			return nil, err
		}
		fs, err := fsutil.NewFS(dir)
		if err != nil {
			return nil, err
		}
		if fs, err = s.stated(j, r, fs, e, split || len(results) == 1); err != nil {
			return nil, err
		}
		if !split {
			return fs, nil
		}
		dirs = append(dirs, fsutil.Dir{FS: fs, Stat: &fstypes.Stat{Mode: uint32(1<<31 | 0o755), Path: strings.ReplaceAll(r.platform, "/", "_")}})
	}
	return fsutil.SubDirFS(dirs)
}
