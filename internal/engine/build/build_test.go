package build

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"nau/internal/engine"
	"nau/internal/engine/image"
	"nau/internal/engine/layer"
	"nau/internal/engine/testbed"
	"nau/internal/engine/testbed/busybox"
	"nau/internal/kernel/idmap"
)

func TestMain(m *testing.M) { testbed.Main(m) }

// bed is an engine with a builder and a base image.
type bed struct {
	t   *testing.T
	e   *engine.Engine
	b   *Builder
	ref string
	cfg Config
}

func newBed(t *testing.T) *bed {
	t.Helper()
	testbed.Need(t)
	ref := busybox.Registry(t)
	dir := t.TempDir()
	name := fmt.Sprintf("naubuild%d", os.Getpid()%10000)
	e, err := engine.Open(t.Context(), engine.Config{DataDir: filepath.Join(dir, "data"), RunDir: filepath.Join(dir, "run"), NauOCI: busybox.NauOCI(t), Instance: name,
		Bridge: "nb0", CgroupParent: "/" + name, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.99.0.0/24")},
		ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.99.0.0/16")}, ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.98.0.0/16")},
		Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Purge(context.Background()); err != nil {
			t.Error(err)
		}
	})
	cfg := Config{Dir: filepath.Join(dir, "data", "build"), Images: e.Images, Layers: e.Layers, Containers: e.Containers, Sandboxes: e.Sandboxes, Network: engine.PodNetwork}
	b, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &bed{t, e, b, ref, cfg}
}

// archive makes a context; names that end in / are folders, contents that begin with "->" are links.
func archive(t testing.TB, files map[string]string) io.Reader {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, n := range slices.Sorted(maps.Keys(files)) {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: n, Mode: 0o644, Size: int64(len(files[n])), ModTime: time.Unix(1e9, 0)}
		to, link := strings.CutPrefix(files[n], "->")
		switch {
		case link:
			h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, to, 0
		case strings.HasSuffix(n, "/"):
			h.Typeflag, h.Mode, h.Size = tar.TypeDir, 0o755, 0
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := w.Write([]byte(files[n])); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

// build builds a Dockerfile in which BASE stands for the base image.
func (b *bed) build(files map[string]string, change func(*Request)) (*image.Image, string, error) {
	b.t.Helper()
	files = maps.Clone(files)
	if d, ok := files["Dockerfile"]; ok {
		files["Dockerfile"] = strings.ReplaceAll(d, "BASE", b.ref)
	}
	var out bytes.Buffer
	text := &Text{Out: &out}
	req := Request{Context: archive(b.t, files), Progress: text.Event}
	if change != nil {
		change(&req)
	}
	img, err := b.b.Build(b.t.Context(), req)
	return img, out.String(), err
}

func (b *bed) must(files map[string]string, change func(*Request)) (*image.Image, string) {
	b.t.Helper()
	img, out, err := b.build(files, change)
	if err != nil {
		b.t.Fatalf("build: %v\n%s", err, out)
	}
	b.idle()
	return img, out
}

// idle proves that a build leaves nothing running, mounted or prepared.
func (b *bed) idle() {
	b.t.Helper()
	if n := len(b.e.Containers.List()) + len(b.e.Sandboxes.List()) + len(b.e.Layers.Snapshots()); n != 0 {
		b.t.Errorf("the build left %d containers, sandboxes and snapshots", n)
	}
	if left, _ := os.ReadDir(filepath.Join(b.cfg.Dir, "work")); len(left) != 0 {
		b.t.Errorf("the build left work folders: %v", left)
	}
}

// tree lists an image's files above its base: path → "mode owner content".
func (b *bed) tree(img *image.Image, from int) map[string]string {
	b.t.Helper()
	out := map[string]string{}
	for _, d := range img.DiffIDs[from:] {
		key := "test-" + d.Encoded()
		if _, err := b.e.Layers.Prepare(b.t.Context(), key, slices.Clone(img.DiffIDs[from:slices.Index(img.DiffIDs, d)+1])); err != nil {
			b.t.Fatal(err)
		}
		lower, err := b.e.Layers.Lower(img.DiffIDs[slices.Index(img.DiffIDs, d):][:1])
		if err != nil {
			b.t.Fatal(err)
		}
		var a bytes.Buffer
		if err := layer.Archive(b.t.Context(), &a, lower[0], idmap.Map{}); err != nil {
			b.t.Fatal(err)
		}
		tr := tar.NewReader(&a)
		for {
			h, err := tr.Next()
			if err != nil {
				break
			}
			content, _ := io.ReadAll(tr)
			out[h.Name] = strings.TrimSpace(fmt.Sprintf("%o %d:%d %s%s", h.Mode, h.Uid, h.Gid, content, h.Linkname))
		}
		if err := b.e.Layers.Remove(key); err != nil {
			b.t.Fatal(err)
		}
	}
	return out
}

func want(t *testing.T, have map[string]string, wants map[string]string) {
	t.Helper()
	for k, v := range wants {
		if have[k] != v {
			t.Errorf("%s is %q, want %q; all: %v", k, have[k], v, slices.Sorted(maps.Keys(have)))
		}
	}
}

func TestBuildRunAndCopy(t *testing.T) {
	b := newBed(t)
	files := map[string]string{
		"Dockerfile": `# syntax=docker/dockerfile:1
ARG TAG=1
FROM BASE AS one
ENV GREETING=hello
WORKDIR /work/deep
RUN echo "$GREETING $PWD" > said && echo out && echo err >&2
RUN <<EOF
set -e
echo here > doc
EOF
FROM BASE
COPY --from=one --chown=web:web /work/deep /got/
COPY dir sub* /data/
COPY --chmod=600 <<X /inline
text $HOME
X
RUN cat /got/said && id -u
USER web
CMD ["sh"]
`, "dir/a": "A", "dir/b/c": "C", "sub1": "1", "sub2": "2", ".dockerignore": "sub2\n"}
	img, out := b.must(files, func(r *Request) { r.Tags = []string{"built:1"}; r.Labels = map[string]string{"k": "v"} })
	for _, s := range []string{"Step 1/13 : FROM ", "\nout\n", "hello /work/deep", "Successfully built " + shortID(img.ID), "Successfully tagged built:1"} {
		if !strings.Contains(out, s) {
			t.Errorf("output lacks %q:\n%s", s, out)
		}
	}
	have := b.tree(img, 1)
	want(t, have, map[string]string{"got/said": "644 33:33 hello /work/deep", "got/doc": "644 33:33 here", "data/a": "644 0:0 A", "data/b/c": "644 0:0 C", "data/sub1": "644 0:0 1",
		"inline": "600 0:0 text", "data/sub2": ""})
	if img.Config.Config.User != "web" || img.Config.Config.Labels["k"] != "v" {
		t.Errorf("configuration %+v", img.Config.Config)
	}
	for _, stub := range []string{"etc/resolv.conf", "etc/hosts"} {
		if v, ok := have[stub]; ok {
			t.Errorf("the layer holds the mount point %s: %s", stub, v)
		}
	}
	again, out := b.must(files, func(r *Request) { r.Labels = map[string]string{"k": "v"} })
	if again.ID != img.ID || strings.Count(out, "Using cache") != 7 || strings.Contains(out, "Running in") {
		t.Errorf("second build: %s, want %s\n%s", again.ID, img.ID, out)
	}
	files["dir/a"] = "changed"
	third, out := b.must(files, nil)
	if third.ID == img.ID || strings.Count(out, "Using cache") != 4 {
		t.Errorf("changed input:\n%s", out)
	}
	want(t, b.tree(third, 1), map[string]string{"data/a": "644 0:0 changed"})
}

func TestBuildFailures(t *testing.T) {
	b := newBed(t)
	for _, c := range []struct {
		name, dockerfile, text string
		is                     error
	}{
		{"exit code", "FROM BASE\nRUN exit 7", "returned a non-zero code: 7", nil},
		{"no file", "FROM BASE\nCOPY none /", "not found", ErrContext},
		{"no repository", "FROM BASE\nADD http://127.0.0.1:1/x.git /", "connection refused", ErrContext},
		{"no such query", "FROM BASE\nADD http://127.0.0.1:1/x.git?depth=1 /", "not known", ErrDockerfile},
		{"privilege", "FROM BASE\nRUN --security=insecure true", "security.insecure", ErrEntitlement},
		{"host network", "FROM BASE\nRUN --network=host true", "network.host", ErrEntitlement},
		{"secret", "FROM BASE\nRUN --mount=type=secret,id=x,required true", "not found", ErrContext},
		{"escape", "FROM BASE\nCOPY ../../etc/passwd /", "not found", ErrContext},
		{"link out", "FROM BASE\nCOPY out /", "not found", ErrContext},
	} {
		_, out, err := b.build(map[string]string{"Dockerfile": c.dockerfile, "out": "->/etc/machine-id"}, nil)
		if err == nil || !strings.Contains(err.Error(), c.text) || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: %v\n%s", c.name, err, out)
		}
		b.idle()
	}
}

// CVE-2024-23653: a build has no privilege that its request does not grant.
func TestBuilderMountsNoPrivilegeWithoutEntitlement(t *testing.T) {
	b := newBed(t)
	d := map[string]string{"Dockerfile": "FROM BASE\nRUN --security=insecure grep CapEff /proc/self/status"}
	if _, _, err := b.build(d, nil); !errors.Is(err, ErrEntitlement) {
		t.Fatal(err)
	}
	_, plain := b.must(map[string]string{"Dockerfile": "FROM BASE\nRUN grep CapEff /proc/self/status; mount -t tmpfs x /tmp 2>&1 || echo refused"}, nil)
	if !strings.Contains(plain, "00000000a80425fb") || !strings.Contains(plain, "refused") {
		t.Errorf("capabilities of a plain RUN:\n%s", plain)
	}
	_, all := b.must(d, func(r *Request) { r.Insecure = true })
	if strings.Contains(all, "00000000a80425fb") {
		t.Errorf("capabilities of a granted RUN:\n%s", all)
	}
}

// CVE-2024-23652: what a RUN makes of its mounts' places leads to no deletion, inside or outside the root.
func TestBuilderMountsDeleteNothing(t *testing.T) {
	b := newBed(t)
	canary := filepath.Join(t.TempDir(), "canary")
	if err := os.MkdirAll(filepath.Join(canary, "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	img, _ := b.must(map[string]string{"Dockerfile": "FROM BASE\n" +
		"RUN --mount=type=tmpfs,target=/a/b/x mkdir -p /keep && mv /a /moved; rm -rf /a; ln -s " + canary + " /a; true\n" +
		"RUN --mount=type=tmpfs,target=/fresh/one/two true\nRUN --mount=type=tmpfs,target=/busy/one touch /busy/file"}, nil)
	if _, err := os.Stat(filepath.Join(canary, "x")); err != nil {
		t.Error(err)
	}
	have := b.tree(img, 1)
	want(t, have, map[string]string{"busy/file": "644 0:0", "keep/": "755 0:0"})
	for _, n := range []string{"fresh/", "fresh/one/", "busy/one/"} {
		if _, ok := have[n]; ok {
			t.Errorf("the layer holds the mount point %s", n)
		}
	}
}

// CVE-2024-23651: two RUN steps share a cache mount, one swaps links in it while the other starts; nothing of the host shows.
func TestBuilderMountsCacheSwapRace(t *testing.T) {
	b := newBed(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("of the host"), 0o644); err != nil {
		t.Fatal(err)
	}
	host := filepath.Dir(secret)
	_, out, err := b.build(map[string]string{"Dockerfile": `FROM BASE AS swap
RUN --mount=type=cache,id=c,target=/c for i in $(seq 300); do rm -rf /c/d; ln -s ` + host + ` /c/d; rm -f /c/d; mkdir /c/d; done
FROM BASE AS look
RUN --mount=type=cache,id=c,target=/c cat /c/d/secret 2>/dev/null; true
RUN --mount=type=cache,id=c,target=/c --mount=type=cache,id=d,target=/c/d cat /c/d/secret 2>/dev/null; true
FROM BASE
COPY --from=swap /etc/passwd /1
COPY --from=look /etc/passwd /2
`}, nil)
	if strings.Contains(out, "of the host") {
		t.Fatalf("the host's file shows:\n%s", out)
	}
	if err != nil {
		t.Log(err) // a mount on a place that vanishes may be refused
	}
	b.idle()
	_, _, err = b.build(map[string]string{"Dockerfile": "FROM BASE\nRUN --mount=type=cache,id=c,source=d,target=/x ls /x"}, nil)
	if !errors.Is(err, ErrContext) { // the source is the context's, never what another build left in a cache
		t.Errorf("a cache that begins as a folder that is not there: %v", err)
	}
}

// A cache mount begins with what a stage or the context has, and keeps what was written; a file that is bound may be written to, and that is forgotten.
func TestBuildSeededMounts(t *testing.T) {
	b := newBed(t)
	files := map[string]string{"f": "first", "d/g": "of the context", "Dockerfile": `FROM BASE AS s
RUN mkdir -p /seed/in && echo of the stage > /seed/in/f
FROM BASE
RUN --mount=type=cache,id=c,from=s,source=/seed,target=/c cat /c/in/f > /one && echo kept > /c/kept
RUN --mount=type=cache,id=c,from=s,source=/seed,target=/c cat /c/kept > /two
RUN --mount=type=cache,id=c,source=d,target=/c cat /c/g > /three
RUN --mount=type=bind,source=f,target=/f,rw echo again >> /f && cat /f > /four
RUN --mount=type=bind,source=f,target=/f cat /f > /five
`}
	for range 2 { // the second one finds the folders filled
		_, out, err := b.build(files, func(r *Request) { r.NoCache = true })
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	img, _ := b.must(files, nil)
	want(t, b.tree(img, 1), map[string]string{"one": "644 0:0 of the stage", "two": "644 0:0 kept", "three": "644 0:0 of the context", "four": "644 0:0 firstagain", "five": "644 0:0 first"})
	b.idle()
}

func TestBuildMounts(t *testing.T) {
	b := newBed(t)
	img, out := b.must(map[string]string{"in/f": "from context", "Dockerfile": `FROM BASE AS src
RUN mkdir /s && echo staged > /s/f
FROM BASE
RUN --mount=type=bind,source=in,target=/in --mount=type=bind,from=src,source=/s,target=/s,rw cat /in/f /s/f && echo x > /s/g && ! echo x > /in/g
RUN --mount=type=secret,id=key --mount=type=secret,id=key,env=KEY cat /run/secrets/key && echo "env $KEY"
RUN --mount=type=cache,target=/cache echo kept > /cache/f
RUN --mount=type=cache,target=/cache cat /cache/f
RUN --network=none ls /sys/class/net
RUN <<'EOF'
#!/bin/cat
script
EOF
`}, func(r *Request) {
		r.Secret = func(context.Context, string) ([]byte, error) { return []byte("hidden"), nil }
	})
	for _, s := range []string{"from context", "staged", "hidden", "env hidden", "kept", "script"} {
		if !strings.Contains(out, s) {
			t.Errorf("output lacks %q", s)
		}
	}
	for n, v := range b.tree(img, 1) {
		if strings.Contains(v, "hidden") || strings.HasPrefix(n, "run/") || strings.HasPrefix(n, "cache") || strings.HasPrefix(n, "in") {
			t.Errorf("the image holds %s: %s", n, v)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
}

func TestBuildReproducible(t *testing.T) {
	b := newBed(t)
	files := map[string]string{"Dockerfile": "FROM BASE\nRUN mkdir /d && for i in 3 1 2; do echo $i > /d/$i; done\nCOPY f /f\nENV A=1", "f": "x"}
	epoch := "1700000000"
	req := func(r *Request) { r.Args = map[string]*string{"SOURCE_DATE_EPOCH": &epoch}; r.NoCache = true }
	one, _ := b.must(files, req)
	two, _ := b.must(files, req)
	if one.ID != two.ID || one.Config.Created.Unix() != 1700000000 {
		t.Errorf("%s and %s", one.ID, two.ID)
	}
}

func TestBuildCancel(t *testing.T) {
	b := newBed(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := b.b.Build(ctx, Request{Context: archive(t, map[string]string{"Dockerfile": "FROM " + b.ref + "\nRUN sleep 1000"}),
		Progress: func(e Event) {
			if e.Kind == StepRuns {
				cancel()
			}
		}})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	b.idle()
}

func TestBuildCrashLeavesNothing(t *testing.T) {
	b := newBed(t)
	r, err := b.b.begin(t.Context(), Request{Context: archive(t, map[string]string{"Dockerfile": "FROM " + b.ref})})
	if err != nil {
		t.Fatal(err)
	}
	st, err := r.base(0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.view(st.diffIDs()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.box(0, "default"); err != nil {
		t.Fatal(err)
	}
	r.work.Done() // as after a kill; mounts, sandbox, snapshot and folder stay
	if _, err := New(b.cfg); err != nil {
		t.Fatal(err)
	}
	b.idle()
}

func TestBuildOnbuildAddAndParents(t *testing.T) {
	b := newBed(t)
	var inner bytes.Buffer
	if _, err := io.Copy(&inner, archive(t, map[string]string{"in/tar": "unpacked"})); err != nil {
		t.Fatal(err)
	}
	b.must(map[string]string{"Dockerfile": "FROM BASE\nONBUILD COPY f /onbuild\nONBUILD RUN cat /onbuild"}, func(r *Request) { r.Tags = []string{"parent:1"} })
	img, out := b.must(map[string]string{"f": "triggered", "a.tar": inner.String(), "x/y/z.txt": "z", "x/y/no.md": "n",
		"Dockerfile": "FROM parent:1\nADD a.tar /un/\nADD f /plain/\nCOPY --parents --exclude=*.md x/y /p/\nCOPY --link f /bin/linked\nCOPY f /etc"}, nil)
	if !strings.Contains(out, "# Executing 2 build triggers") {
		t.Errorf("output:\n%s", out)
	}
	have := b.tree(img, 1)
	want(t, have, map[string]string{"onbuild": "644 0:0 triggered", "un/in/tar": "644 0:0 unpacked", "plain/f": "644 0:0 triggered", "p/x/y/z.txt": "644 0:0 z",
		"p/x/y/no.md": "", "bin/linked": "644 0:0 triggered", "etc/f": "644 0:0 triggered"})
}

func TestBuildAddURL(t *testing.T) {
	b := newBed(t)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "downloaded") }))
	defer srv.Close()
	sum := digest.FromString("downloaded").String()
	img, _ := b.must(map[string]string{"Dockerfile": "FROM BASE\nADD --checksum=" + sum + " " + srv.URL + "/dir/name.txt /d/\nADD --chmod=755 " + srv.URL + "/x /y"}, nil)
	want(t, b.tree(img, 1), map[string]string{"d/name.txt": "600 0:0 downloaded", "y": "755 0:0 downloaded"})
	_, _, err := b.build(map[string]string{"Dockerfile": "FROM BASE\nADD --checksum=" + digest.FromString("other").String() + " " + srv.URL + "/dir/name.txt /d/"}, nil)
	if !errors.Is(err, ErrContext) {
		t.Error(err)
	}
}

// A link in the stage leads where it leads inside the stage, whatever it says about the host.
func TestBuildCopyFollowsLinksInside(t *testing.T) {
	b := newBed(t)
	outside := t.TempDir()
	img, _ := b.must(map[string]string{"f": "x", "Dockerfile": "FROM BASE AS a2\nRUN mkdir /real && echo y > /real/y && ln -s /real/y /ly\nFROM BASE\nRUN mkdir -p " + outside + " /real && ln -s " + outside + " /out && ln -s /real /link \n" +
		"COPY f /out/f\nCOPY f /link/\nCOPY --from=a2 /ly /followed"}, nil)
	want(t, b.tree(img, 1), map[string]string{strings.TrimPrefix(outside, "/") + "/f": "644 0:0 x", "real/f": "644 0:0 x", "followed": "644 0:0 y"})
	if left, _ := os.ReadDir(outside); len(left) != 0 {
		t.Errorf("the host got %v", left)
	}
	_, out, err := b.build(map[string]string{"dir/bin2/x": "x", "Dockerfile": "FROM BASE\nRUN ln -s /bin /bin2\nCOPY dir /"}, nil)
	if !errors.Is(err, layer.ErrExists) {
		t.Errorf("a folder over a link: %v\n%s", err, out)
	}
}

func TestBuildFolder(t *testing.T) {
	b := newBed(t)
	dir := t.TempDir()
	for n, text := range map[string]string{"Dockerfile": "FROM " + b.ref + "\nCOPY . /all/\nRUN --mount=target=/ctx ls /ctx", "keep": "k", "drop": "d", ".dockerignore": "*\n!keep\n"} {
		if err := os.WriteFile(filepath.Join(dir, n), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var packed bytes.Buffer
	if err := Archive(t.Context(), &packed, dir, ""); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	text := &Text{Out: &out}
	one, err := b.b.Build(t.Context(), Request{Folder: dir, Progress: text.Event})
	if err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	two, err := b.b.Build(t.Context(), Request{Context: &packed})
	if err != nil {
		t.Fatal(err)
	}
	if one.ID != two.ID {
		t.Errorf("the folder gives %s, its archive %s", one.ID, two.ID)
	}
	have := b.tree(one, 1)
	want(t, have, map[string]string{"all/keep": "600 0:0 k", "all/drop": "", "all/Dockerfile": ""})
	if strings.Contains(out.String(), "drop") || !strings.Contains(out.String(), "keep") {
		t.Errorf("the mounted context:\n%s", &out)
	}
	b.idle()
}

// What a cache mount holds when it is removed leads to no deletion elsewhere.
func TestBuilderMountsPruneStaysInside(t *testing.T) {
	b := newBed(t)
	canary := filepath.Join(t.TempDir(), "canary")
	if err := os.WriteFile(canary, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b.must(map[string]string{"Dockerfile": "FROM BASE\nRUN --mount=type=cache,target=/c ln -s " + filepath.Dir(canary) + " /c/out && echo 12345 > /c/f"}, nil)
	removed, err := b.b.Prune(t.Context(), PruneOptions{Keep: func(u Usage) bool { return u.Kind != KindMount }})
	if err != nil || len(removed) != 1 || removed[0].Size != 4096 {
		t.Errorf("removed %v: %v", removed, err)
	}
	if _, err := os.Stat(canary); err != nil {
		t.Error(err)
	}
}

func TestBuildLecture(t *testing.T) {
	b := newBed(t)
	text, err := os.ReadFile("testdata/Dockerfile.nginx")
	if err != nil {
		t.Fatal(err)
	}
	img, _ := b.must(map[string]string{"Dockerfile": strings.ReplaceAll(string(text), "debian:stretch-slim", "BASE")}, func(r *Request) { r.Tags = []string{"nginx:mine"} })
	want(t, b.tree(img, 1), map[string]string{"var/log/nginx/access.log": "777 0:0 /dev/stdout", "var/log/nginx/error.log": "777 0:0 /dev/stderr"})
	c := img.Config.Config
	if _, ok := c.ExposedPorts["80/tcp"]; !ok || c.StopSignal != "SIGTERM" || !slices.Equal(c.Cmd, []string{"nginx", "-g", "daemon off;"}) ||
		!slices.Contains(c.Env, "NGINX_VERSION=1.15.9-1~stretch") || !slices.Equal(img.RepoTags, []string{"nginx:mine"}) {
		t.Errorf("configuration %+v, tags %v", c, img.RepoTags)
	}
}
