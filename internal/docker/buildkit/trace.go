package buildkit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"slices"
	"time"

	"nau/internal/docker/buildkit/wire"
)

// span is one stretch of time of a trace, in OpenTelemetry's words as clients of BuildKit read them.
type span struct {
	Name                   string
	SpanContext, Parent    spanID
	SpanKind               int
	StartTime, EndTime     time.Time
	Attributes             []attribute
	Events, Links          []struct{}
	Status                 spanStatus
	DroppedAttributes      int
	DroppedEvents          int
	DroppedLinks           int
	ChildSpanCount         int
	Resource               []attribute
	InstrumentationLibrary library
}

type spanID struct {
	TraceID, SpanID, TraceFlags, TraceState string
	Remote                                  bool
}

type attribute struct {
	Key   string
	Value attributeValue
}

type attributeValue struct{ Type, Value string }

type spanStatus struct {
	Code        int // 0 or 1, an error
	Description string
}

type library struct{ Name, Version, SchemaURL string }

// Kinds of spans.
const (
	spanInternal = 1
	spanServer   = 2
)

// traced makes the trace of a build out of what it told: the request, and below it each step from its first start to its end.
func traced(rec *wire.BuildHistoryRecord, told []*wire.StatusResponse) []span {
	last := map[string]*wire.Vertex{}
	var order []string
	began := map[string]time.Time{}
	for _, r := range told {
		for _, v := range r.Vertexes {
			if last[v.Digest] == nil {
				order = append(order, v.Digest)
			}
			if at := began[v.Digest]; v.Started != nil && (at.IsZero() || v.Started.AsTime().Before(at)) {
				began[v.Digest] = v.Started.AsTime()
			}
			last[v.Digest] = v
		}
	}
	sum := sha256.Sum256([]byte(rec.Ref))
	id := func(text string) spanID {
		s := sha256.Sum256([]byte(rec.Ref + "\x00" + text))
		return spanID{TraceID: hex.EncodeToString(sum[:16]), SpanID: hex.EncodeToString(s[:8]), TraceFlags: "01"}
	}
	none := spanID{TraceID: "00000000000000000000000000000000", SpanID: "0000000000000000", TraceFlags: "00"}
	with := func(s span, failed string) span {
		s.Resource = []attribute{{"service.name", attributeValue{"STRING", "nau"}}}
		s.InstrumentationLibrary.Name = "nau/internal/docker/buildkit"
		if failed != "" {
			s.Status = spanStatus{1, failed}
		}
		return s
	}
	whole := id("")
	root := span{Name: "moby.buildkit.v1.Control/Solve", SpanContext: whole, Parent: none, SpanKind: spanServer, StartTime: rec.CreatedAt.AsTime(), EndTime: rec.CompletedAt.AsTime(), ChildSpanCount: len(order),
		Attributes: []attribute{{"ref", attributeValue{"STRING", rec.Ref}}}}
	out := []span{with(root, rec.Error.GetMessage())}
	for _, d := range order {
		v := last[d]
		if began[d].IsZero() {
			continue
		}
		s := span{Name: v.Name, SpanContext: id(d), Parent: whole, SpanKind: spanInternal, StartTime: began[d], EndTime: rec.CompletedAt.AsTime(), Attributes: []attribute{{"vertex", attributeValue{"STRING", d}}}}
		if v.Completed != nil {
			s.EndTime = v.Completed.AsTime()
		}
		if v.Cached {
			s.Name = "load cache: " + v.Name
		}
		out = append(out, with(s, v.Error))
	}
	slices.SortStableFunc(out, func(a, b span) int { return a.StartTime.Compare(b.StartTime) })
	return out
}

func putTrace(w io.Writer, spans []span) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	for _, s := range spans {
		if err := enc.Encode(s); err != nil {
			return err
		}
	}
	return nil
}
