package buildkit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"testing"
	"time"

	content "github.com/containerd/containerd/api/services/content/v1"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"nau/internal/docker/buildkit/wire"
)

// taken is a stream that keeps what is sent.
type taken struct {
	grpc.ServerStream
	bytes.Buffer
}

func (t *taken) Send(m *content.ReadContentResponse) error {
	if m.Offset != int64(t.Len()) {
		return errors.New("a piece is not where it belongs")
	}
	_, err := t.Buffer.Write(m.Data)
	return err
}

// What goes with a record is served by its digest, whole and in parts, also by the next program, until the build is forgotten; nothing else is.
func TestRecordsAreServed(t *testing.T) {
	dir := t.TempDir()
	h, err := openHistory(dir)
	if err != nil {
		t.Fatal(err)
	}
	j := &job{ref: "one", req: &wire.ControlSolveRequest{Ref: "one"}, began: time.Unix(1e9, 0)}
	h.begin(j)
	j.proves(&facts{asked: asked{version: "v1"}, ref: "one", filename: "Dockerfile", file: []byte("FROM x")})
	j.story.tell(&wire.StatusResponse{Vertexes: []*wire.Vertex{{Digest: "a", Name: "first"}}})
	if err := h.end(j, nil, status.Error(codes.Unknown, "it broke"), time.Unix(1e9+2, 0)); err != nil {
		t.Fatal(err)
	}
	if h, err = openHistory(dir); err != nil {
		t.Fatal(err)
	}
	rec := h.done["one"]
	c := &contents{h: h}
	said := map[string]*wire.Descriptor{mediaStory: rec.Logs, mediaTrace: rec.Trace, mediaInToto: rec.Result.GetAttestations()[0]}
	for media, d := range said {
		info, err := c.Info(context.Background(), &content.InfoRequest{Digest: d.Digest})
		if err != nil || info.Info.Size != d.Size || d.MediaType != media {
			t.Errorf("%s: %v %v (%v)", media, d, info, err)
		}
		var whole, part taken
		if err := c.Read(&content.ReadContentRequest{Digest: d.Digest}, &whole); err != nil || digest.FromBytes(whole.Bytes()).String() != d.Digest {
			t.Errorf("%s: %q (%v)", media, whole.Bytes(), err)
		}
		err = c.Read(&content.ReadContentRequest{Digest: d.Digest, Size: 3}, &part)
		if err != nil || !bytes.Equal(part.Bytes(), whole.Bytes()[:3]) {
			t.Errorf("%s: a part is %q (%v)", media, part.Bytes(), err)
		}
		if err := c.Read(&content.ReadContentRequest{Digest: d.Digest, Offset: -1}, &part); status.Code(err) != codes.OutOfRange {
			t.Errorf("%s: before its beginning: %v", media, err)
		}
	}
	if kind := said[mediaInToto].Annotations[predicateNote]; kind != predicateType1 {
		t.Errorf("the attestation is a %q", kind)
	}
	if _, err := c.Info(context.Background(), &content.InfoRequest{Digest: "../one"}); status.Code(err) != codes.NotFound {
		t.Errorf("what is no record's: %v", err)
	}
	if err := h.update(&wire.UpdateBuildHistoryRequest{Ref: "one", Delete: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Info(context.Background(), &content.InfoRequest{Digest: rec.Logs.Digest}); status.Code(err) != codes.NotFound {
		t.Errorf("a forgotten build's: %v", err)
	}
}

func TestTrace(t *testing.T) {
	at := func(s int64) *wire.Vertex { return &wire.Vertex{Digest: "a", Name: "first", Started: stamp(s)} }
	again, failed := at(3), &wire.Vertex{Digest: "b", Name: "second", Started: stamp(4), Completed: stamp(6), Error: "it broke"}
	again.Completed, again.Cached = stamp(5), true
	rec := &wire.BuildHistoryRecord{Ref: "one", CreatedAt: stamp(1), CompletedAt: stamp(9)}
	spans := traced(rec, []*wire.StatusResponse{{Vertexes: []*wire.Vertex{at(2)}}, {Vertexes: []*wire.Vertex{again, failed}}, {Vertexes: []*wire.Vertex{{Digest: "c", Name: "never begun"}}}})
	if len(spans) != 3 || spans[0].SpanKind != spanServer || spans[1].Name != "load cache: first" || spans[2].Status != (spanStatus{1, "it broke"}) {
		t.Fatalf("spans %+v", spans)
	}
	if s := spans[1]; s.StartTime.Unix() != 2 || s.EndTime.Unix() != 5 || s.Parent != spans[0].SpanContext || s.SpanContext.TraceID != spans[0].SpanContext.TraceID || s.SpanContext == spans[2].SpanContext {
		t.Errorf("the first step is %+v below %+v", s, spans[0])
	}
	var b bytes.Buffer
	if err := putTrace(&b, spans); err != nil {
		t.Fatal(err)
	}
	n := 0
	for dec := json.NewDecoder(&b); ; n++ {
		var s span
		if err := dec.Decode(&s); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if n != 3 {
		t.Errorf("%d spans are written", n)
	}
}

func FuzzTakeMessage(f *testing.F) {
	var b bytes.Buffer
	if _, err := putMessage(&b, &wire.StatusResponse{Vertexes: []*wire.Vertex{{Digest: "a", Name: "first"}}}); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte{255, 255, 255, 255})
	f.Add([]byte{4, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		var m wire.StatusResponse
		if err := takeMessage(bytes.NewReader(data), &m); err != nil {
			return
		}
		var again bytes.Buffer
		if _, err := putMessage(&again, &m); err != nil {
			t.Errorf("what was read cannot be written: %v", err)
		}
	})
}

func stamp(s int64) *timestamppb.Timestamp { return &timestamppb.Timestamp{Seconds: s} }
