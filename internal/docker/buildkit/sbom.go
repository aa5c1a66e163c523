package buildkit

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"nau/internal/engine/build"
	"nau/internal/engine/image"
)

// Where a scanner finds what it scans, and puts what it has to say. Source: BuildKit's documentation, "SBOM scanning protocol".
const (
	scanSource      = "/run/src/core/sbom"
	scanDestination = "/run/out"
	scanned         = "nau-scanned" // the context that is the result
	maxScan         = 64 << 20      // bytes of all that a scanner says
)

// parseSBOM reads the attribute attest:sbom: the image that scans; "" = none is wanted.
func parseSBOM(v string) (generator string, err error) {
	fields, err := csv.NewReader(strings.NewReader(v + "\n")).Read()
	if err != nil && v != "" {
		return "", err
	}
	for _, f := range fields {
		k, v, _ := strings.Cut(f, "=")
		switch k {
		case "type", "":
		case "generator":
			generator = v
		case "disabled":
			if v == "true" {
				return "", nil
			}
		default:
			return "", status.Errorf(codes.Unimplemented, "attest:sbom: %s is not served by this builder: generator is", f)
		}
	}
	if generator == "" {
		return "", status.Error(codes.Unimplemented, "attest:sbom: an SBOM needs a scanner image: name one with --sbom=generator=IMAGE, or build without --sbom and scan the image")
	}
	return generator, nil
}

// scan is what a scanner says of a result.
type scan struct {
	kind      string
	predicate json.RawMessage
}

// scannerFile is the Dockerfile that runs a scanner's program over the result.
func scannerFile(generator string, program []string) ([]byte, error) {
	args, err := json.Marshal(program)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "FROM %s\nCOPY <<EOF %s/.scan\nEOF\nENV BUILDKIT_SCAN_SOURCE=%s BUILDKIT_SCAN_DESTINATION=%s\nRUN --mount=type=bind,from=%s,target=%s %s\n",
		generator, scanDestination, scanSource, scanDestination, scanned, scanSource, args), nil
}

// scan runs the scanner over a result.
func (f *frontend) scan(r *result) error {
	generator := f.o.Scanner
	for _, k := range []string{"BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"} {
		if v := f.o.Args[k]; v != nil && *v != "" && *v != "false" {
			return fmt.Errorf("%s: %w: only the result is scanned", k, build.ErrUnsupported)
		}
	}
	if strings.ContainsAny(generator, " \t\r\n\\$") {
		return fmt.Errorf("%w: %q is no name of an image", build.ErrDockerfile, generator)
	}
	c, err := f.s.clientOf(f.j, f.session)
	if err != nil {
		return err
	}
	st := f.t.begin("[" + strings.TrimSpace(r.platform+" sbom") + "] scan with " + full(generator))
	err = f.runScanner(r, build.Request{Ignore: []byte{}, Fetch: func(context.Context, []string) (string, error) { return f.folder("empty") }, Auth: c.credentials(f.j.ctx), Pull: f.o.Pull}, generator)
	st.end(err)
	if err != nil {
		return fmt.Errorf("scan with %s: %w", generator, err)
	}
	return nil
}

func (f *frontend) runScanner(r *result, req build.Request, generator string) error {
	req.Inline = []byte("FROM " + generator)
	base, err := f.s.cfg.Builder.Solve(f.j.ctx, req)
	if err != nil {
		return err
	}
	var config ocispec.Image
	err = json.Unmarshal(base.Config(), &config)
	if cerr := base.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	program := append(config.Config.Entrypoint, config.Config.Cmd...)
	if len(program) == 0 {
		return fmt.Errorf("%w: the image has no program to run", build.ErrDockerfile)
	}
	if req.Inline, err = scannerFile(generator, program); err != nil {
		return err
	}
	req.Contexts = map[string]build.Named{scanned: {Image: r.img.ID.String()}}
	res, err := f.s.cfg.Builder.Solve(f.j.ctx, req)
	if err != nil {
		return err
	}
	dir, err := res.Folder()
	if err == nil {
		r.scans, err = readScans(dir)
	}
	if cerr := res.Close(); err == nil {
		err = cerr
	}
	return err
}

// readScans reads what a scanner said: statements in files whose names end in .json.
func readScans(dir string) (out []scan, err error) {
	list, err := build.ListBelow(dir, scanDestination)
	if err != nil {
		return nil, err
	}
	left := int64(maxScan)
	for _, e := range list {
		if !e.Mode.IsRegular() || !strings.HasSuffix(e.Name, ".json") {
			continue
		}
		b, err := readBelow(dir, scanDestination+"/"+e.Name, left)
		if err != nil {
			return nil, err
		}
		left -= int64(len(b))
		var st struct {
			PredicateType string          `json:"predicateType"`
			Predicate     json.RawMessage `json:"predicate"`
		}
		if err := json.Unmarshal(b, &st); err != nil || st.PredicateType == "" || len(st.Predicate) == 0 {
			return nil, fmt.Errorf("%w: %s is no statement: it needs a predicateType and a predicate", build.ErrContext, e.Name)
		}
		out = append(out, scan{st.PredicateType, st.Predicate})
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: the scanner left no statement in %s", build.ErrContext, scanDestination)
	}
	return out, nil
}

func readBelow(dir, name string, limit int64) ([]byte, error) {
	f, err := build.OpenBelow(dir, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%w: the scanner says more than %d bytes", build.ErrContext, maxScan)
	}
	return b, err
}

// statement says what a scanner said about an image, under its names.
func (s scan) statement(img *image.Image, platform string, names []string) (image.Statement, error) {
	return statement(s.kind, s.predicate, img, platform, names)
}
