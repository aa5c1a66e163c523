package image

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"nau/internal/engine/content"
	"nau/internal/engine/image/remote"
	"nau/internal/engine/layer"
	"nau/internal/house/spent"
	"nau/internal/registry"
)

// bed is a store in a directory of its own, and a registry beside it that every test may bend.
type bed struct {
	*Store
	t       testing.TB
	dir     string
	content *content.Store
	layers  *layer.Store
}

func newBed(t testing.TB, change ...func(*Config)) *bed {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: layers have owners")
	}
	b := &bed{t: t, dir: t.TempDir()}
	b.open(change...)
	t.Cleanup(b.close)
	return b
}

func (b *bed) open(change ...func(*Config)) {
	b.t.Helper()
	var err error
	if b.content, err = content.Open(filepath.Join(b.dir, "content"), nil); err != nil {
		b.t.Fatal(err)
	}
	if b.layers, err = layer.Open(layer.Config{Dir: filepath.Join(b.dir, "layers")}); err != nil {
		b.t.Fatal(err)
	}
	cfg := Config{DB: filepath.Join(b.dir, "images.db"), Content: b.content, Layers: b.layers, Platform: &ocispec.Platform{OS: "linux", Architecture: "amd64"}}
	for _, c := range change {
		c(&cfg)
	}
	if b.Store, err = Open(cfg); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bed) close() {
	if b.Store == nil {
		return
	}
	b.Store.Close()
	b.layers.Close()
	b.content.Close()
	b.Store = nil
}

// bytesOnDisk counts blobs, ingests and layers.
func (b *bed) leftovers() (out []string) {
	for _, p := range []string{"content/blobs/sha256/*", "content/ingest/*", "layers/[lsft][0-9a-z]*"} {
		m, _ := filepath.Glob(filepath.Join(b.dir, p))
		out = append(out, m...)
	}
	return out
}

// upstream is a registry with a handler that tests can wrap.
type upstream struct {
	*httptest.Server
	reg  *registry.Registry
	wrap atomic.Pointer[func(http.Handler) http.Handler]
	gets atomic.Int64 // blob GETs
}

func newUpstream(t *testing.T, auth registry.Auth) *upstream {
	t.Helper()
	c, err := content.Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	g, err := registry.New(registry.Config{Content: c, Auth: auth, Deletes: true})
	if err != nil {
		t.Fatal(err)
	}
	u := &upstream{reg: g}
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			u.gets.Add(1)
		}
		var h http.Handler = g
		if f := u.wrap.Load(); f != nil {
			h = (*f)(g)
		}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(func() { u.Close(); g.Close(); c.Close() })
	return u
}

func (u *upstream) host() string { return strings.TrimPrefix(u.URL, "http://") }

func (u *upstream) bend(f func(next http.Handler, w http.ResponseWriter, r *http.Request)) {
	wrap := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f(next, w, r) })
	}
	u.wrap.Store(&wrap)
}

type file struct{ name, body string }

func layerTar(t testing.TB, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.body))}); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, f.body)
	}
	w.Close()
	return b.Bytes()
}

func zip(b []byte) []byte {
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write(b)
	w.Close()
	return z.Bytes()
}

// made is an image in memory.
type made struct {
	blobs    map[digest.Digest][]byte
	manifest []byte
	desc     ocispec.Descriptor
	config   digest.Digest
}

type option func(*ocispec.Image, *ocispec.Manifest)

func makeImage(t testing.TB, layers [][]byte, opts ...option) *made {
	t.Helper()
	m := &made{blobs: map[digest.Digest][]byte{}}
	c := ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}, RootFS: ocispec.RootFS{Type: "layers"}}
	man := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	for i, l := range layers {
		z, media := zip(l), ocispec.MediaTypeImageLayerGzip
		if i%2 == 1 {
			var b bytes.Buffer
			w, _ := zstd.NewWriter(&b)
			w.Write(l)
			w.Close()
			z, media = b.Bytes(), ocispec.MediaTypeImageLayerZstd
		}
		d := digest.FromBytes(z)
		m.blobs[d] = z
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, digest.FromBytes(l))
		man.Layers = append(man.Layers, ocispec.Descriptor{MediaType: media, Digest: d, Size: int64(len(z))})
	}
	for _, o := range opts {
		o(&c, &man)
	}
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	m.config = digest.FromBytes(raw)
	m.blobs[m.config] = raw
	if man.Config.MediaType == "" {
		man.Config.MediaType = ocispec.MediaTypeImageConfig
	}
	man.Config.Digest, man.Config.Size = m.config, int64(len(raw))
	if m.manifest, err = json.Marshal(man); err != nil {
		t.Fatal(err)
	}
	m.desc = ocispec.Descriptor{MediaType: man.MediaType, Digest: digest.FromBytes(m.manifest), Size: int64(len(m.manifest)), Platform: &c.Platform}
	return m
}

func (u *upstream) push(t testing.TB, path, tag string, m *made, auth ...remote.Auth) {
	t.Helper()
	a := remote.Auth{}
	if len(auth) > 0 {
		a = auth[0]
	}
	c := remote.New(remote.Config{})
	r, err := c.Repository(u.host(), path, a)
	if err != nil {
		t.Fatal(err)
	}
	for d, b := range m.blobs {
		if _, err := r.Upload(context.Background(), ocispec.Descriptor{Digest: d, Size: int64(len(b))}, "", func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }); err != nil {
			t.Fatal(err)
		}
	}
	if tag == "" {
		tag = m.desc.Digest.String()
	}
	if err := r.PutManifest(context.Background(), tag, m.desc, m.manifest); err != nil {
		t.Fatal(err)
	}
}

func (u *upstream) pushIndex(t testing.TB, path, tag string, ms ...ocispec.Descriptor) digest.Digest {
	t.Helper()
	x := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: ms}
	b, _ := json.Marshal(x)
	c := remote.New(remote.Config{})
	r, err := c.Repository(u.host(), path, remote.Auth{})
	if err != nil {
		t.Fatal(err)
	}
	d := ocispec.Descriptor{MediaType: x.MediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
	if err := r.PutManifest(context.Background(), tag, d, b); err != nil {
		t.Fatal(err)
	}
	return d.Digest
}

func big(n int, seed byte) string {
	b := make([]byte, n)
	x := uint32(seed) + 1
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return string(b)
}

func TestPullTellsWhatDockerTells(t *testing.T) {
	u, b := newUpstream(t, nil), newBed(t)
	m := makeImage(t, [][]byte{layerTar(t, file{"a", "a"}), layerTar(t, file{"b", big(300000, 1)})})
	u.push(t, "team/app", "v1", m)
	var mu sync.Mutex
	per := map[string][]string{}
	progress := func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		if l := per[e.ID]; len(l) == 0 || l[len(l)-1] != e.Status {
			per[e.ID] = append(per[e.ID], e.Status)
		}
	}
	ref := u.host() + "/team/app:v1"
	img, err := b.Pull(context.Background(), ref, PullOptions{Progress: progress})
	if err != nil {
		t.Fatal(err)
	}
	if img.ID != m.config || img.Manifest.Digest != m.desc.Digest || len(img.DiffIDs) != 2 || img.Size != 300001 {
		t.Errorf("image is %+v", img)
	}
	if !slices.Equal(img.RepoTags, []string{ref}) || !slices.Equal(img.RepoDigests, []string{u.host() + "/team/app@" + m.desc.Digest.String()}) {
		t.Errorf("names are %v %v", img.RepoTags, img.RepoDigests)
	}
	for _, l := range img.Layers {
		got := per[shortID(l.Digest)]
		var order []string
		for _, s := range got {
			if s != StatusWaiting && s != StatusExtracting {
				order = append(order, s)
			}
		}
		if want := []string{StatusPullingLayer, StatusDownloading, StatusVerifying, StatusDownloaded, StatusPulled}; !slices.Equal(order, want) {
			t.Errorf("layer told %v", got)
		}
	}
	if want := []string{"Digest: " + m.desc.Digest.String(), "Status: Downloaded newer image for " + ref}; !slices.Equal(per[""], want) {
		t.Errorf("told %v", per[""])
	}
	if !slices.Equal(per["v1"], []string{"Pulling from team/app"}) {
		t.Errorf("told %v", per["v1"])
	}
	clear(per)
	if _, err := b.Pull(context.Background(), ref, PullOptions{Progress: progress}); err != nil {
		t.Fatal(err)
	}
	if l := per[""]; l[len(l)-1] != "Status: Image is up to date for "+ref {
		t.Errorf("second pull told %v", per)
	}
	if got := per[shortID(img.Layers[0].Digest)]; got != nil {
		t.Errorf("second pull told %v of a layer, where there is nothing to do", got)
	}
	// The same after a restart.
	b.close()
	b.open()
	again, err := b.Get(ref)
	if err != nil || again.ID != img.ID || again.Size != img.Size || len(again.RepoDigests) != 1 {
		t.Errorf("after a restart: %+v, %v", again, err)
	}
	for _, name := range []string{img.ID.String(), img.ID.Encoded(), shortID(img.ID), u.host() + "/team/app@" + m.desc.Digest.String()} {
		if got, err := b.Get(name); err != nil || got.ID != img.ID {
			t.Errorf("get %s: %v", name, err)
		}
	}
}

func TestPullChoosesThePlatform(t *testing.T) {
	u, b := newUpstream(t, nil), newBed(t)
	arch := func(a, v string) option {
		return func(c *ocispec.Image, _ *ocispec.Manifest) { c.Architecture, c.Variant = a, v }
	}
	amd := makeImage(t, [][]byte{layerTar(t, file{"arch", "amd64"})})
	arm7 := makeImage(t, [][]byte{layerTar(t, file{"arch", "armv7"})}, arch("arm", "v7"))
	arm6 := makeImage(t, [][]byte{layerTar(t, file{"arch", "armv6"})}, arch("arm", "v6"))
	att := makeImage(t, [][]byte{layerTar(t, file{"att", "x"})}, arch("unknown", ""), func(c *ocispec.Image, _ *ocispec.Manifest) { c.OS = "unknown" })
	for _, m := range []*made{amd, arm7, arm6, att} {
		u.push(t, "multi", "", m)
	}
	index := u.pushIndex(t, "multi", "latest", att.desc, arm7.desc, arm6.desc, amd.desc)
	ref := u.host() + "/multi"
	img, err := b.Pull(context.Background(), ref, PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if img.ID != amd.config || img.RepoDigests[0] != ref+"@"+index.String() {
		t.Errorf("image is %s, digests %v", img.ID, img.RepoDigests)
	}
	for variant, want := range map[string]*made{"arm/v8": arm7, "arm/v7": arm7, "arm/v6": arm6, "arm": arm7} {
		p := ParsePlatform(variant)
		if img, err = b.Pull(context.Background(), ref, PullOptions{Platform: &p}); err != nil || img.ID != want.config {
			t.Errorf("%s: %v", variant, err)
		}
	}
	p := ParsePlatform("linux/s390x")
	if _, err = b.Pull(context.Background(), ref, PullOptions{Platform: &p}); !errors.Is(err, ErrNoPlatform) {
		t.Errorf("s390x: %v", err)
	}
}

func TestPullErrorsAreTyped(t *testing.T) {
	u, b := newUpstream(t, nil), newBed(t)
	u.push(t, "there", "v1", makeImage(t, [][]byte{layerTar(t, file{"a", "a"})}))
	closed := httptest.NewServer(nil)
	closed.Close()
	for _, c := range []struct {
		ref  string
		want error
	}{
		{u.host() + "/nope:v1", ErrManifestUnknown},
		{u.host() + "/there:v2", ErrManifestUnknown},
		{u.host() + "/there@" + digest.FromString("x").String(), ErrManifestUnknown},
		{strings.TrimPrefix(closed.URL, "http://") + "/x", ErrUnreachable},
		{"a/UPPER", ErrInvalidReference},
		{"", ErrInvalidReference},
	} {
		if _, err := b.Pull(context.Background(), c.ref, PullOptions{}); !errors.Is(err, c.want) {
			t.Errorf("%q: %v, want %v", c.ref, err, c.want)
		}
	}
	var re *RegistryError
	if _, err := b.Pull(context.Background(), u.host()+"/nope:v1", PullOptions{}); !errors.As(err, &re) || re.Status != 404 || re.Codes[0].Code != "NAME_UNKNOWN" {
		t.Errorf("registry's words: %+v", re)
	}
}

// TestDownloadResumes cuts the connection in the middle of every blob, several times.
func TestDownloadResumes(t *testing.T) {
	u, b := newUpstream(t, nil), newBed(t)
	u.push(t, "r", "latest", makeImage(t, [][]byte{layerTar(t, file{"a", big(900000, 3)})}))
	var cuts, ranged atomic.Int64
	u.bend(func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Path, "/blobs/") {
			next.ServeHTTP(w, r)
			return
		}
		if r.Header.Get("Range") != "" {
			ranged.Add(1)
		}
		if cuts.Add(1) > 4 {
			next.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(&cutter{ResponseWriter: w, left: 200000}, r)
	})
	retried := atomic.Int64{}
	_, err := b.Pull(context.Background(), u.host()+"/r", PullOptions{Progress: func(e Event) {
		if strings.HasPrefix(e.Status, StatusRetrying) {
			retried.Add(1)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	if ranged.Load() < 2 || retried.Load() < 2 {
		t.Errorf("%d ranged requests, %d retries told", ranged.Load(), retried.Load())
	}
}

type cutter struct {
	http.ResponseWriter
	left int
}

func (c *cutter) Write(p []byte) (int, error) {
	if len(p) > c.left {
		c.ResponseWriter.Write(p[:c.left])
		c.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	c.left -= len(p)
	return c.ResponseWriter.Write(p)
}

// TestPullIsResumedAfterACrash leaves an ingest as a killed process does, and a server that answers no Range.
func TestChangesAreTold(t *testing.T) {
	u, b := newUpstream(t, nil), newBed(t)
	u.push(t, "c", "latest", makeImage(t, [][]byte{layerTar(t, file{"a", "a"})}))
	var told atomic.Int64
	b.OnChange(func() { told.Add(1) })
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"pull", func() error { _, err := b.Pull(context.Background(), u.host()+"/c", PullOptions{}); return err }},
		{"tag", func() error { return b.Tag(context.Background(), u.host()+"/c", "other:1") }},
		{"remove", func() error { _, err := b.Remove(context.Background(), "other:1", RemoveOptions{}); return err }},
	} {
		before := told.Load()
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		if told.Load() == before {
			t.Errorf("nobody was told of the %s", step.what)
		}
	}
}

func TestPullIsResumedAfterACrash(t *testing.T) {
	for _, ranges := range []bool{true, false} {
		t.Run(fmt.Sprint("ranges=", ranges), func(t *testing.T) {
			u, b := newUpstream(t, nil), newBed(t)
			m := makeImage(t, [][]byte{layerTar(t, file{"a", big(400000, 9)})})
			u.push(t, "c", "latest", m)
			var l digest.Digest
			for d := range m.blobs {
				if d != m.config {
					l = d
				}
			}
			i, err := b.content.Begin("blob "+l.String(), "")
			if err != nil {
				t.Fatal(err)
			}
			i.Write(m.blobs[l][:150000])
			b.close() // the process is gone, the file stays
			b.open()
			var sent atomic.Int64
			u.bend(func(next http.Handler, w http.ResponseWriter, r *http.Request) {
				if !ranges {
					r.Header.Del("Range")
				}
				if strings.HasSuffix(r.URL.Path, l.String()) {
					w = &meter{w, &sent}
				}
				next.ServeHTTP(w, r)
			})
			if _, err := b.Pull(context.Background(), u.host()+"/c", PullOptions{}); err != nil {
				t.Fatal(err)
			}
			want := int64(len(m.blobs[l]))
			if ranges {
				want -= 150000
			}
			if sent.Load() != want {
				t.Errorf("%d bytes came, want %d", sent.Load(), want)
			}
		})
	}
}

type meter struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (m *meter) Write(p []byte) (int, error) {
	n, err := m.ResponseWriter.Write(p)
	m.n.Add(int64(n))
	return n, err
}

func TestBadBytesAreRefusedAndNotKept(t *testing.T) {
	u, b := newUpstream(t, nil), newBed(t)
	m := makeImage(t, [][]byte{layerTar(t, file{"a", big(50000, 5)})})
	u.push(t, "bad", "latest", m)
	flip := atomic.Bool{}
	flip.Store(true)
	u.bend(func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		if flip.Load() && strings.Contains(r.URL.Path, "/blobs/") && !strings.Contains(r.URL.Path, m.config.String()) {
			w = &flipper{w}
		}
		next.ServeHTTP(w, r)
	})
	if _, err := b.Pull(context.Background(), u.host()+"/bad", PullOptions{}); err == nil {
		t.Fatal("damaged bytes were taken")
	}
	flip.Store(false)
	if _, err := b.Pull(context.Background(), u.host()+"/bad", PullOptions{}); err != nil {
		t.Errorf("the damaged bytes are still in the way: %v", err)
	}
}

type flipper struct{ http.ResponseWriter }

func (f *flipper) Write(p []byte) (int, error) {
	q := bytes.Clone(p)
	q[len(q)/2] ^= 0x55
	return f.ResponseWriter.Write(q)
}

func TestConcurrentPullsShareTheWork(t *testing.T) {
	u, b := newUpstream(t, nil), newBed(t)
	shared := layerTar(t, file{"base", big(200000, 7)})
	for i := range 4 {
		u.push(t, fmt.Sprintf("app%d", i), "latest", makeImage(t, [][]byte{shared, layerTar(t, file{"own", fmt.Sprint(i)})}))
	}
	u.gets.Store(0)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			if _, err := b.Pull(context.Background(), fmt.Sprintf("%s/app%d", u.host(), i%4), PullOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	// Four configs, four own layers, one shared.
	if n := u.gets.Load(); n > 9 {
		t.Errorf("%d blob requests for 9 blobs", n)
	}
	if len(b.List()) != 4 {
		t.Errorf("%d images", len(b.List()))
	}
}

// TestOneCallerLeaves: a pull goes on for the others when the one who began it gives up, and ends when nobody waits.
func TestOneCallerLeaves(t *testing.T) {
	u, b := newUpstream(t, nil), newBed(t)
	u.push(t, "slow", "latest", makeImage(t, [][]byte{layerTar(t, file{"a", big(50000, 2)})}))
	gate, reached := make(chan struct{}), make(chan struct{})
	var once sync.Once
	u.bend(func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/blobs/") {
			once.Do(func() { close(reached) })
			select {
			case <-gate:
			case <-r.Context().Done():
				return
			}
		}
		next.ServeHTTP(w, r)
	})
	ctx, cancel := context.WithCancel(context.Background())
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { _, err := b.Pull(ctx, u.host()+"/slow", PullOptions{}); first <- err }()
	<-reached
	joined := make(chan struct{})
	var j sync.Once
	go func() {
		_, err := b.Pull(context.Background(), u.host()+"/slow", PullOptions{Progress: func(Event) { j.Do(func() { close(joined) }) }})
		second <- err
	}()
	<-joined
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the first: %v", err)
	}
	close(gate)
	if err := <-second; err != nil {
		t.Errorf("the second: %v", err)
	}
}

func TestCredentials(t *testing.T) {
	basic := &registry.BasicAuth{Realm: "test", Check: func(user, password string) (func(registry.Access) bool, bool) {
		return func(registry.Access) bool { return user != "" }, user == "" || user == "joe" && password == "secret"
	}}
	u := newUpstream(t, basic)
	b := newBed(t, func(c *Config) {
		c.Creds = func(host string) (*Auth, error) {
			if host == u.host() {
				return &Auth{Username: "joe", Password: "secret"}, nil
			}
			return nil, nil
		}
	})
	u.push(t, "private", "latest", makeImage(t, [][]byte{layerTar(t, file{"a", "a"})}), remote.Auth{Username: "joe", Password: "secret"})
	ref := u.host() + "/private"
	for _, a := range []*Auth{{}, {Username: "joe", Password: "wrong"}} {
		if _, err := b.Pull(context.Background(), ref, PullOptions{Auth: a}); !errors.Is(err, ErrUnauthorized) {
			t.Errorf("%+v: %v", a, err)
		}
	}
	if _, err := b.Pull(context.Background(), ref, PullOptions{}); err != nil {
		t.Errorf("with the configured credentials: %v", err)
	}
}

func TestMirrors(t *testing.T) {
	u := newUpstream(t, nil)
	m := makeImage(t, [][]byte{layerTar(t, file{"a", "a"})})
	u.push(t, "library/nginx", "latest", m)
	dead := httptest.NewServer(nil)
	dead.Close()
	b := newBed(t, func(c *Config) {
		c.Registries.Mirrors = map[string][]string{"docker.io": {dead.URL, u.URL}}
		c.Registries.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
	})
	img, err := b.Pull(context.Background(), "nginx", PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(img.RepoTags, []string{"nginx:latest"}) {
		t.Errorf("names %v", img.RepoTags)
	}
	if got, err := b.Get("docker.io/library/nginx:latest"); err != nil || got.ID != m.config {
		t.Errorf("by the long name: %v", err)
	}
}

func TestRemoveFollowsDockersRules(t *testing.T) {
	u := newUpstream(t, nil)
	used := map[digest.Digest]bool{}
	b := newBed(t, func(c *Config) {
		c.InUse = func(id digest.Digest) ([]string, bool) {
			if used[id] {
				return []string{"abc"}, true
			}
			return nil, false
		}
	})
	ctx := context.Background()
	base := layerTar(t, file{"base", "base"})
	one, two := makeImage(t, [][]byte{base, layerTar(t, file{"1", "1"})}), makeImage(t, [][]byte{base, layerTar(t, file{"2", "2"})})
	u.push(t, "one", "latest", one)
	u.push(t, "two", "latest", two)
	ref := func(n string) string { return u.host() + "/" + n + ":latest" }
	for _, n := range []string{"one", "two"} {
		if _, err := b.Pull(ctx, ref(n), PullOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Tag(ctx, ref("one"), "other/name:x"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Remove(ctx, one.config.String(), RemoveOptions{}); !errors.Is(err, ErrConflict) {
		t.Errorf("an ID with two names: %v", err)
	}
	got, err := b.Remove(ctx, "other/name:x", RemoveOptions{})
	if err != nil || len(got) != 1 || got[0].Untagged != "other/name:x" {
		t.Errorf("untag: %v, %v", got, err)
	}
	used[one.config] = true
	if _, err := b.Remove(ctx, one.config.String(), RemoveOptions{Force: true}); !errors.Is(err, ErrInUse) {
		t.Errorf("an image in use: %v", err)
	}
	if _, err := b.Remove(ctx, ref("one"), RemoveOptions{}); !errors.Is(err, ErrInUse) {
		t.Errorf("the last name of an image in use: %v", err)
	}
	got, err = b.Remove(ctx, ref("one"), RemoveOptions{Force: true})
	if err != nil || slices.ContainsFunc(got, func(r Removed) bool { return r.Deleted != "" }) {
		t.Errorf("the last name of an image in use, by force: %v, %v", got, err)
	}
	if _, err := b.Get(one.config.String()); err != nil {
		t.Errorf("an image in use is gone with its name: %v", err)
	}
	if _, err := b.Pull(ctx, ref("one"), PullOptions{}); err != nil {
		t.Fatal(err)
	}
	used[one.config] = false
	got, err = b.Remove(ctx, ref("one"), RemoveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var deleted, untagged int
	for _, r := range got {
		if r.Deleted != "" {
			deleted++
		} else {
			untagged++
		}
	}
	if deleted != 2 || untagged != 2 { // the image and its own layer; the shared one stays. Tag and digest
		t.Errorf("removed %+v", got)
	}
	if _, err := b.Get(ref("one")); !errors.Is(err, ErrNotFound) {
		t.Errorf("get: %v", err)
	}
	u2, err := b.Usage(ctx)
	if err != nil || len(u2.Images) != 1 || u2.Images[0].Unique != 5 || u2.Reclaimable != u2.LayersSize+u2.BlobsSize || u2.Reclaimable < 5 {
		t.Errorf("usage %+v, %v", u2, err)
	}
	if _, freed, err := b.Prune(ctx, PruneOptions{}); err != nil || freed != 0 {
		t.Errorf("prune of nothing: %d, %v", freed, err)
	}
	if _, freed, err := b.Prune(ctx, PruneOptions{All: true}); err != nil || freed == 0 {
		t.Errorf("prune: %d, %v", freed, err)
	}
	if left := b.leftovers(); left != nil {
		t.Errorf("left on disk: %v", left)
	}
}

func TestExportImportRoundTrip(t *testing.T) {
	u, b := newUpstream(t, nil), newBed(t)
	ctx := context.Background()
	m := makeImage(t, [][]byte{layerTar(t, file{"a", "a"}), layerTar(t, file{"b", big(100000, 1)})})
	u.push(t, "x", "v1", m)
	ref := u.host() + "/x:v1"
	if _, err := b.Pull(ctx, ref, PullOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"x:one", "x:two"} {
		if err := b.Tag(ctx, ref, n); err != nil {
			t.Fatal(err)
		}
	}
	var plain bytes.Buffer
	if err := b.Export(ctx, &plain, ExportOptions{}, "x"); err != nil {
		t.Fatal(err)
	}
	legacy := legacyArchive(t, m)
	for name, c := range map[string]struct {
		archive []byte
		tags    []string
	}{
		"both":         {plain.Bytes(), []string{"x:one", "x:two"}},
		"gzip":         {zip(plain.Bytes()), []string{"x:one", "x:two"}},
		"oci only":     {without(t, plain.Bytes(), "manifest.json"), []string{"x:one", "x:two"}},
		"docker only":  {without(t, plain.Bytes(), "index.json", "oci-layout"), []string{"x:one", "x:two"}},
		"docker, old":  {legacy, []string{"old:1", "old:2"}},
		"old, in gzip": {zip(legacy), []string{"old:1", "old:2"}},
	} {
		t.Run(name, func(t *testing.T) {
			n := newBed(t)
			imgs, err := n.Import(ctx, bytes.NewReader(c.archive), ImportOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if len(imgs) != 1 || imgs[0].ID != m.config || !slices.Equal(imgs[0].RepoTags, c.tags) || imgs[0].Size != 100001 {
				t.Errorf("imported %+v", imgs[0])
			}
			if _, err := n.layers.Prepare(ctx, "c", imgs[0].DiffIDs); err != nil {
				t.Error(err)
			}
		})
	}
}

func without(t *testing.T, archive []byte, names ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	tr, tw := tar.NewReader(bytes.NewReader(archive)), tar.NewWriter(&out)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(names, h.Name) {
			continue
		}
		tw.WriteHeader(h)
		io.Copy(tw, tr)
	}
	tw.Close()
	return out.Bytes()
}

// legacyArchive is what docker save wrote before 25: a directory a layer, uncompressed, manifest.json last, one layer as a symlink.
func legacyArchive(t *testing.T, m *made) []byte {
	t.Helper()
	var c ocispec.Image
	if err := json.Unmarshal(m.blobs[m.config], &c); err != nil {
		t.Fatal(err)
	}
	layers := [][]byte{layerTar(t, file{"a", "a"}), layerTar(t, file{"b", big(100000, 1)})}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(name string, data []byte) {
		w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data))})
		w.Write(data)
	}
	w.WriteHeader(&tar.Header{Name: "one/", Typeflag: tar.TypeDir, Mode: 0o755})
	add("one/VERSION", []byte("1.0"))
	add("one/json", []byte("{}"))
	add("one/layer.tar", layers[0])
	add("two/layer.tar", layers[1])
	w.WriteHeader(&tar.Header{Name: "three/layer.tar", Typeflag: tar.TypeSymlink, Linkname: "../two/layer.tar"})
	add(m.config.Encoded()+".json", m.blobs[m.config])
	j, _ := json.Marshal([]dockerImage{{Config: m.config.Encoded() + ".json", RepoTags: []string{"old:1", "old:2"}, Layers: []string{"one/layer.tar", "three/layer.tar"}}})
	add("manifest.json", j)
	add("repositories", []byte("{}"))
	w.Close()
	return b.Bytes()
}

func TestBadArchives(t *testing.T) {
	b := newBed(t)
	tarFile := func(files ...file) []byte { return layerTar(t, files...) }
	for name, a := range map[string][]byte{
		"empty":            {},
		"not a tar":        []byte(strings.Repeat("nonsense ", 200)),
		"no index":         tarFile(file{"hello", "x"}),
		"wrong digest":     tarFile(file{"blobs/sha256/" + digest.FromString("a").Encoded(), "b"}, file{"index.json", "{}"}),
		"bad name":         tarFile(file{"blobs/sha256/../../../etc/passwd", "b"}, file{"blobs/sha256/zz", "b"}),
		"missing manifest": tarFile(file{"index.json", fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":%q,"digest":%q,"size":1}]}`, ocispec.MediaTypeImageManifest, digest.FromString("gone"))}),
		"missing layer":    tarFile(file{"c.json", `{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["` + digest.FromString("l").String() + `"]}}`}, file{"manifest.json", `[{"Config":"c.json","RepoTags":["a:b"],"Layers":["l/layer.tar"]}]`}),
		"wrong diff ID":    tarFile(file{"c.json", `{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["` + digest.FromString("l").String() + `"]}}`}, file{"l/layer.tar", string(tarFile(file{"a", "a"}))}, file{"manifest.json", `[{"Config":"c.json","RepoTags":["a:b"],"Layers":["l/layer.tar"]}]`}),
		"hostile name":     tarFile(file{"c.json", `{}`}, file{"manifest.json", `[{"Config":"../../etc/passwd","RepoTags":["a:b"],"Layers":[]}]`}),
	} {
		if _, err := b.Import(context.Background(), bytes.NewReader(a), ImportOptions{}); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if left := b.leftovers(); left != nil {
		t.Errorf("left on disk: %v", left)
	}
}

func TestPushMountsAndRemembers(t *testing.T) {
	u, b := newUpstream(t, nil), newBed(t)
	ctx := context.Background()
	m := makeImage(t, [][]byte{layerTar(t, file{"a", big(100000, 4)})})
	u.push(t, "src", "latest", m)
	if _, err := b.Pull(ctx, u.host()+"/src", PullOptions{}); err != nil {
		t.Fatal(err)
	}
	dst := u.host() + "/dst:v2"
	if err := b.Tag(ctx, u.host()+"/src", dst); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var told []string
	desc, err := b.Push(ctx, dst, PushOptions{Progress: func(e Event) { mu.Lock(); told = append(told, e.Status); mu.Unlock() }})
	if err != nil {
		t.Fatal(err)
	}
	if desc.Digest != m.desc.Digest || !slices.Contains(told, "Mounted from src") {
		t.Errorf("pushed %s, told %v", desc.Digest, told)
	}
	told = nil
	if _, err := b.Push(ctx, dst, PushOptions{Progress: func(e Event) { mu.Lock(); told = append(told, e.Status); mu.Unlock() }}); err != nil || !slices.Contains(told, StatusPushExists) {
		t.Errorf("second push: %v, %v", told, err)
	}
	img, _ := b.Get(dst)
	if !slices.Contains(img.RepoDigests, u.host()+"/dst@"+m.desc.Digest.String()) {
		t.Errorf("digests %v", img.RepoDigests)
	}
	if _, err := b.Push(ctx, u.host()+"/never", PushOptions{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("push of nothing: %v", err)
	}
	n := newBed(t)
	if got, err := n.Pull(ctx, dst, PullOptions{}); err != nil || got.ID != m.config {
		t.Errorf("pull back: %v", err)
	}
}

func TestCommitMakesAnImage(t *testing.T) {
	u, b := newUpstream(t, nil), newBed(t)
	ctx := context.Background()
	m := makeImage(t, [][]byte{layerTar(t, file{"a", "a"})})
	u.push(t, "base", "latest", m)
	base, err := b.Pull(ctx, u.host()+"/base", PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	mount, err := b.layers.Prepare(ctx, "c", base.DiffIDs)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(mount.Upper, "new"), []byte("new"), 0o644); err != nil {
		t.Fatal(err)
	}
	img, err := b.Commit(ctx, "c", base.ID, dockerspec.DockerOCIImage{Image: base.Config}, ocispec.History{CreatedBy: "sh"}, "made:here")
	if err != nil {
		t.Fatal(err)
	}
	if len(img.DiffIDs) != 2 || img.DiffIDs[0] != base.DiffIDs[0] || img.Parent != base.ID || !slices.Equal(img.RepoTags, []string{"made:here"}) || img.Size != 4 {
		t.Errorf("committed %+v", img)
	}
	if err := b.layers.Remove("c"); err != nil {
		t.Fatal(err)
	}
	b.close()
	b.open()
	if got, err := b.Get("made:here"); err != nil || got.Parent != base.ID {
		t.Errorf("after a restart: %v", err)
	}
}

// TestLostLayerIsUnpackedAgain: after a power loss a layer may be gone while its image's blobs are here.
func TestLostLayerIsUnpackedAgain(t *testing.T) {
	u, b := newUpstream(t, nil), newBed(t)
	m := makeImage(t, [][]byte{layerTar(t, file{"a", "a"})})
	u.push(t, "x", "latest", m)
	img, err := b.Pull(context.Background(), u.host()+"/x", PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	b.close()
	if err := os.RemoveAll(filepath.Join(b.dir, "layers")); err != nil {
		t.Fatal(err)
	}
	b.open()
	if _, ok := b.layers.Has(img.DiffIDs[0]); !ok {
		t.Error("layer was not unpacked again")
	}
	b.close()
	if err := os.Remove(filepath.Join(b.dir, "content/blobs/sha256", img.ID.Encoded())); err != nil {
		t.Fatal(err)
	}
	b.open()
	if len(b.List()) != 0 {
		t.Error("an image without its config is listed")
	}
	if left := b.leftovers(); left != nil {
		t.Errorf("left on disk: %v", left)
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"config":{"digest":"sha256:`+strings.Repeat("a", 64)+`"},"layers":[]}`), "")
	f.Add([]byte(`{"schemaVersion":2,"manifests":[]}`), ocispec.MediaTypeImageIndex)
	f.Add([]byte(`{"schemaVersion":2,"manifests":[],"layers":[]}`), "")
	f.Fuzz(func(t *testing.T, b []byte, media string) {
		spent.On(t, len(b)+len(media), func() {
			x, err := parseManifest(b, media)
			if err == nil && (x.index == nil) == (x.manifest == nil) {
				t.Error("neither or both")
			}
			if err == nil && x.index != nil {
				choose(x.index.Manifests, HostPlatform())
			}
		})
	})
}

// FuzzImport: whatever an archive says, no panic, bounded memory, and nothing stays of what was refused.
func FuzzImport(f *testing.F) {
	if os.Geteuid() != 0 {
		f.Skip("needs root: layers have owners")
	}
	l := layerTar(f, file{"a", "a"})
	config := `{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["` + digest.FromBytes(l).String() + `"]}}`
	manifest := `{"schemaVersion":2,"config":{"digest":"` + digest.FromString(config).String() + `"},"layers":[{"mediaType":"` + ocispec.MediaTypeImageLayer + `","digest":"` + digest.FromBytes(l).String() + `"}]}`
	index := `{"schemaVersion":2,"manifests":[{"mediaType":"` + ocispec.MediaTypeImageManifest + `","digest":"` + digest.FromString(manifest).String() + `"}]}`
	blob := func(s string) file { return file{"blobs/sha256/" + digest.FromString(s).Encoded(), s} }
	f.Add(layerTar(f, blob(config), blob(string(l)), blob(manifest), file{"index.json", index}))
	f.Add(layerTar(f, file{"c.json", config}, file{"l.tar", string(l)}, file{"manifest.json", `[{"Config":"c.json","RepoTags":["a:b"],"Layers":["l.tar"]}]`}))
	f.Add(layerTar(f, file{"index.json", `{"schemaVersion":2,"manifests":[],"layers":[]}`}, file{"manifest.json", "[]"}))
	dir := f.TempDir()
	c, err := content.Open(filepath.Join(dir, "content"), nil)
	if err != nil {
		f.Fatal(err)
	}
	ls, err := layer.Open(layer.Config{Dir: filepath.Join(dir, "layers"), Limits: layer.Limits{Entries: 100, Bytes: 1 << 20, Reserve: 1}})
	if err != nil {
		f.Fatal(err)
	}
	s, err := Open(Config{DB: filepath.Join(dir, "images.db"), Content: c, Layers: ls})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := s.Import(context.Background(), bytes.NewReader(b), ImportOptions{}); err == nil {
			if _, _, err := s.Prune(context.Background(), PruneOptions{All: true}); err != nil {
				t.Fatal(err)
			}
		}
		for _, p := range []string{"content/blobs/sha256/*", "content/ingest/*", "layers/[lt][0-9a-z]*"} {
			if left, _ := filepath.Glob(filepath.Join(dir, p)); left != nil {
				t.Fatalf("left: %v", left)
			}
		}
	})
}
