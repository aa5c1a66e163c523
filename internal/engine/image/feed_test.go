package image

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestMergeKeepsTheLatest(t *testing.T) {
	at := func(id, status string, n int64) Event { return Event{ID: id, Status: status, Current: n, Total: 9} }
	word := func(id, status string) Event { return Event{ID: id, Status: status} }
	for name, c := range map[string]struct{ put, want []Event }{
		"progress of one layer": {[]Event{at("a", "D", 1), at("a", "D", 2), at("a", "D", 5)}, []Event{at("a", "D", 5)}},
		"two layers":            {[]Event{at("a", "D", 1), at("b", "D", 1), at("a", "D", 2), at("b", "D", 3)}, []Event{at("a", "D", 2), at("b", "D", 3)}},
		"words are all kept":    {[]Event{word("a", "W"), at("a", "D", 1), word("a", "V"), word("a", "C")}, []Event{word("a", "W"), at("a", "D", 1), word("a", "V"), word("a", "C")}},
		"begun again":           {[]Event{at("a", "D", 7), word("a", "R"), at("a", "D", 7)}, []Event{at("a", "D", 7), word("a", "R"), at("a", "D", 7)}},
		"no ID":                 {[]Event{word("", "x"), word("", "x")}, []Event{word("", "x"), word("", "x")}},
	} {
		var got []Event
		for _, e := range c.put {
			got = merge(got, e)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestRetryingIn(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "Retrying in 1 second", 250 * time.Millisecond: "Retrying in 1 second", time.Second: "Retrying in 1 second",
		1001 * time.Millisecond: "Retrying in 2 seconds", 5 * time.Second: "Retrying in 5 seconds"} {
		if got := retryingIn(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

// TestAPausedClientHoldsNobodyUp: one who stops reading is waited for by nobody else, neither of the same pull nor of another with the same layer.
func TestAPausedClientHoldsNobodyUp(t *testing.T) {
	u, b := newUpstream(t, nil), newBed(t)
	shared := layerTar(t, file{"base", big(200000, 7)})
	u.push(t, "one", "latest", makeImage(t, [][]byte{shared}))
	u.push(t, "two", "latest", makeImage(t, [][]byte{shared, layerTar(t, file{"own", "x"})}))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	paused, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	ends := make(chan error, 1)
	go func() {
		_, err := b.Pull(ctx, u.host()+"/one", PullOptions{Progress: func(Event) { once.Do(func() { close(paused) }); <-goOn }})
		ends <- err
	}()
	<-paused
	for _, name := range []string{"/one", "/two"} {
		if _, err := b.Pull(ctx, u.host()+name, PullOptions{}); err != nil {
			t.Errorf("beside a client that is paused: %v", err)
		}
	}
	close(goOn)
	if err := <-ends; err != nil {
		t.Errorf("the paused one: %v", err)
	}
}

// TestASharedDownloadIsToldToBoth: the second of two pulls with a layer in common sees how far the first is with it.
func TestASharedDownloadIsToldToBoth(t *testing.T) {
	u, b := newUpstream(t, nil), newBed(t)
	shared := makeImage(t, [][]byte{layerTar(t, file{"base", big(900000, 3)})})
	u.push(t, "one", "latest", shared)
	u.push(t, "two", "latest", shared)
	layer := shared.layer(t)
	half, gate := make(chan struct{}), make(chan struct{})
	var once sync.Once
	u.bend(func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, layer.String()) && r.Method == http.MethodGet {
			w = &gated{ResponseWriter: w, open: gate, reached: func() { once.Do(func() { close(half) }) }}
		}
		next.ServeHTTP(w, r)
	})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	first := make(chan error, 1)
	go func() { _, err := b.Pull(ctx, u.host()+"/one", PullOptions{}); first <- err }()
	<-half
	var opened sync.Once
	_, err := b.Pull(ctx, u.host()+"/two", PullOptions{Progress: func(e Event) {
		if e.ID == shortID(layer) && e.Status == StatusDownloading {
			opened.Do(func() { close(gate) })
		}
	}})
	if err != nil {
		t.Errorf("the second: %v", err)
	}
	opened.Do(func() { close(gate) })
	if err := <-first; err != nil {
		t.Errorf("the first: %v", err)
	}
}

// layer is the digest of the only one.
func (m *made) layer(t *testing.T) digest.Digest {
	t.Helper()
	var doc ocispec.Manifest
	if err := json.Unmarshal(m.manifest, &doc); err != nil || len(doc.Layers) != 1 {
		t.Fatalf("%d layers, %v", len(doc.Layers), err)
	}
	return doc.Layers[0].Digest
}

// gated writes nothing more after its first bytes until it is opened.
type gated struct {
	http.ResponseWriter
	open    <-chan struct{}
	reached func()
	begun   bool
}

func (g *gated) Write(p []byte) (int, error) {
	if g.begun {
		<-g.open
	}
	n, err := g.ResponseWriter.Write(p)
	if !g.begun {
		g.begun = true
		g.ResponseWriter.(http.Flusher).Flush()
		g.reached()
	}
	return n, err
}

// TestWrongBytesAreNamed: bytes that are not those of the digest are that, and not the bad archive which they happen to be as well.
func TestWrongBytesAreNamed(t *testing.T) {
	u, b := newUpstream(t, nil), newBed(t)
	m := makeImage(t, [][]byte{layerTar(t, file{"a", big(300000, 9)})})
	u.push(t, "bad", "latest", m)
	layer := m.layer(t)
	u.bend(func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, layer.String()) {
			w = &beginning{ResponseWriter: w}
		}
		next.ServeHTTP(w, r)
	})
	_, err := b.Pull(context.Background(), u.host()+"/bad", PullOptions{})
	var corrupt *CorruptLayerError
	if !errors.As(err, &corrupt) || corrupt.Digest != layer || !errors.Is(err, ErrCorrupt) {
		t.Errorf("wrong first bytes: %v", err)
	}
	u.bend(func(next http.Handler, w http.ResponseWriter, r *http.Request) { next.ServeHTTP(w, r) })
	if _, err := b.Pull(context.Background(), u.host()+"/bad", PullOptions{}); err != nil {
		t.Errorf("right ones after that: %v", err)
	}
}

// beginning writes other first bytes.
type beginning struct {
	http.ResponseWriter
	begun bool
}

func (f *beginning) Write(p []byte) (int, error) {
	if !f.begun && len(p) > 0 {
		f.begun = true
		p = bytes.Clone(p)
		p[0] ^= 0xff
	}
	return f.ResponseWriter.Write(p)
}
