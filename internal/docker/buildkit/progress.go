package buildkit

import (
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/types/known/timestamppb"

	"nau/internal/docker/buildkit/wire"
	"nau/internal/engine/build"
	"nau/internal/engine/image"
)

// maxLog bounds what is told of one step's output.
const maxLog = 2 << 20

// teller tells the builder's events as BuildKit's vertices: steps with a beginning, an end, and what happens in them.
type teller struct {
	job    *job
	prefix string // of a platform among several

	mu     sync.Mutex
	at     map[int]string // stage → vertex of its running step
	last   map[int]string // stage → vertex of its last step
	log    map[string]int // vertex → bytes of output
	pulled map[int]bool   // stage → its base came over the network
	begun  map[string]*timestamppb.Timestamp
	begins string // vertex that warnings belong to
}

func newTeller(j *job, prefix string) *teller {
	return &teller{job: j, prefix: prefix, at: map[int]string{}, last: map[int]string{}, log: map[string]int{}, pulled: map[int]bool{}, begun: map[string]*timestamppb.Timestamp{}}
}

// vertex names a step of this build for machines.
func (t *teller) vertex(parts ...any) string {
	return digest.FromString(fmt.Sprintf("%s %s %q", t.job.ref, t.prefix, fmt.Sprint(parts...))).String()
}

// step is a vertex under way.
type step struct {
	t      *teller
	v      *wire.Vertex
	status map[string]*wire.VertexStatus
}

// begin tells that a step of the builder itself begins ("[internal] load build context", "exporting to image").
func (t *teller) begin(name string) *step {
	v := &wire.Vertex{Digest: t.vertex("internal", name), Name: name, Started: timestamppb.Now()}
	t.tell(v)
	return &step{t: t, v: v, status: map[string]*wire.VertexStatus{}}
}

func (t *teller) tell(v *wire.Vertex) {
	t.job.story.tell(&wire.StatusResponse{Vertexes: []*wire.Vertex{{Digest: v.Digest, Inputs: v.Inputs, Name: v.Name, Cached: v.Cached, Started: v.Started, Completed: v.Completed, Error: v.Error}}})
}

// end tells how the step ended.
func (s *step) end(err error) {
	s.v.Completed = timestamppb.Now()
	if err != nil {
		s.v.Error = err.Error()
	}
	s.t.tell(s.v)
}

// part tells of one thing that happens in the step; it ends with done.
func (s *step) part(id string, current, total int64, done bool) {
	now := timestamppb.Now()
	st := s.status[id]
	if st == nil {
		st = &wire.VertexStatus{Id: id, Vertex: s.v.Digest, Started: now}
		s.status[id] = st
	}
	out := &wire.VertexStatus{Id: id, Vertex: st.Vertex, Current: current, Total: total, Timestamp: now, Started: st.Started}
	if done {
		out.Completed = now
	}
	s.t.job.story.tell(&wire.StatusResponse{Statuses: []*wire.VertexStatus{out}})
}

// whole tells of something that is over in a moment.
func (s *step) whole(id string) {
	s.part(id, 0, 0, false)
	s.part(id, 0, 0, true)
}

// event translates one event of the builder.
func (t *teller) event(e build.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	when := timestamppb.New(e.Time)
	switch e.Kind {
	case build.Resolves, build.Resolved:
		if strings.HasPrefix(e.Text, "sha256:") {
			return
		}
		v := &wire.Vertex{Digest: t.vertex("metadata", e.Text), Name: "[" + strings.TrimSpace(t.prefix+" internal") + "] load metadata for " + full(e.Text), Started: when}
		if e.Kind == build.Resolves {
			t.begun[v.Digest] = when
		} else {
			v.Started, v.Completed = t.begun[v.Digest], when
			if e.Err != nil {
				v.Error = e.Err.Error()
			}
		}
		t.tell(v)
	case build.StepBegins, build.StepEnds:
		t.step(e, when)
	case build.StepPulls:
		t.pull(e, when)
	case build.StepOutput:
		t.output(e, when)
	case build.Warning:
		t.job.story.tell(&wire.StatusResponse{Warnings: []*wire.VertexWarning{{Vertex: t.begins, Level: 1, Short: []byte(strings.TrimSpace(e.Text))}}})
	}
}

// step tells of a step that makes files; others are not shown, and neither is a stage that begins with another or with nothing.
func (t *teller) step(e build.Event, when *timestamppb.Timestamp) {
	if e.Place == 0 || e.Place == 1 && (e.Base == "" || e.Base == build.Scratch) {
		return
	}
	id := t.vertex("step", e.Stage, " ", e.Place)
	v := &wire.Vertex{Digest: id, Name: t.title(e), Started: when}
	if last := t.last[e.Stage]; last != "" && last != id {
		v.Inputs = []string{last}
	}
	if e.Kind == build.StepBegins {
		t.at[e.Stage], t.begun[id] = id, when
		t.tell(v)
		return
	}
	v.Started, v.Completed, v.Cached = t.begun[id], when, e.Cached || e.Place == 1 && !t.pulled[e.Stage]
	if e.Err != nil {
		v.Error, v.Cached = ofStep(e.Err), false
	}
	delete(t.at, e.Stage)
	t.last[e.Stage] = id
	t.tell(v)
}

func (t *teller) title(e build.Event) string {
	text := e.Text
	if e.Place == 1 {
		text = "FROM " + full(e.Base)
	}
	where := strings.Join(strings.Fields(t.prefix+" "+e.Name+" "+strconv.Itoa(e.Place)+"/"+strconv.Itoa(e.Places)), " ")
	return "[" + where + "] " + text
}

// full is an image's name with registry and tag.
func full(ref string) string {
	n, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ref
	}
	return reference.TagNameOnly(n).String()
}

func (t *teller) pull(e build.Event, when *timestamppb.Timestamp) {
	t.pulled[e.Stage] = true
	id := t.at[e.Stage]
	if id == "" || e.Pull.ID == "" || e.Pull.Total == 0 && e.Pull.Status != image.StatusPulled {
		return
	}
	name := e.Pull.ID
	if e.Pull.Status == image.StatusExtracting {
		name = "extracting " + name
	}
	key := id + name
	if t.begun[key] == nil {
		t.begun[key] = when
	}
	st := &wire.VertexStatus{Id: name, Vertex: id, Current: e.Pull.Current, Total: e.Pull.Total, Timestamp: when, Started: t.begun[key]}
	if e.Pull.Status == image.StatusPulled || e.Pull.Status == image.StatusDownloaded {
		st.Completed = when
	}
	t.job.story.tell(&wire.StatusResponse{Statuses: []*wire.VertexStatus{st}})
}

func (t *teller) output(e build.Event, when *timestamppb.Timestamp) {
	id := t.at[e.Stage]
	if id == "" || t.log[id] > maxLog {
		return
	}
	data := e.Data
	if t.log[id] += len(data); t.log[id] > maxLog {
		data = []byte("\n[output clipped, log limit " + strconv.Itoa(maxLog>>20) + "MiB reached]\n")
	}
	stream := int64(1)
	if e.Stderr {
		stream = 2
	}
	t.job.story.tell(&wire.StatusResponse{Logs: []*wire.VertexLog{{Vertex: id, Timestamp: when, Stream: stream, Msg: data}}})
}
