package build

import (
	"context"
	"errors"
	"strings"

	"github.com/opencontainers/go-digest"

	"nau/internal/engine/record"
)

// Docker's classic builder has a container for every step that is not COPY or ADD: RUN's has run, the others are made and never started. A step that
// did well loses its container, unless all are to be kept; the one of a step that failed stays, to be looked into, unless none is.

// Keeping is what becomes of the steps' containers.
type Keeping struct {
	All bool // also of steps that did well
	// Keep shows a container to whoever asked for the build. One that has run is the engine's already, below the builder's own origin; of any other there
	// is nothing but the name that was told.
	Keep func(ctx context.Context, k Kept) error
}

// Kept is a container that stays.
type Kept struct {
	ID     string
	Ran    bool
	Image  digest.Digest // that it is over
	Config ImageConfig   // of the step
	Args   []string
}

// keeps tells whether the container of a step that ended with err stays.
func (r *solving) keeps(err error) bool {
	k := r.req.Keeping
	return r.req.Classic && k != nil && k.Keep != nil && (k.All || err != nil) && r.ctx.Err() == nil
}

// settle keeps the container of a RUN that ended with err, or removes it.
func (r *solving) settle(i int, k Kept, err error) error {
	ctx := context.WithoutCancel(r.ctx)
	if r.keeps(err) {
		if kerr := r.req.Keeping.Keep(ctx, k); kerr == nil {
			return err
		} else if err == nil {
			err = kerr
		}
	}
	if rerr := r.b.cfg.Containers.Remove(ctx, k.ID); rerr != nil {
		return errors.Join(err, rerr)
	}
	r.emit(Event{Kind: StepCleared, Stage: i, ID: k.ID})
	return err
}

// noted_ tells of the container of a step that runs nothing: it is there only if it is kept, and a name else.
func (r *solving) noted_(i int, st *state, step Step) error {
	k := Kept{ID: record.NewID(), Config: step.Config, Args: classicArgs(st.config.Shell, step.History)}
	r.emit(Event{Kind: StepRuns, Stage: i, ID: k.ID})
	if !r.keeps(nil) {
		r.emit(Event{Kind: StepCleared, Stage: i, ID: k.ID})
		return nil
	}
	img, err := r.materialise(st)
	if err != nil {
		return err
	}
	k.Image = img.ID
	return r.req.Keeping.Keep(r.ctx, k)
}

// classicArgs takes a step's history apart into the arguments of its container.
func classicArgs(shell []string, history string) []string {
	if len(shell) == 0 {
		shell = []string{"/bin/sh", "-c"}
	}
	rest := strings.TrimPrefix(history, strings.Join(shell, " ")+" ")
	args := append([]string{}, shell...)
	if said, ok := strings.CutPrefix(rest, "#(nop)  "); ok {
		return append(args, "#(nop) ", said)
	}
	return append(args, rest)
}
