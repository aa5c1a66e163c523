package buildkit

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"nau/internal/docker/buildkit/wire"
	"nau/internal/engine/build"
	"nau/internal/engine/image"
)

// job is one build under way, from Solve to its answer, and its story for a little longer.
type job struct {
	ref     string
	req     *wire.ControlSolveRequest
	ctx     context.Context // of Solve
	began   time.Time
	story   story
	returns chan *wire.ReturnRequest // what the client made of the results

	posted io.Reader // the context, if it came with the request
	auth   func(host string) (*image.Auth, error)
	cancel func() // nil: whoever asked for the build ends it

	mu      sync.Mutex
	attrs   map[string]string // of the front end, as it was last asked
	results map[string]*result
	proven  []proof
	folders []func() // to undo when the job ends
	ended   bool
}

func newJob(ctx context.Context, req *wire.ControlSolveRequest) *job {
	return &job{ref: req.Ref, req: req, ctx: ctx, began: time.Now(), returns: make(chan *wire.ReturnRequest, 1), results: map[string]*result{}}
}

// result is what a solve came to for one platform.
type result struct {
	id       string
	platform string
	res      *build.Result // nil: files in dir alone, as def says
	dir      string
	def      *wire.Definition
	img      *image.Image
	facts    *facts // nil: no provenance was asked for
	scans    []scan // what a scanner says of it
	inline   bool   // the image is to carry the cache's keys
}

func (r *result) close() error {
	if r.res == nil {
		return nil
	}
	return r.res.Close()
}

// keep holds a result until the job ends; one that comes later is given back at once.
func (j *job) keep(r *result) error {
	j.mu.Lock()
	ended := j.ended
	if !ended {
		j.results[r.id] = r
	}
	j.mu.Unlock()
	if ended {
		return errors.Join(j.over(), r.close())
	}
	return nil
}

// asks notes what the front end is asked.
func (j *job) asks(attrs map[string]string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.attrs = attrs
}

func (j *job) attributes() map[string]string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.attrs
}

// proof is a provenance that the history remembers.
type proof struct {
	kind      string
	predicate any
}

// proofs are the provenances of the job's results, with all that is known, as they are when the results are made.
func (j *job) proofs() []proof {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.proven
}

// proves notes a provenance.
func (j *job) proves(f *facts) {
	if f == nil {
		return
	}
	all := *f
	all.asked.max = true
	kind, predicate := all.predicate()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.proven = append(j.proven, proof{kind, predicate})
}

func (j *job) over() error { return status.Errorf(codes.Canceled, "build %s has ended", j.ref) }

func (j *job) result(id string) (*result, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if r := j.results[id]; r != nil {
		return r, nil
	}
	if j.ended {
		return nil, j.over()
	}
	return nil, status.Errorf(codes.NotFound, "no such result in this build: %s", id)
}

// later is called when the job ends.
func (j *job) later(f func()) {
	j.mu.Lock()
	ended := j.ended
	if !ended {
		j.folders = append(j.folders, f)
	}
	j.mu.Unlock()
	if ended {
		f()
	}
}

// close gives back what the results hold.
func (j *job) close() (err error) {
	j.mu.Lock()
	j.ended = true
	results, undo := j.results, j.folders
	j.results, j.folders = nil, nil
	j.mu.Unlock()
	for _, r := range results {
		if cerr := r.close(); err == nil {
			err = cerr
		}
	}
	for _, f := range undo {
		f()
	}
	return err
}

// jobs finds builds by the reference that the client chose. A client asks for a build's status or results beside starting it, so that whoever looks
// for one waits for it.
type jobs struct {
	mu      sync.Mutex
	byRef   map[string]*job
	changed chan struct{} // closed and replaced when a job is added
}

// remembered is how long the story of an ended build can be asked for.
const remembered = time.Minute

func (s *jobs) add(j *job) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byRef[j.ref] != nil {
		return status.Errorf(codes.AlreadyExists, "build %s exists already", j.ref)
	}
	s.byRef[j.ref] = j
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

func (s *jobs) find(ctx context.Context, ref string) (*job, error) {
	for {
		s.mu.Lock()
		j, changed := s.byRef[ref], s.changed
		s.mu.Unlock()
		if j != nil {
			return j, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, status.Errorf(codes.NotFound, "no such build: %s", ref)
		}
	}
}

// forget drops an ended job after a while.
func (s *jobs) forget(j *job) {
	time.AfterFunc(remembered, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.byRef, j.ref)
	})
}

func (s *jobs) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range s.byRef {
		j.story.end()
	}
}

// story is what happened in a build so far; any number of readers follow it.
type story struct {
	mu    sync.Mutex
	told  []*wire.StatusResponse
	ended bool
	more  chan struct{} // closed and replaced when something was told
}

func (s *story) tell(r *wire.StatusResponse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.told = append(s.told, r)
	s.wake()
}

// all is what was told so far.
func (s *story) all() []*wire.StatusResponse {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.told)
}

func (s *story) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.wake()
}

func (s *story) wake() {
	if s.more != nil {
		close(s.more)
		s.more = nil
	}
}

// follow gives everything told to f, from the beginning to the end of the build.
func (s *story) follow(ctx context.Context, f func(*wire.StatusResponse) error) error {
	for at := 0; ; {
		s.mu.Lock()
		news, ended := s.told[at:], s.ended
		if s.more == nil {
			s.more = make(chan struct{})
		}
		more := s.more
		s.mu.Unlock()
		for _, r := range news {
			if err := f(r); err != nil {
				return err
			}
		}
		if at += len(news); len(news) > 0 {
			continue
		}
		if ended {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
