package build

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// Docker's classic builder, whose clients read what it prints, differs from the solver by itself: every instruction makes an image, also one that
// changes the configuration only, and finds it again by the image that it continues; every stage up to the target is built; ARG before the first
// FROM counts as a step; and an image's history says the command that would make each step in a shell.

// classicText words an instruction for the history. cfg is the configuration after it; a COPY's has a %s where the sources' digest goes.
func classicText(c instructions.Command, step *Step, cfg ImageConfig, original *instructions.ArgCommand) string {
	shell := "/bin/sh -c"
	if len(cfg.Shell) > 0 {
		shell = strings.Join(cfg.Shell, " ")
	}
	note := shell + " #(nop)  "
	switch c := c.(type) {
	case *instructions.RunCommand:
		return strings.TrimPrefix(step.History, "RUN ")
	case *instructions.WorkdirCommand:
		return shell + " #(nop) " + step.History
	case *instructions.CopyCommand, *instructions.AddCommand:
		line := "COPY "
		if step.Copy.Add {
			line = "ADD "
		}
		if v := step.Copy.Chown; v != "" {
			line += "--chown=" + v + " "
		}
		if v := step.Copy.Chmod; v != "" {
			line += "--chmod=" + v + " "
		}
		return strings.ReplaceAll(shell+" #(nop) "+line, "%", "%%") + "%s" + strings.ReplaceAll(" in "+step.Copy.Dest+" ", "%", "%%")
	case *instructions.ArgCommand:
		var all []string
		for _, a := range original.Args {
			if a.Value != nil {
				all = append(all, a.Key+"="+*a.Value)
			} else {
				all = append(all, a.Key)
			}
		}
		return note + "ARG " + strings.Join(all, " ")
	case *instructions.ExposeCommand:
		return note + "EXPOSE " + strings.Join(c.Ports, " ")
	case *instructions.VolumeCommand:
		return note + fmt.Sprintf("VOLUME %v", c.Volumes)
	case *instructions.ShellCommand:
		return note + fmt.Sprintf("SHELL %v", c.Shell)
	case *instructions.CmdCommand:
		return note + fmt.Sprintf("CMD %q", cfg.Cmd)
	case *instructions.EntrypointCommand:
		return note + fmt.Sprintf("ENTRYPOINT %q", cfg.Entrypoint)
	case *instructions.HealthCheckCommand:
		return note + fmt.Sprintf("HEALTHCHECK %+v", cfg.Healthcheck)
	case *instructions.OnbuildCommand:
		return note + "ONBUILD " + c.Expression
	}
	return note + step.History
}

// digested puts the digest of a COPY's sources into its history.
func (c *Copy) digested(text string, sum []byte, t *tree) string {
	kind := "multi"
	if len(c.Sources)+len(c.Inline) == 1 {
		kind = "file"
		if len(c.Sources) == 1 {
			if st, err := statIn(t.root, c.Sources[0]); err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
				kind = "dir"
			}
		}
	}
	return fmt.Sprintf(text, kind+":"+hex.EncodeToString(sum))
}

// noted notes a step that changes the configuration only; the classic builder makes an image of it, or finds the one it made.
func (r *solving) noted(i int, st *state, step Step) (hit bool, err error) {
	if !r.req.Classic {
		st.meta(r, step)
		return false, nil
	}
	key := keyOf("note", st.exact, step.History, step.Config)
	unlock, err := r.b.cache.lock(r.ctx, key)
	if err != nil {
		return false, err
	}
	defer unlock()
	var rec cached
	if !r.req.NoCache && !step.fresh {
		rec, hit = r.b.cache.get(key, r.work)
	}
	if !hit {
		if err := r.noted_(i, st, step); err != nil {
			return false, err
		}
		rec.Created = r.clock()
	}
	st.created = rec.Created
	st.meta(r, step)
	if hit && r.found(st, rec) {
		return true, nil
	}
	img, err := r.materialise(st)
	if err != nil {
		return false, err
	}
	rec.Image = img.ID
	return hit, r.b.cache.put(key, rec)
}

// found moves the state on to the image that a record has, if it is of exactly this state.
func (r *solving) found(st *state, rec cached) bool {
	img, err := r.b.cfg.Images.Get(rec.Image.String())
	if err != nil || !bytes.Equal(img.RawConfig, r.encode(st, st.created)) {
		return false
	}
	st.exact, st.parent = img.ID, img.ID
	return true
}

// clock is the time of what is made now.
func (r *solving) clock() time.Time {
	if r.epoch != nil {
		return *r.epoch
	}
	return time.Now().UTC()
}

// entry is a line of the history.
func (r *solving) entry(step Step, created time.Time, empty bool) ocispec.History {
	h := ocispec.History{Created: r.date(created), CreatedBy: step.History, Comment: historyComment, EmptyLayer: empty}
	if r.req.Classic {
		h.Comment = ""
	}
	return h
}

// opening tells of the ARG instructions before the first FROM, which the classic builder counts.
func (r *solving) opening() {
	for n, text := range r.plan.Opening {
		r.emit(Event{Kind: StepBegins, Stage: -1, Number: n + 1, Total: r.plan.Total, Text: text})
	}
}
