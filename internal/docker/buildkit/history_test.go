package buildkit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"nau/internal/docker/buildkit/wire"
)

// ran notes a build that began at a time and ended with err.
func ran(t *testing.T, h *history, ref string, at time.Time, err error) {
	t.Helper()
	j := &job{ref: ref, req: &wire.ControlSolveRequest{Ref: ref}, began: at}
	h.begin(j)
	now := timestamppb.New(at)
	j.story.tell(&wire.StatusResponse{Vertexes: []*wire.Vertex{{Digest: "a", Name: "first", Started: now}}})
	j.story.tell(&wire.StatusResponse{Vertexes: []*wire.Vertex{{Digest: "a", Name: "first", Started: now, Completed: now, Cached: true}, {Digest: "b", Name: "second of " + ref, Started: now}},
		Warnings: []*wire.VertexWarning{{Vertex: "a"}}})
	j.asks(map[string]string{"filename": ref})
	if err := h.end(j, &wire.ControlSolveResponse{ExporterResponse: map[string]string{"k": ref}}, err, at.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
}

func refs(t *testing.T, h *history, req *wire.BuildHistoryRequest) (out []string) {
	t.Helper()
	req.EarlyExit = true
	if err := h.follow(context.Background(), req, func(e *wire.BuildHistoryEvent) error {
		out = append(out, e.Type.String()+" "+e.Record.Ref)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestHistory(t *testing.T) {
	dir := t.TempDir()
	h, err := openHistory(dir)
	if err != nil {
		t.Fatal(err)
	}
	day := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	ran(t, h, "one", day, nil)
	ran(t, h, "two", day.Add(time.Minute), status.Error(codes.Unknown, "it broke"))
	h.begin(&job{ref: "three", req: &wire.ControlSolveRequest{}, began: day})
	h.begin(&job{ref: "inner", req: &wire.ControlSolveRequest{Internal: true}, began: day})
	if got, want := refs(t, h, &wire.BuildHistoryRequest{}), []string{"COMPLETE two", "COMPLETE one", "STARTED three"}; !slices.Equal(got, want) {
		t.Errorf("listed %v, want %v", got, want)
	}
	if got, want := refs(t, h, &wire.BuildHistoryRequest{Limit: 1}), []string{"COMPLETE two", "STARTED three"}; !slices.Equal(got, want) {
		t.Errorf("listed %v, want %v", got, want)
	}
	if got, want := refs(t, h, &wire.BuildHistoryRequest{ActiveOnly: true}), []string{"STARTED three"}; !slices.Equal(got, want) {
		t.Errorf("listed %v, want %v", got, want)
	}
	if err := h.update(&wire.UpdateBuildHistoryRequest{Ref: "one", Pinned: true}); err != nil {
		t.Error(err)
	}
	if err := h.update(&wire.UpdateBuildHistoryRequest{Ref: "three", Delete: true}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("a running build is removed: %v", err)
	}
	if err := h.update(&wire.UpdateBuildHistoryRequest{Ref: "none", Delete: true}); status.Code(err) != codes.NotFound {
		t.Errorf("a build that is not there is removed: %v", err)
	}

	// Another program on the same folder, with what a crash left in it.
	if err := os.WriteFile(dir+"/half.record.new", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if h, err = openHistory(dir); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 6 {
		t.Errorf("the folder has %v", left)
	}
	one, two := h.done["one"], h.done["two"]
	if !one.Pinned || one.NumTotalSteps != 2 || one.NumCachedSteps != 1 || one.NumCompletedSteps != 1 || one.NumWarnings != 1 || one.ExporterResponse["k"] != "one" || one.FrontendAttrs["filename"] != "one" || one.Error != nil {
		t.Errorf("the first is %v", one)
	}
	if two.Error.GetMessage() != "it broke" || two.ExporterResponse != nil {
		t.Errorf("the second is %v", two)
	}
	var told []string
	known, err := h.replay("two", func(r *wire.StatusResponse) error {
		for _, v := range r.Vertexes {
			told = append(told, v.Name)
		}
		return nil
	})
	if want := []string{"first", "first", "second of two"}; !known || err != nil || !slices.Equal(told, want) {
		t.Errorf("the story is %v, want %v (%v %v)", told, want, known, err)
	}
	stop := errors.New("enough")
	if _, err := h.replay("two", func(*wire.StatusResponse) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("a reader that is gone: %v", err)
	}
	if known, _ := h.replay("none", nil); known {
		t.Error("there is a story of a build that was not")
	}

	// The oldest are forgotten, pinned ones are not.
	for i := range maxRemembered {
		ran(t, h, fmt.Sprint("more", i), day.Add(time.Hour+time.Duration(i)*time.Second), nil)
	}
	if h.done["two"] != nil || h.done["one"] == nil || len(h.done) != maxRemembered+1 {
		t.Errorf("%d builds are remembered", len(h.done))
	}
	ran(t, h, "late", day.Add(rememberedFor+2*time.Hour), nil)
	if len(h.done) != 2 {
		t.Errorf("%d builds are remembered after days", len(h.done))
	}
	if err := h.update(&wire.UpdateBuildHistoryRequest{Ref: "one", Delete: true}); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 3 {
		t.Errorf("the folder has %v", left)
	}
}

func TestHistoryIsFollowed(t *testing.T) {
	h, err := openHistory(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	day := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	ran(t, h, "one", day, nil)
	ctx, cancel := context.WithCancel(context.Background())
	events, ended := make(chan string, 16), make(chan error)
	go func() {
		ended <- h.follow(ctx, &wire.BuildHistoryRequest{}, func(e *wire.BuildHistoryEvent) error {
			events <- e.Type.String() + " " + e.Record.Ref
			return nil
		})
	}()
	expect := func(want string) {
		t.Helper()
		if got := <-events; got != want {
			t.Errorf("told %s, want %s", got, want)
		}
	}
	expect("COMPLETE one")
	ran(t, h, "two", day, nil)
	expect("STARTED two")
	expect("COMPLETE two")
	if err := h.update(&wire.UpdateBuildHistoryRequest{Ref: "one", Delete: true}); err != nil {
		t.Fatal(err)
	}
	expect("DELETED one")
	cancel()
	if err := <-ended; err != nil || len(h.listeners) != 0 {
		t.Errorf("ended with %v, %d listeners", err, len(h.listeners))
	}
}
