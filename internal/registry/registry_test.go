package registry

import (
	"bytes"
	"context"
	"crypto/ed25519"
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
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"nau/internal/engine/content"
	"nau/internal/engine/image/remote"
	"nau/internal/house/spent"
)

// bed is a registry over HTTP.
type bed struct {
	t       *testing.T
	dir     string
	content *content.Store
	reg     *Registry
	srv     *httptest.Server
	now     time.Time
}

func newBed(t *testing.T, change ...func(*Config)) *bed {
	t.Helper()
	b := &bed{t: t, dir: t.TempDir(), now: time.Now()}
	var err error
	if b.content, err = content.Open(b.dir, nil); err != nil {
		t.Fatal(err)
	}
	cfg := Config{Content: b.content, Deletes: true, Now: func() time.Time { return b.now }}
	for _, c := range change {
		c(&cfg)
	}
	if b.reg, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	b.srv = httptest.NewServer(b.reg)
	t.Cleanup(func() { b.srv.Close(); b.reg.Close(); b.content.Close() })
	return b
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) code() string {
	var e struct{ Errors []struct{ Code string } }
	if json.Unmarshal(a.body, &e) != nil || len(e.Errors) == 0 {
		return ""
	}
	return e.Errors[0].Code
}

func (b *bed) do(method, path string, body []byte, header ...string) answer {
	b.t.Helper()
	u := path
	if !strings.HasPrefix(u, "http") {
		u = b.srv.URL + path
	}
	req, err := http.NewRequest(method, u, bytes.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	got, _ := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, got}
}

func (b *bed) want(status int, method, path string, body []byte, header ...string) answer {
	b.t.Helper()
	a := b.do(method, path, body, header...)
	if a.status != status {
		b.t.Errorf("%s %s: %d %s, want %d", method, path, a.status, a.body, status)
	}
	return a
}

func (b *bed) blob(repo, text string) digest.Digest {
	b.t.Helper()
	d := digest.FromString(text)
	b.want(201, "POST", "/v2/"+repo+"/blobs/uploads/?digest="+d.String(), []byte(text))
	return d
}

// image puts an image manifest of one layer, and answers its digest.
func (b *bed) image(repo, ref, layer string, more map[string]any) digest.Digest {
	b.t.Helper()
	c := b.blob(repo, "{}")
	l := b.blob(repo, layer)
	m := map[string]any{
		"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest,
		"config": map[string]any{"mediaType": ocispec.MediaTypeImageConfig, "digest": c, "size": 2},
		"layers": []any{map[string]any{"mediaType": ocispec.MediaTypeImageLayer, "digest": l, "size": len(layer)}},
	}
	for k, v := range more {
		m[k] = v
	}
	raw, _ := json.Marshal(m)
	d := digest.FromBytes(raw)
	if ref == "" {
		ref = d.String()
	}
	a := b.want(201, "PUT", "/v2/"+repo+"/manifests/"+ref, raw, "Content-Type", ocispec.MediaTypeImageManifest)
	if a.header.Get("Docker-Content-Digest") != d.String() || a.header.Get("Location") == "" {
		b.t.Errorf("headers %v", a.header)
	}
	return d
}

func TestPullWorkflow(t *testing.T) {
	b := newBed(t)
	b.want(200, "GET", "/v2/", nil)
	d := b.image("a/b", "v1", "layer bytes", nil)
	for _, ref := range []string{"v1", d.String()} {
		a := b.want(200, "GET", "/v2/a/b/manifests/"+ref, nil)
		if digest.FromBytes(a.body) != d || a.header.Get("Content-Type") != ocispec.MediaTypeImageManifest {
			t.Errorf("%s: %v", ref, a.header)
		}
		h := b.want(200, "HEAD", "/v2/a/b/manifests/"+ref, nil)
		if h.header.Get("Content-Length") != fmt.Sprint(len(a.body)) || h.header.Get("Docker-Content-Digest") != d.String() {
			t.Errorf("HEAD: %v", h.header)
		}
	}
	l := digest.FromString("layer bytes")
	if a := b.want(200, "GET", "/v2/a/b/blobs/"+l.String(), nil); string(a.body) != "layer bytes" {
		t.Errorf("blob %q", a.body)
	}
	if a := b.want(206, "GET", "/v2/a/b/blobs/"+l.String(), nil, "Range", "bytes=6-"); string(a.body) != "bytes" {
		t.Errorf("range %q", a.body)
	}
	if a := b.want(200, "HEAD", "/v2/a/b/blobs/"+l.String(), nil); a.header.Get("Content-Length") != "11" {
		t.Errorf("HEAD: %v", a.header)
	}
	for path, code := range map[string]string{
		"/v2/a/b/manifests/nope":                                       "MANIFEST_UNKNOWN",
		"/v2/a/c/manifests/nope":                                       "NAME_UNKNOWN",
		"/v2/a/b/blobs/" + digest.FromString("x").String():             "BLOB_UNKNOWN",
		"/v2/other/blobs/" + l.String():                                "BLOB_UNKNOWN", // in the store, not in that repository
		"/v2/a/b/manifests/" + digest.FromString("x").String():         "MANIFEST_UNKNOWN",
		"/v2/x/tags/list":                                              "NAME_UNKNOWN",
		"/v2/a/b/blobs/uploads/nope":                                   "BLOB_UPLOAD_UNKNOWN",
		"/v2/a/b/blobs/uploads/" + strings.Repeat("a", 26):             "BLOB_UPLOAD_UNKNOWN",
		"/v2/manifests/manifests/blobs/manifests/" + d.String():        "NAME_UNKNOWN",
		"/v2/a/b/manifests/" + strings.Repeat("t", 129):                "MANIFEST_UNKNOWN",
		"/v2/a/b/manifests/sha256:" + strings.Repeat("A", 64):          "MANIFEST_UNKNOWN",
		"/v2/a/b/manifests/" + url.PathEscape("../../../_tags/tag-v1"): "NOT_FOUND",
	} {
		if a := b.do("GET", path, nil); a.status != 404 && a.status != 400 || a.code() != code && a.code() != "NAME_INVALID" {
			t.Errorf("GET %s: %d %s, want %s", path, a.status, a.body, code)
		}
	}
	if a := b.want(400, "GET", "/v2/a/b/blobs/sha256:short", nil); a.code() != "DIGEST_INVALID" {
		t.Errorf("%s", a.body)
	}
	if a := b.want(400, "GET", "/v2/A/manifests/x", nil); a.code() != "NAME_INVALID" {
		t.Errorf("%s", a.body)
	}
	b.want(405, "POST", "/v2/a/b/manifests/v1", nil)
}

func TestUploads(t *testing.T) {
	b := newBed(t)
	text := "0123456789abcdef"
	d := digest.FromString(text).String()
	start := func() string {
		a := b.want(202, "POST", "/v2/r/blobs/uploads/", nil)
		return b.srv.URL + a.header.Get("Location")
	}
	t.Run("post then put", func(t *testing.T) {
		u := start()
		a := b.want(201, "PUT", u+"?digest="+d, []byte(text))
		if a.header.Get("Location") != "/v2/r/blobs/"+d {
			t.Errorf("location %v", a.header)
		}
		b.want(404, "GET", u, nil)
	})
	t.Run("chunks", func(t *testing.T) {
		u := start()
		a := b.want(202, "PATCH", u, []byte(text[:5]), "Content-Range", "0-4")
		if a.header.Get("Range") != "0-4" {
			t.Errorf("range %q", a.header.Get("Range"))
		}
		a = b.want(416, "PATCH", u, []byte(text[7:9]), "Content-Range", "7-8")
		if a.header.Get("Range") != "0-4" {
			t.Errorf("range after a gap %q", a.header.Get("Range"))
		}
		b.want(416, "PATCH", u, []byte("xx"), "Content-Range", "5-9")
		b.want(202, "PATCH", u, []byte(text[5:10]), "Content-Range", "5-9")
		if a = b.want(204, "GET", u, nil); a.header.Get("Range") != "0-9" {
			t.Errorf("status %q", a.header.Get("Range"))
		}
		// A restart in between.
		b.reg.Close()
		if a = b.want(204, "GET", u, nil); a.header.Get("Range") != "0-9" {
			t.Errorf("status after a restart %q", a.header.Get("Range"))
		}
		b.want(201, "PUT", u+"?digest="+d, []byte(text[10:]), "Content-Range", "10-15")
	})
	t.Run("wrong digest", func(t *testing.T) {
		if a := b.want(400, "PUT", start()+"?digest="+d, []byte("other")); a.code() != "DIGEST_INVALID" {
			t.Errorf("%s", a.body)
		}
		b.want(400, "PUT", start(), []byte(text))
		b.want(400, "POST", "/v2/r/blobs/uploads/?digest="+d, []byte("other"))
	})
	t.Run("sha512", func(t *testing.T) {
		d := digest.SHA512.FromString(text).String()
		b.want(201, "PUT", start()+"?digest="+d, []byte(text))
		b.want(200, "GET", "/v2/r/blobs/"+d, nil)
	})
	t.Run("cancel", func(t *testing.T) {
		u := start()
		b.want(202, "PATCH", u, []byte("x"))
		b.want(204, "DELETE", u, nil)
		b.want(404, "PATCH", u, []byte("x"))
	})
	t.Run("mount", func(t *testing.T) {
		b.want(201, "POST", "/v2/m/blobs/uploads/?mount="+d+"&from=r", nil)
		b.want(200, "HEAD", "/v2/m/blobs/"+d, nil)
		b.want(202, "POST", "/v2/m/blobs/uploads/?mount="+d+"&from=nobody", nil)
		b.want(202, "POST", "/v2/m/blobs/uploads/?mount="+digest.FromString("none").String()+"&from=r", nil)
		b.want(202, "POST", "/v2/m/blobs/uploads/?mount="+d+"&from=../../r", nil)
		b.want(201, "POST", "/v2/n/blobs/uploads/?mount="+d, nil)
	})
	if left, _ := filepath.Glob(b.dir + "/ingest/*"); len(left) > 4 {
		t.Errorf("ingests left: %v", left)
	}
}

func TestManifestsAreChecked(t *testing.T) {
	b := newBed(t)
	gone := digest.FromString("gone")
	for name, c := range map[string]struct {
		body, media, code string
	}{
		"not JSON":      {"{", ocispec.MediaTypeImageManifest, "MANIFEST_INVALID"},
		"missing blobs": {`{"schemaVersion":2,"config":{"digest":"` + gone.String() + `"},"layers":[]}`, ocispec.MediaTypeImageManifest, "MANIFEST_BLOB_UNKNOWN"},
		"bad digest":    {`{"schemaVersion":2,"config":{"digest":"../../x"},"layers":[]}`, ocispec.MediaTypeImageManifest, "MANIFEST_INVALID"},
		"both":          {`{"schemaVersion":2,"manifests":[],"layers":[]}`, ocispec.MediaTypeImageManifest, "MANIFEST_INVALID"},
		"media type":    {`{"schemaVersion":2,"mediaType":"a/b","manifests":[]}`, ocispec.MediaTypeImageIndex, "MANIFEST_INVALID"},
		"bad subject":   {`{"schemaVersion":2,"manifests":[],"subject":{"digest":"nope"}}`, ocispec.MediaTypeImageIndex, "MANIFEST_INVALID"},
	} {
		if a := b.do("PUT", "/v2/r/manifests/x", []byte(c.body), "Content-Type", c.media); a.status != 400 || a.code() != c.code {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	b.want(400, "PUT", "/v2/r/manifests/"+gone.String(), []byte(`{"schemaVersion":2,"manifests":[]}`), "Content-Type", ocispec.MediaTypeImageIndex)
	b.want(413, "PUT", "/v2/r/manifests/x", bytes.Repeat([]byte(" "), remote.MaxManifest+1), "Content-Type", ocispec.MediaTypeImageIndex)
}

// One push by digest gives a manifest several tags, and the answer names them.
func TestTagParameters(t *testing.T) {
	b := newBed(t)
	body := []byte(`{"schemaVersion":2,"manifests":[]}`)
	d := digest.FromBytes(body)
	put := "/v2/r/manifests/" + d.String()
	a := b.want(201, "PUT", put+"?tag=one&tag=two", body, "Content-Type", ocispec.MediaTypeImageIndex)
	if got := a.header.Values("OCI-Tag"); !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("OCI-Tag %q", got)
	}
	for _, tag := range []string{"one", "two"} {
		if a := b.want(200, "GET", "/v2/r/manifests/"+tag, nil); a.header.Get("Docker-Content-Digest") != d.String() {
			t.Errorf("%s is %v", tag, a.header)
		}
	}
	if a := b.want(400, "PUT", put+"?tag=three&tag=..", body, "Content-Type", ocispec.MediaTypeImageIndex); a.code() != "TAG_INVALID" {
		t.Errorf("a bad tag: %s", a.body)
	}
	b.want(414, "PUT", put+"?tag=x"+strings.Repeat("&tag=x", maxTags), body, "Content-Type", ocispec.MediaTypeImageIndex)
	if a := b.want(200, "GET", "/v2/r/tags/list", nil); !strings.Contains(string(a.body), `"tags":["one","two"]`) {
		t.Errorf("after the refused ones: %s", a.body)
	}
}

func TestTagsAndCatalogPage(t *testing.T) {
	b := newBed(t)
	var want []string
	for i := range 7 {
		tag := fmt.Sprintf("v%d", i)
		b.image("r/one", tag, "l", nil)
		want = append(want, tag)
	}
	b.image("r", "x", "l", nil)
	b.image("r/one/two", "x", "l", nil)
	var got []string
	path := "/v2/r/one/tags/list?n=3"
	for path != "" {
		a := b.want(200, "GET", path, nil)
		var l struct {
			Name string
			Tags []string
		}
		json.Unmarshal(a.body, &l)
		if l.Name != "r/one" || len(l.Tags) > 3 {
			t.Errorf("page %s", a.body)
		}
		got = append(got, l.Tags...)
		path = ""
		if link := a.header.Get("Link"); link != "" {
			path = link[1:strings.Index(link, ">")]
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("tags %v", got)
	}
	if a := b.want(200, "GET", "/v2/r/one/tags/list?n=0", nil); !strings.Contains(string(a.body), `"tags":[]`) {
		t.Errorf("n=0: %s", a.body)
	}
	b.want(400, "GET", "/v2/r/one/tags/list?n=x", nil)
	if a := b.want(200, "GET", "/v2/_catalog", nil); !strings.Contains(string(a.body), `["r","r/one","r/one/two"]`) {
		t.Errorf("catalog %s", a.body)
	}
}

func TestDeletesAndCollection(t *testing.T) {
	b := newBed(t)
	d := b.image("r", "v1", "layer one", nil)
	keep := b.image("r", "v2", "layer two", nil)
	b.want(202, "DELETE", "/v2/r/manifests/v2", nil)
	b.want(404, "GET", "/v2/r/manifests/v2", nil)
	b.want(200, "GET", "/v2/r/manifests/"+keep.String(), nil)
	b.want(202, "DELETE", "/v2/r/manifests/"+d.String(), nil)
	b.want(404, "GET", "/v2/r/manifests/v1", nil)
	b.want(404, "DELETE", "/v2/r/manifests/"+d.String(), nil)
	orphan := b.blob("r", "uploaded, never used")
	if _, err := b.reg.Collect(context.Background()); err != nil {
		t.Fatal(err)
	}
	b.want(200, "HEAD", "/v2/r/blobs/"+orphan.String(), nil) // its manifest may be on the way
	b.want(202, "POST", "/v2/r/blobs/uploads/", nil)
	b.now = b.now.Add(2 * time.Hour)
	freed, err := b.reg.Collect(context.Background())
	if err != nil || freed < int64(len("layer one")+len("uploaded, never used")) {
		t.Errorf("freed %d, %v", freed, err)
	}
	b.want(404, "HEAD", "/v2/r/blobs/"+orphan.String(), nil)
	b.want(404, "HEAD", "/v2/r/blobs/"+digest.FromString("layer one").String(), nil)
	b.want(200, "HEAD", "/v2/r/blobs/"+digest.FromString("layer two").String(), nil)
	if left, _ := filepath.Glob(b.dir + "/pins/registry/r/_uploads/*"); len(left) != 0 {
		t.Errorf("uploads left: %v", left)
	}
	b.want(202, "DELETE", "/v2/r/blobs/"+digest.FromString("layer two").String(), nil)
	b.want(404, "DELETE", "/v2/r/blobs/"+digest.FromString("layer two").String(), nil)
	off := newBed(t, func(c *Config) { c.Deletes = false })
	off.image("r", "v1", "l", nil)
	off.want(405, "DELETE", "/v2/r/manifests/v1", nil)
}

func TestReferrers(t *testing.T) {
	b := newBed(t)
	subject := b.image("r", "v1", "subject", nil)
	desc := map[string]any{"mediaType": ocispec.MediaTypeImageManifest, "digest": subject, "size": 1}
	sig := b.image("r", "", "sig", map[string]any{"subject": desc, "artifactType": "a/signature", "annotations": map[string]string{"k": "v"}})
	sbom := b.image("r", "", "sbom", map[string]any{"subject": desc})
	list := func(query string) (out []ocispec.Descriptor, h http.Header) {
		a := b.want(200, "GET", "/v2/r/referrers/"+subject.String()+query, nil)
		var x ocispec.Index
		if err := json.Unmarshal(a.body, &x); err != nil || x.MediaType != ocispec.MediaTypeImageIndex || x.SchemaVersion != 2 {
			t.Errorf("answer %s", a.body)
		}
		return x.Manifests, a.header
	}
	if all, _ := list(""); len(all) != 2 {
		t.Errorf("referrers %v", all)
	}
	one, h := list("?artifactType=a/signature")
	if len(one) != 1 || one[0].Digest != sig || one[0].Annotations["k"] != "v" || h.Get("OCI-Filters-Applied") != "artifactType" {
		t.Errorf("filtered %v", one)
	}
	if one, _ = list("?artifactType=" + url.QueryEscape(ocispec.MediaTypeImageConfig)); len(one) != 1 || one[0].Digest != sbom {
		t.Errorf("by the config's type %v", one)
	}
	b.want(202, "DELETE", "/v2/r/manifests/"+sig.String(), nil)
	if all, _ := list(""); len(all) != 1 {
		t.Errorf("after a delete %v", all)
	}
	a := b.want(200, "GET", "/v2/r/referrers/"+digest.FromString("nobody").String(), nil)
	if !strings.Contains(string(a.body), `"manifests":[]`) {
		t.Errorf("of nobody: %s", a.body)
	}
	b.want(400, "GET", "/v2/r/referrers/nope", nil)
}

func TestSearch(t *testing.T) {
	b := newBed(t)
	b.image("library/nginx", "latest", "l", map[string]any{"annotations": map[string]string{ocispec.AnnotationDescription: "A web server"}})
	b.image("joe/nginx", "latest", "l", nil)
	b.image("other", "latest", "l", nil)
	a := b.want(200, "GET", "/v1/search?q=nginx&n=25", nil)
	var got struct {
		NumResults int `json:"num_results"`
		Results    []searchResult
	}
	if err := json.Unmarshal(a.body, &got); err != nil {
		t.Fatal(err)
	}
	if got.NumResults != 2 || got.Results[1] != (searchResult{Name: "nginx", Description: "A web server", IsOfficial: true}) {
		t.Errorf("found %+v", got)
	}
}

func TestTokenAuthentication(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := newBed(t, func(c *Config) {
		c.Auth = &TokenAuth{Service: "test", Issuer: "nau", Method: jwt.SigningMethodEdDSA, Public: public, Private: private, Check: func(user, password string) (func(Access) bool, bool) {
			switch {
			case user == "joe" && password == "secret":
				return func(a Access) bool { return true }, true
			case user == "":
				return func(a Access) bool { return strings.HasPrefix(a.Name, "open/") && a.Action == "pull" }, true
			}
			return nil, false
		}}
	})
	if a := b.want(401, "GET", "/v2/", nil); !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer realm=") || a.code() != "UNAUTHORIZED" {
		t.Errorf("challenge %v %s", a.header, a.body)
	}
	ctx := context.Background()
	host := strings.TrimPrefix(b.srv.URL, "http://")
	joe := remote.Auth{Username: "joe", Password: "secret"}
	c := remote.New(remote.Config{})
	if err := c.Login(ctx, host, joe); err != nil {
		t.Error(err)
	}
	if err := c.Login(ctx, host, remote.Auth{Username: "joe", Password: "wrong"}); !errors.Is(err, remote.ErrUnauthorized) {
		t.Errorf("wrong password: %v", err)
	}
	push := func(path string, auth remote.Auth) error {
		r, err := c.Repository(host, path, auth)
		if err != nil {
			return err
		}
		if _, err := r.Upload(ctx, ocispec.Descriptor{Digest: digest.FromString("{}"), Size: 2}, "", func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("{}")), nil }); err != nil {
			return err
		}
		m := []byte(`{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageManifest + `","config":{"mediaType":"x/y","digest":"` + digest.FromString("{}").String() + `","size":2},"layers":[]}`)
		return r.PutManifest(ctx, "v1", ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(m)}, m)
	}
	for _, p := range []string{"open/x", "closed/x"} {
		if err := push(p, joe); err != nil {
			t.Errorf("push %s: %v", p, err)
		}
		if err := push(p, remote.Auth{}); !errors.Is(err, remote.ErrUnauthorized) {
			t.Errorf("anonymous push %s: %v", p, err)
		}
	}
	for p, want := range map[string]error{"open/x": nil, "closed/x": remote.ErrUnauthorized} {
		r, _ := c.Repository(host, p, remote.Auth{})
		if _, _, err := r.Manifest(ctx, "v1"); !errors.Is(err, want) {
			t.Errorf("anonymous pull %s: %v", p, err)
		}
	}
	// To mount from a repository, a token must have been asked for it; who was refused it uploads.
	sign := func(source ...grant) string {
		signed, err := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims{RegisteredClaims: jwt.RegisteredClaims{Issuer: "nau", Audience: jwt.ClaimStrings{"test"}, ExpiresAt: jwt.NewNumericDate(time.Now().Add(time.Minute))},
			Access: append([]grant{{"repository", "open/y", []string{"pull", "push"}}}, source...)}).SignedString(private)
		if err != nil {
			t.Fatal(err)
		}
		return "Bearer " + signed
	}
	mount := "/v2/open/y/blobs/uploads/?from=closed/x&mount=" + digest.FromString("{}").String()
	if a := b.want(401, "POST", mount, nil, "Authorization", sign()); !strings.HasSuffix(a.header.Get("WWW-Authenticate"), `scope="repository:open/y:pull,push repository:closed/x:pull"`) {
		t.Errorf("challenge for the source: %v", a.header)
	}
	b.want(202, "POST", mount, nil, "Authorization", sign(grant{"repository", "closed/x", []string{}}))
	b.want(201, "POST", mount, nil, "Authorization", sign(grant{"repository", "closed/x", []string{"pull"}}))
	// A token of another key, and one that has expired.
	_, other, _ := ed25519.GenerateKey(nil)
	for name, k := range map[string]struct {
		key ed25519.PrivateKey
		at  time.Time
	}{"other key": {other, time.Now()}, "expired": {private, time.Now().Add(-time.Hour)}} {
		signed, err := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims{RegisteredClaims: jwt.RegisteredClaims{Issuer: "nau", Audience: jwt.ClaimStrings{"test"}, ExpiresAt: jwt.NewNumericDate(k.at.Add(time.Minute))},
			Access: []grant{{"repository", "closed/x", []string{"pull"}}}}).SignedString(k.key)
		if err != nil {
			t.Fatal(err)
		}
		if a := b.do("GET", "/v2/closed/x/manifests/v1", nil, "Authorization", "Bearer "+signed); a.status != 401 {
			t.Errorf("%s: %d", name, a.status)
		}
	}
}

func TestMirror(t *testing.T) {
	up := newBed(t)
	d := up.image("library/nginx", "latest", strings.Repeat("layer", 100000), nil)
	l := digest.FromString(strings.Repeat("layer", 100000))
	host := strings.TrimPrefix(up.srv.URL, "http://")
	b := newBed(t, func(c *Config) {
		c.Mirror = &Mirror{Client: remote.New(remote.Config{}), Default: host, Hosts: func(h string) bool { return h == host }}
	})
	if a := b.want(200, "GET", "/v2/library/nginx/manifests/latest?ns="+host, nil); digest.FromBytes(a.body) != d {
		t.Errorf("manifest %s", a.body)
	}
	b.want(200, "HEAD", "/v2/library/nginx/blobs/"+l.String(), nil)
	if a := b.want(200, "GET", "/v2/library/nginx/blobs/"+l.String(), nil); digest.FromBytes(a.body) != l {
		t.Errorf("blob of %d bytes", len(a.body))
	}
	b.want(404, "GET", "/v2/library/nginx/manifests/nope", nil)
	b.want(404, "GET", "/v2/library/nginx/blobs/"+digest.FromString("any").String(), nil)
	b.want(404, "GET", "/v2/library/nginx/manifests/v9?ns=somewhere.example", nil)
	// Upstream is gone: what is here is served.
	up.srv.Close()
	b.want(200, "GET", "/v2/library/nginx/manifests/latest", nil)
	b.want(200, "GET", "/v2/library/nginx/blobs/"+l.String(), nil)
	b.want(502, "GET", "/v2/library/nginx/manifests/other", nil)
}

// FuzzPaths: whatever a path says, no file outside the registry's directory is made, and nothing panics.
func FuzzPaths(f *testing.F) {
	for _, p := range []string{"/v2/a/manifests/x", "/v2/../../etc/manifests/passwd", "/v2/a/blobs/uploads/../../../x", "/v2/a//b/tags/list", "/v2/_tags/manifests/x",
		"/v2/a/_tags/manifests/tag-x", "/v2/a/manifests/..", "/v2/a/referrers/sha256:x", "/v2/a%2f..%2fb/manifests/x", "/v2/a/blobs/sha256:../../x", "/v1/search"} {
		f.Add("GET", p, "n=1")
		f.Add("PUT", p, "digest=sha256:x")
		f.Add("POST", p, "mount=x&from=../..")
		f.Add("DELETE", p, "")
	}
	dir := f.TempDir()
	c, err := content.Open(filepath.Join(dir, "content"), nil)
	if err != nil {
		f.Fatal(err)
	}
	g, err := New(Config{Content: c, Deletes: true})
	if err != nil {
		f.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "canary"), []byte("alive"), 0o600); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, method, path, query string) {
		r := &http.Request{Method: method, URL: &url.URL{Path: path, RawQuery: query}, Header: http.Header{"Content-Type": {"a/b"}}, Body: io.NopCloser(strings.NewReader("{}")), Host: "x"}
		w := httptest.NewRecorder()
		spent.On(t, len(path)+len(query), func() { g.ServeHTTP(w, r) })
		if w.Code >= 500 {
			t.Errorf("%s %s?%s: %d", method, path, query, w.Code)
		}
		if es, _ := os.ReadDir(dir); len(es) != 2 {
			t.Fatalf("files outside: %v", es)
		}
		if es, _ := os.ReadDir(filepath.Join(dir, "content")); len(es) != 4 {
			t.Fatalf("files beside the store's: %v", es)
		}
	})
}
