package buildkit

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"nau/internal/docker/buildkit/wire"
)

// What is remembered of ended builds; pinned ones are not counted.
const (
	maxRemembered = 50
	rememberedFor = 48 * time.Hour
	maxPinned     = 200
	maxStory      = 4 << 20 // bytes of what a build told
)

// history is what is remembered of builds, in a folder: for each a record, and what goes with it (records.go).
type history struct {
	dir string

	mu        sync.Mutex
	done      map[string]*wire.BuildHistoryRecord
	active    map[string]*wire.BuildHistoryRecord
	listeners map[*listener]bool
}

// listener is somebody who follows what happens to builds.
type listener struct {
	news []*wire.BuildHistoryEvent // under the history's lock
	more chan struct{}             // has room for one
}

func openHistory(dir string) (*history, error) {
	h := &history{dir: dir, done: map[string]*wire.BuildHistoryRecord{}, active: map[string]*wire.BuildHistoryRecord{}, listeners: map[*listener]bool{}}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open history of builds: %w", err)
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open history of builds: %w", err)
	}
	known := map[string]bool{}
	for _, e := range list {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		var rec wire.BuildHistoryRecord
		if strings.HasSuffix(e.Name(), suffixRecord) && err == nil && proto.Unmarshal(b, &rec) == nil && h.file(rec.Ref, suffixRecord) == filepath.Join(dir, e.Name()) {
			h.done[rec.Ref] = &rec
			for _, suffix := range []string{suffixRecord, suffixStory, suffixTrace, suffixProven} {
				known[filepath.Base(h.file(rec.Ref, suffix))] = true
			}
		}
	}
	for _, e := range list { // what a crash cut off
		if !known[e.Name()] {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return nil, fmt.Errorf("open history of builds: %w", err)
			}
		}
	}
	return h, nil
}

const suffixRecord = ".record"

// file of a build: clients choose the reference, so that the name is made of its digest.
func (h *history) file(ref, suffix string) string {
	sum := sha256.Sum256([]byte(ref))
	return filepath.Join(h.dir, hex.EncodeToString(sum[:16])+suffix)
}

// begin notes that a build runs.
func (h *history) begin(j *job) {
	if j.req.Internal {
		return
	}
	rec := &wire.BuildHistoryRecord{Ref: j.ref, Frontend: j.req.Frontend, FrontendAttrs: j.req.FrontendAttrs, Exporters: j.req.Exporters, CreatedAt: timestamppb.New(j.began)}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.active[j.ref] = rec
	h.tell(wire.BuildHistoryEventType_STARTED, rec)
}

// end keeps a build that has ended, in place of the oldest ones.
func (h *history) end(j *job, res *wire.ControlSolveResponse, failed error, now time.Time) error {
	if j.req.Internal {
		return nil
	}
	told := j.story.all()
	h.mu.Lock()
	rec := h.active[j.ref]
	h.mu.Unlock()
	if rec == nil {
		return nil
	}
	rec = proto.CloneOf(rec)
	rec.CompletedAt = timestamppb.New(now)
	if attrs := j.attributes(); attrs != nil {
		rec.FrontendAttrs = attrs
	}
	if failed != nil {
		rec.Error = status.Convert(failed).Proto()
	} else if res != nil {
		rec.ExporterResponse = res.ExporterResponse
	}
	count(rec, told)
	errs := []error{h.accompany(rec, told, j.proofs())} // up to megabytes, with no lock held: nobody looks for it before the build is done
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.active, j.ref)
	h.done[j.ref] = rec
	h.tell(wire.BuildHistoryEventType_COMPLETE, rec)
	errs = append(errs, h.write(rec))
	for _, old := range expired(h.done, now) {
		errs = append(errs, h.remove(old))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remember build %s: %w", j.ref, err)
	}
	return nil
}

// count sums up what a build told.
func count(rec *wire.BuildHistoryRecord, told []*wire.StatusResponse) {
	last := map[string]*wire.Vertex{}
	for _, r := range told {
		for _, v := range r.Vertexes {
			last[v.Digest] = v
		}
		rec.NumWarnings += int32(len(r.Warnings))
	}
	for _, v := range last {
		rec.NumTotalSteps++
		if v.Cached {
			rec.NumCachedSteps++
		}
		if v.Completed != nil && v.Error == "" {
			rec.NumCompletedSteps++
		}
	}
}

// expired names the builds that are to be forgotten.
func expired(done map[string]*wire.BuildHistoryRecord, now time.Time) (refs []string) {
	var free []*wire.BuildHistoryRecord
	for _, r := range done {
		if !r.Pinned {
			free = append(free, r)
		}
	}
	slices.SortFunc(free, func(a, b *wire.BuildHistoryRecord) int { return newest(a, b) })
	for i, r := range free {
		if i >= maxRemembered || now.Sub(r.CompletedAt.AsTime()) > rememberedFor {
			refs = append(refs, r.Ref)
		}
	}
	return refs
}

func newest(a, b *wire.BuildHistoryRecord) int {
	return b.CreatedAt.AsTime().Compare(a.CreatedAt.AsTime())
}

func (h *history) write(rec *wire.BuildHistoryRecord) error {
	b, err := proto.Marshal(rec)
	if err != nil {
		return err
	}
	name := h.file(rec.Ref, suffixRecord)
	if err := os.WriteFile(name+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

// accompany writes what goes with a record: first what it told, as far as there is room.
func (h *history) accompany(rec *wire.BuildHistoryRecord, told []*wire.StatusResponse, proven []proof) (err error) {
	rec.Logs, err = h.keep(rec.Ref, suffixStory, mediaStory, func(w io.Writer) error {
		b := bufio.NewWriter(w)
		size := 0
		for _, r := range told {
			n, err := putMessage(b, r)
			if err != nil {
				return err
			}
			if size += n; size > maxStory {
				break
			}
		}
		return b.Flush()
	})
	if err != nil {
		return err
	}
	if rec.Trace, err = h.keep(rec.Ref, suffixTrace, mediaTrace, func(w io.Writer) error { return putTrace(w, traced(rec, told)) }); err != nil {
		return err
	}
	if len(proven) > 0 {
		p := proven[0] // of several platforms the first speaks for all
		d, err := h.keep(rec.Ref, suffixProven, mediaInToto, func(w io.Writer) error { return json.NewEncoder(w).Encode(p.predicate) })
		if err != nil {
			return err
		}
		d.Annotations = map[string]string{predicateNote: p.kind}
		rec.Result = &wire.BuildResultInfo{Attestations: []*wire.Descriptor{d}}
	}
	return nil
}

// remove forgets a build. The lock is held.
func (h *history) remove(ref string) error {
	rec := h.done[ref]
	delete(h.done, ref)
	h.tell(wire.BuildHistoryEventType_DELETED, &wire.BuildHistoryRecord{Ref: ref, CreatedAt: rec.GetCreatedAt()})
	err := os.Remove(h.file(ref, suffixRecord))
	for _, suffix := range []string{suffixStory, suffixTrace, suffixProven} {
		if serr := os.Remove(h.file(ref, suffix)); !errors.Is(serr, os.ErrNotExist) {
			err = errors.Join(err, serr)
		}
	}
	return err
}

// tell gives an event to who follows. The lock is held.
func (h *history) tell(kind wire.BuildHistoryEventType, rec *wire.BuildHistoryRecord) {
	for l := range h.listeners {
		l.news = append(l.news, &wire.BuildHistoryEvent{Type: kind, Record: rec})
		select {
		case l.more <- struct{}{}:
		default:
		}
	}
}

// now lists what there is, as the request wants it, newest first: ended builds, then running ones. The lock is held.
func (h *history) now(req *wire.BuildHistoryRequest) (out []*wire.BuildHistoryEvent) {
	add := func(kind wire.BuildHistoryEventType, m map[string]*wire.BuildHistoryRecord) {
		var list []*wire.BuildHistoryRecord
		for _, r := range m {
			if req.Ref == "" || r.Ref == req.Ref {
				list = append(list, r)
			}
		}
		slices.SortFunc(list, newest)
		for i, r := range list {
			if req.Limit <= 0 || i < int(req.Limit) {
				out = append(out, &wire.BuildHistoryEvent{Type: kind, Record: r})
			}
		}
	}
	if !req.ActiveOnly {
		add(wire.BuildHistoryEventType_COMPLETE, h.done)
	}
	add(wire.BuildHistoryEventType_STARTED, h.active)
	return out
}

// follow gives what there is, and then what happens, to send.
func (h *history) follow(ctx context.Context, req *wire.BuildHistoryRequest, send func(*wire.BuildHistoryEvent) error) error {
	l := &listener{more: make(chan struct{}, 1)}
	h.mu.Lock()
	l.news = h.now(req)
	h.listeners[l] = true
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		delete(h.listeners, l)
		h.mu.Unlock()
	}()
	for {
		h.mu.Lock()
		news := l.news
		l.news = nil
		h.mu.Unlock()
		for _, e := range news {
			if req.Ref != "" && e.Record.Ref != req.Ref {
				continue
			}
			if err := send(e); err != nil {
				return err
			}
		}
		if req.EarlyExit {
			return nil
		}
		select {
		case <-l.more:
		case <-ctx.Done():
			return nil
		}
	}
}

// update pins or forgets a build.
func (h *history) update(req *wire.UpdateBuildHistoryRequest) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	rec := h.done[req.Ref]
	switch {
	case rec == nil && h.active[req.Ref] != nil:
		return status.Errorf(codes.FailedPrecondition, "build %s is running", req.Ref)
	case rec == nil:
		return status.Errorf(codes.NotFound, "no such build: %s", req.Ref)
	case req.Delete:
		return h.remove(req.Ref)
	case req.Finalize: // what is there is whole: no trace is being collected
		return nil
	}
	if req.Pinned {
		pinned := 0
		for _, r := range h.done {
			if r.Pinned {
				pinned++
			}
		}
		if pinned >= maxPinned {
			return status.Errorf(codes.ResourceExhausted, "%d builds are pinned: unpin or remove some", pinned)
		}
	}
	rec = proto.CloneOf(rec)
	rec.Pinned = req.Pinned
	rec.Generation++
	h.done[req.Ref] = rec
	h.tell(wire.BuildHistoryEventType_COMPLETE, rec)
	return h.write(rec)
}

// replay gives the story of an ended build to send; false = it is not known.
func (h *history) replay(ref string, send func(*wire.StatusResponse) error) (bool, error) {
	h.mu.Lock()
	if h.done[ref] == nil {
		h.mu.Unlock()
		return false, nil
	}
	f, err := os.Open(h.file(ref, suffixStory))
	h.mu.Unlock()
	if errors.Is(err, os.ErrNotExist) {
		return true, nil // a record of an earlier version, whose story is none of this one's
	}
	if err != nil {
		return true, fmt.Errorf("read story of build %s: %w", ref, err)
	}
	defer f.Close()
	for r := bufio.NewReader(f); ; {
		var m wire.StatusResponse
		err := takeMessage(r, &m)
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if err == nil {
			err = send(&m)
		}
		if err != nil {
			return true, fmt.Errorf("read story of build %s: %w", ref, err)
		}
	}
}

// ListenBuildHistory tells what is remembered of builds, and what happens to them.
func (c *controller) ListenBuildHistory(req *wire.BuildHistoryRequest, stream grpc.ServerStreamingServer[wire.BuildHistoryEvent]) error {
	return c.s.history.follow(stream.Context(), req, stream.Send)
}

// UpdateBuildHistory pins, finalises or forgets a build.
func (c *controller) UpdateBuildHistory(_ context.Context, req *wire.UpdateBuildHistoryRequest) (*wire.UpdateBuildHistoryResponse, error) {
	return &wire.UpdateBuildHistoryResponse{}, c.s.history.update(req)
}
