package build

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"nau/internal/engine/spec"
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

// classicArguments begin the history of a RUN: the arguments that have a value, declared proxies among them, without those that ENV overrules. A
// proxy that is given without a declaration is counted by nobody, and still makes a beginning.
func classicArguments(set map[string]string, env []string, given map[string]*string) string {
	var shown []string
	for _, k := range slices.Sorted(maps.Keys(set)) {
		if !slices.ContainsFunc(env, func(kv string) bool { return strings.HasPrefix(kv, k+"=") }) {
			shown = append(shown, k+"="+set[k]+" ")
		}
	}
	if len(shown) == 0 && !slices.ContainsFunc(proxyArgs, func(k string) bool { return given[k] != nil }) {
		return ""
	}
	return fmt.Sprintf("|%d %s", len(shown), strings.Join(shown, ""))
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

// volumes gives a step of the classic builder the image's volumes, as a container has them: with what the image has there, and what is written is
// forgotten.
func (m *runMounts) volumes(st *state) error {
	if !m.r.req.Classic || len(st.config.Volumes) == 0 {
		return nil
	}
	v, err := m.r.view(st.diffIDs())
	if err != nil {
		return err
	}
	t, err := openTree(v.dir)
	if err != nil {
		return err
	}
	defer t.close()
	for _, name := range slices.Sorted(maps.Keys(st.config.Volumes)) {
		name = path.Clean("/" + name)
		if slices.Contains(m.targets, name) {
			continue // --mount lies over it
		}
		if _, err := t.stat(strings.TrimPrefix(path.Clean("/"+name), "/")); errors.Is(err, unix.ENOENT) {
			m.add(spec.Mount{Type: "tmpfs", Target: name, Options: []string{"mode=755"}})
		} else if err := m.bind(&instructions.Mount{Type: instructions.MountTypeBind, Source: name, Target: name}, v); err != nil {
			return fmt.Errorf("mount volume %s: %w", name, err)
		}
	}
	return nil
}

// volumesFit refuses volumes, new with a step, where the image has a file.
func (r *solving) volumesFit(st *state, step Step) error {
	for name := range step.Config.Volumes {
		if _, had := st.config.Volumes[name]; had {
			continue
		}
		v, err := r.view(st.diffIDs())
		if err != nil {
			return err
		}
		t, err := openTree(v.dir)
		if err != nil {
			return err
		}
		is, err := t.stat(strings.TrimPrefix(path.Clean("/"+name), "/"))
		t.close()
		if err == nil && is.Mode&unix.S_IFMT != unix.S_IFDIR {
			return fmt.Errorf("cannot mount volume over existing file, file exists %s", name)
		}
	}
	return nil
}

// noted notes a step that changes the configuration only; the classic builder makes an image of it, or finds the one it made.
func (r *solving) noted(i int, st *state, step Step) (hit bool, err error) {
	if !r.req.Classic {
		st.meta(r, step)
		return false, nil
	}
	if err := r.volumesFit(st, step); err != nil {
		return false, err
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
