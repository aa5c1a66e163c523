package buildkit

import (
	"errors"
	"fmt"
	"regexp"
	"testing"

	"google.golang.org/grpc/status"

	"nau/internal/docker/buildkit/wire"
	"nau/internal/engine/build"
)

// Errors as Docker Engine 29 words them: the place is shown by the client, from the lines that go with them.
func TestErrors(t *testing.T) {
	at := func(err error) error { return &build.StepError{Text: "COPY a /", From: 2, To: 3, Err: err} }
	for _, c := range []struct {
		err       error
		want      string
		step      string
		from, end int32
	}{
		{at(&build.MissingError{Name: "a/b"}), `^failed to compute cache key: failed to calculate checksum of ref \w{25}::\w{25}: "/a/b": not found$`,
			`^failed to calculate checksum of ref \w{25}::\w{25}: "/a/b": not found$`, 2, 3},
		{at(&build.RunError{Args: []string{"/bin/sh", "-c", "false"}, Code: 1}), `^process "/bin/sh -c false" did not complete successfully: exit code: 1$`, "", 2, 3},
		{fmt.Errorf("%w: %w", build.ErrDockerfile, at(errors.New("base name ($X) should not be blank"))), `^base name \(\$X\) should not be blank$`, "", 2, 3},
		{fmt.Errorf("%w: %w", build.ErrDockerfile, at(errors.New(`parse stage name "B": bad`))), `^failed to parse stage name "B": bad$`, "", 2, 3},
		{fmt.Errorf("target stage \"x\" could not be found: %w", build.ErrDockerfile), `^target stage "x" could not be found$`, "", 0, 0},
		{build.Check([]byte("FROM a\nFOO b\n")), `^dockerfile parse error on line 2: unknown instruction: FOO`, "", 2, 2},
		{errors.New("other"), "^other$", "", 0, 0},
	} {
		err := located(c.err, &wire.SourceInfo{Filename: "Dockerfile"})
		if !regexp.MustCompile(c.want).MatchString(err.Error()) {
			t.Errorf("%q, want %s", err, c.want)
		}
		if c.step != "" && !regexp.MustCompile(c.step).MatchString(ofStep(c.err)) {
			t.Errorf("below the step: %q, want %s", ofStep(c.err), c.step)
		}
		var placed *sourceError
		if errors.As(err, &placed) != (c.from > 0) {
			t.Errorf("%q has a place: %v", err, c.from == 0)
		} else if placed != nil && (placed.source.Ranges[0].Start.Line != c.from || placed.source.Ranges[0].End.Line != c.end || len(status.Convert(err).Details()) != 1) {
			t.Errorf("%q is at %v", err, placed.source.Ranges)
		}
	}
}
