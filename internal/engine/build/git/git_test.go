package git

import (
	"bytes"
	"compress/zlib"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"nau/internal/engine/build/git/gittest"
)

// check out and list what came: paths with modes and contents.
func checkOut(t *testing.T, address string, opts Options) (map[string]string, Commit, string, error) {
	t.Helper()
	src, err := Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	opts.Scratch = t.TempDir()
	dir := t.TempDir()
	c, err := Checkout(context.Background(), src, opts, dir)
	left, lerr := os.ReadDir(opts.Scratch)
	if lerr != nil || len(left) > 0 {
		t.Errorf("left in the scratch folder: %v %v", left, lerr)
	}
	return listing(t, dir), c, dir, err
}

func listing(t *testing.T, dir string) map[string]string {
	got := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, name)
		if err != nil || rel == "." {
			return err
		}
		if rel == dotGit {
			got[rel] = "kept"
			return filepath.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			got[rel+"/"] = ""
		case info.Mode()&os.ModeSymlink != 0:
			to, err := os.Readlink(name)
			got[rel] = "-> " + to
			return err
		default:
			b, err := os.ReadFile(name)
			got[rel] = info.Mode().String()[1:4] + " " + string(b)
			if !info.ModTime().Equal(gittest.Day) {
				t.Errorf("%s is of %s, not of its commit", rel, info.ModTime())
			}
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// packHead begins a pack of n objects.
func packHead(n uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), n)
}

func TestParse(t *testing.T) {
	yes, no := true, false
	for address, want := range map[string]struct {
		url string
		src Source
	}{
		"https://example.com/a/b.git":                     {"https://example.com/a/b.git", Source{Submodules: true}},
		"https://example.com/b.git#v1":                    {"https://example.com/b.git", Source{Ref: "v1", Submodules: true}},
		"https://example.com/b.git#:sub/dir":              {"https://example.com/b.git", Source{Subdir: "sub/dir", Submodules: true}},
		"https://example.com/b.git#x:/../../etc":          {"https://example.com/b.git", Source{Ref: "x", Subdir: "etc", Submodules: true}},
		"github.com/a/b#pull/1/head":                      {"https://github.com/a/b", Source{Ref: "pull/1/head", Submodules: true}},
		"git@example.com:a/b.git#main:c":                  {"ssh://git@example.com/a/b.git", Source{Ref: "main", Subdir: "c", Submodules: true}},
		"git@example.com:/a/b.git":                        {"ssh://git@example.com/a/b.git", Source{Submodules: true}},
		"ssh://example.com:22/a":                          {"ssh://example.com:22/a", Source{Submodules: true}},
		"git://example.com/a":                             {"git://example.com/a", Source{Submodules: true}},
		"https://e.com/b.git?branch=x&subdir=d":           {"https://e.com/b.git", Source{Ref: "refs/heads/x", Subdir: "d", Submodules: true}},
		"https://e.com/b.git?tag=x&checksum=deadbeef":     {"https://e.com/b.git", Source{Ref: "refs/tags/x", Checksum: "deadbeef", Submodules: true}},
		"https://e.com/b.git?ref=x&keep-git-dir=1":        {"https://e.com/b.git", Source{Ref: "x", Keep: &yes, Submodules: true}},
		"https://e.com/b.git?keep-git-dir=0&submodules=0": {"https://e.com/b.git", Source{Keep: &no}},
		"https://e.com/b.git?commit=" + strings.Repeat("a", 40): {"https://e.com/b.git",
			Source{Ref: strings.Repeat("a", 40), Checksum: strings.Repeat("a", 40), Submodules: true}},
	} {
		if !Is(address) {
			t.Errorf("%s is not taken for a repository", address)
		}
		got, err := Parse(address)
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		if got.URL.String() != want.url {
			t.Errorf("%s: address %s, want %s", address, got.URL, want.url)
		}
		got.URL = nil
		if diff := cmp.Diff(want.src, got); diff != "" {
			t.Errorf("%s: %s", address, diff)
		}
	}
	for _, address := range []string{"https://e.com/b.git?what=1", "https://e.com/b.git?ref=a&tag=b", "https://e.com/b.git?ref=a&ref=b", "https://e.com/b.git?ref=a#b",
		"https://e.com/b.git?checksum=xyz", "https://e.com/b.git#-upload", "https://e.com/b.git#a..b", "file:///etc/x.git", "ext::sh -c id", "https:///b.git",
		"ssh://-oProxyCommand=id/a", "https://e.com", "https://e.com/b.git?submodules=maybe", "git://e.com/a%00b.git", "https://e.com/b.git?commit=aaaa&checksum=bbbb"} {
		if got, err := Parse(address); err == nil {
			t.Errorf("%s is taken: %+v", address, got)
		} else if !errors.Is(err, ErrAddress) {
			t.Errorf("%s: %v is no ErrAddress", address, err)
		}
	}
	for _, address := range []string{"https://example.com/a.tar", "https://example.com/a.git/x", "alpine", "./a.git", "dir"} {
		if Is(address) {
			t.Errorf("%s is taken for a repository", address)
		}
	}
	if _, err := Parse("https://me:hidden@e.com/b.git?x=1"); err == nil || strings.Contains(err.Error(), "hidden") {
		t.Errorf("an error shows a password: %v", err)
	}
}

func TestCheckout(t *testing.T) {
	r := gittest.New(t)
	first := r.Commit("", r.Files(map[string]gittest.File{"old": gittest.Regular("1")}))
	main := r.Commit("refs/heads/main", r.Files(map[string]gittest.File{"a": gittest.Regular("2"), "bin/run": {Mode: filemode.Executable, Content: "#!"}, "bin/link": {Mode: filemode.Symlink, Content: "/etc/passwd"}}), first)
	r.Commit("refs/heads/side", r.Files(map[string]gittest.File{"side": gittest.Regular("3"), "deep/er/x": gittest.Regular("4")}), first)
	r.Commit("refs/pull/7/head", r.Files(map[string]gittest.File{"pull": gittest.Regular("5")}), main)
	tagged := r.Commit("", r.Files(map[string]gittest.File{"tagged": gittest.Regular("6")}), first)
	tag := r.Tag("v1", tagged)
	base := gittest.Serve(t, map[string]*gittest.Repo{"r.git": r}) + "/r.git"
	onMain := map[string]string{"a": "rw- 2", "bin/": "", "bin/run": "rwx #!", "bin/link": "-> /etc/passwd"}
	for _, c := range []struct {
		suffix string
		files  map[string]string
		hash   plumbing.Hash
		ref    string
		err    error
	}{
		{"", onMain, main, "refs/heads/main", nil},
		{"#main", onMain, main, "refs/heads/main", nil},
		{"#main:bin", map[string]string{"run": "rwx #!", "link": "-> /etc/passwd"}, main, "refs/heads/main", nil},
		{"#side:deep/er", map[string]string{"x": "rw- 4"}, plumbing.ZeroHash, "refs/heads/side", nil},
		{"?branch=side&subdir=deep", map[string]string{"er/": "", "er/x": "rw- 4"}, plumbing.ZeroHash, "refs/heads/side", nil},
		{"#pull/7/head", map[string]string{"pull": "rw- 5"}, plumbing.ZeroHash, "refs/pull/7/head", nil},
		{"#v1", map[string]string{"tagged": "rw- 6"}, tagged, "refs/tags/v1", nil},
		{"?tag=v1&checksum=" + tagged.String()[:8], map[string]string{"tagged": "rw- 6"}, tagged, "refs/tags/v1", nil},
		{"?tag=v1&checksum=" + tag.String()[:8], map[string]string{"tagged": "rw- 6"}, tagged, "refs/tags/v1", nil},
		{"#" + first.String(), map[string]string{"old": "rw- 1"}, first, "", nil},
		{"?commit=" + first.String(), map[string]string{"old": "rw- 1"}, first, "", nil},
		{"?branch=v1", nil, plumbing.ZeroHash, "", ErrNotFound},
		{"#none", nil, plumbing.ZeroHash, "", ErrNotFound},
		{"#" + first.String()[:7], nil, plumbing.ZeroHash, "", ErrNotFound},
		{"#main:none", nil, plumbing.ZeroHash, "", ErrNotFound},
		{"#main:bin/link", nil, plumbing.ZeroHash, "", ErrNotFound},
		{"?tag=v1&checksum=deadbeef", nil, plumbing.ZeroHash, "", ErrChecksum},
	} {
		t.Run(c.suffix, func(t *testing.T) {
			r.Asked = nil
			got, commit, _, err := checkOut(t, base+c.suffix, Options{})
			if c.err != nil {
				if !errors.Is(err, c.err) || len(got) > 0 {
					t.Fatalf("got %v and %v, want %v and nothing", err, got, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.files, got); diff != "" {
				t.Error(diff)
			}
			if commit.Ref != c.ref || c.hash != plumbing.ZeroHash && commit.Hash != c.hash.String() || !commit.Time.Equal(gittest.Day) {
				t.Errorf("commit %+v, want %s of %s", commit, c.hash, c.ref)
			}
			if len(r.Asked) != 1 || r.Asked[0].Depth != packp.DepthCommits(1) {
				t.Errorf("asked for %+v, want one commit deep", r.Asked)
			}
		})
	}
}

// A server that gives only what it names is asked for all of it.
func TestCommitOfAStrictServer(t *testing.T) {
	r := gittest.New(t)
	r.Any = false
	first := r.Commit("", r.Files(map[string]gittest.File{"old": gittest.Regular("1")}))
	r.Commit("refs/heads/main", r.Files(map[string]gittest.File{"a": gittest.Regular("2")}), first)
	got, _, _, err := checkOut(t, gittest.Serve(t, map[string]*gittest.Repo{"r.git": r})+"/r.git#"+first.String(), Options{})
	if err != nil || got["old"] != "rw- 1" {
		t.Fatalf("%v %v", got, err)
	}
	if len(r.Asked) != 1 || !r.Asked[0].Depth.IsZero() {
		t.Errorf("asked for %+v, want all", r.Asked)
	}
	if _, _, _, err := checkOut(t, gittest.Serve(t, map[string]*gittest.Repo{"r.git": r})+"/r.git#"+strings.Repeat("1", 40), Options{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("a commit that is not there: %v", err)
	}
}

func TestKeptRepository(t *testing.T) {
	r := gittest.New(t)
	first := r.Commit("", r.Files(map[string]gittest.File{"old": gittest.Regular("1")}))
	main := r.Commit("refs/heads/main", r.Files(map[string]gittest.File{"a": gittest.Regular("2"), "d/b": gittest.Regular("3")}), first)
	base := gittest.Serve(t, map[string]*gittest.Repo{"r.git": r})
	address := strings.Replace(base, "http://", "http://me:hidden@", 1) + "/r.git"
	got, _, dir, err := checkOut(t, address+"?keep-git-dir=true", Options{})
	if err != nil || got[dotGit] != "kept" {
		t.Fatalf("%v %v", got, err)
	}
	kept, err := openStore(filepath.Join(dir, dotGit))
	if err != nil {
		t.Fatal(err)
	}
	defer kept.close()
	head, err := kept.Reference(plumbing.HEAD)
	if err != nil || head.Target() != "refs/heads/main" {
		t.Errorf("head is %v (%v)", head, err)
	}
	if ref, err := kept.Reference("refs/heads/main"); err != nil || ref.Hash() != main {
		t.Errorf("branch is %v (%v)", ref, err)
	}
	if list, err := kept.Shallow(); err != nil || len(list) != 1 || list[0] != main {
		t.Errorf("shallow at %v (%v)", list, err)
	}
	ix, err := kept.Index()
	if err != nil || len(ix.Entries) != 2 {
		t.Errorf("index %v (%v)", ix, err)
	}
	config, err := os.ReadFile(filepath.Join(dir, dotGit, "config"))
	if err != nil || strings.Contains(string(config), "hidden") || !strings.Contains(string(config), base+"/r.git") {
		t.Errorf("config %s (%v)", config, err)
	}
	if hooks, err := os.ReadDir(filepath.Join(dir, dotGit, "hooks")); err == nil && len(hooks) > 0 {
		t.Errorf("it has hooks: %v", hooks)
	}
	if got, _, _, err := checkOut(t, address, Options{}); err != nil || got[dotGit] != "" {
		t.Errorf("kept without being asked: %v %v", got, err)
	}
	if got, _, _, err := checkOut(t, address+"#main:d", Options{Keep: true}); err != nil || got[dotGit] != "" || got["b"] == "" {
		t.Errorf("a folder of it: %v %v", got, err)
	}
}

func TestSubmodules(t *testing.T) {
	inner, outer, private := gittest.New(t), gittest.New(t), gittest.New(t)
	one := inner.Commit("refs/heads/main", inner.Files(map[string]gittest.File{"in": gittest.Regular("1")}))
	inner.Commit("refs/heads/main", inner.Files(map[string]gittest.File{"in": gittest.Regular("2")}), one)
	modules := "[submodule \"x\"]\n\tpath = sub/x\n\turl = ../inner.git\n[submodule \"y\"]\n\tpath = y\n\turl = %s/inner.git\n"
	base := gittest.Serve(t, map[string]*gittest.Repo{"inner.git": inner, "outer.git": outer, "private.git": private})
	outer.Commit("refs/heads/main", outer.Files(map[string]gittest.File{".gitmodules": gittest.Regular(fmt.Sprintf(modules, base)), "sub/x": {Mode: filemode.Submodule, Content: one.String()},
		"y": {Mode: filemode.Submodule, Content: one.String()}, "z": {Mode: filemode.Submodule, Content: one.String()}}))
	got, _, _, err := checkOut(t, base+"/outer.git", Options{})
	if err != nil {
		t.Fatal(err)
	}
	delete(got, ".gitmodules")
	if diff := cmp.Diff(map[string]string{"sub/": "", "sub/x/": "", "sub/x/in": "rw- 1", "y/": "", "y/in": "rw- 1", "z/": ""}, got); diff != "" {
		t.Error(diff)
	}
	if got, _, _, err = checkOut(t, base+"/outer.git?submodules=false", Options{}); err != nil || got["y/in"] != "" {
		t.Errorf("%v %v", got, err)
	}
	if got, _, _, err = checkOut(t, base+"/outer.git#main:sub", Options{}); err != nil || got["x/in"] != "rw- 1" {
		t.Errorf("%v %v", got, err)
	}
	for name, text := range map[string]string{
		"a file":    "[submodule \"x\"]\n\tpath = x\n\turl = file:///etc\n",
		"a program": "[submodule \"x\"]\n\tpath = x\n\turl = ext::sh -c id\n",
		"an option": "[submodule \"x\"]\n\tpath = x\n\turl = --upload-pack=id\n",
		"outside":   "[submodule \"x\"]\n\tpath = ../x\n\turl = ../inner.git\n",
	} {
		outer.Commit("refs/heads/main", outer.Files(map[string]gittest.File{".gitmodules": gittest.Regular(text), "x": {Mode: filemode.Submodule, Content: one.String()}}))
		if _, _, _, err := checkOut(t, base+"/outer.git", Options{}); !errors.Is(err, ErrAddress) && !errors.Is(err, ErrRefused) {
			t.Errorf("a submodule that is %s: %v", name, err)
		}
	}
	self := outer.Files(map[string]gittest.File{".gitmodules": gittest.Regular("[submodule \"x\"]\n\tpath = x\n\turl = ../outer.git\n"), "x": {Mode: filemode.Submodule, Content: one.String()}})
	outer.Commit("refs/heads/main", self)
	if _, _, _, err := checkOut(t, base+"/outer.git", Options{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("a commit that its repository does not have: %v", err)
	}
}

// Trees that no client of git makes: nothing is written outside, and nothing into a repository.
func TestHostileTrees(t *testing.T) {
	outside := t.TempDir()
	for name, tree := range map[string]func(r *gittest.Repo) plumbing.Hash{
		"a repository": func(r *gittest.Repo) plumbing.Hash {
			return r.Tree(object.TreeEntry{Name: ".git", Mode: filemode.Dir, Hash: r.Tree(r.Blob("config", "[core]\n\tfsmonitor = id\n"))})
		},
		"a repository in capitals": func(r *gittest.Repo) plumbing.Hash { return r.Tree(r.Blob(".GiT", "gitdir: /x")) },
		"a short name":             func(r *gittest.Repo) plumbing.Hash { return r.Tree(r.Blob("GIT~1", "")) },
		"letters that do not count": func(r *gittest.Repo) plumbing.Hash {
			return r.Tree(object.TreeEntry{Name: ".g\u200cit", Mode: filemode.Dir, Hash: r.Tree(r.Blob("config", ""))})
		},
		"a repository below": func(r *gittest.Repo) plumbing.Hash {
			return r.Tree(object.TreeEntry{Name: "a", Mode: filemode.Dir, Hash: r.Tree(object.TreeEntry{Name: ".git", Mode: filemode.Dir, Hash: r.Tree(r.Blob("HEAD", ""))})})
		},
		"up":      func(r *gittest.Repo) plumbing.Hash { return r.Tree(r.Blob("..", "")) },
		"up, out": func(r *gittest.Repo) plumbing.Hash { return r.Tree(r.Blob("../out", "")) },
		"a path":  func(r *gittest.Repo) plumbing.Hash { return r.Tree(r.Blob("a/b", "")) },
		"itself":  func(r *gittest.Repo) plumbing.Hash { return r.Tree(r.Blob(".", "")) },
		"a link and a folder": func(r *gittest.Repo) plumbing.Hash {
			to := object.TreeEntry{Name: "x", Mode: filemode.Symlink, Hash: r.Put(plumbing.BlobObject, []byte(outside))}
			return r.Tree(to, object.TreeEntry{Name: "x", Mode: filemode.Dir, Hash: r.Tree(r.Blob("out", ""))})
		},
		"a long link": func(r *gittest.Repo) plumbing.Hash {
			return r.Tree(object.TreeEntry{Name: "x", Mode: filemode.Symlink, Hash: r.Put(plumbing.BlobObject, bytes.Repeat([]byte("a"), maxLink+1))})
		},
		"very many files": func(r *gittest.Repo) plumbing.Hash {
			h := r.Tree(r.Blob("x", ""))
			for range 8 {
				var all []object.TreeEntry
				for i := range 30 {
					all = append(all, object.TreeEntry{Name: fmt.Sprint(i), Mode: filemode.Dir, Hash: h})
				}
				h = r.Tree(all...)
			}
			return r.Tree(object.TreeEntry{Name: "bomb", Mode: filemode.Dir, Hash: h})
		},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "very many files" {
				defer func(n int) { maxEntries = n }(maxEntries)
				maxEntries = 1000
			}
			r := gittest.New(t)
			r.Commit("refs/heads/main", tree(r))
			_, _, _, err := checkOut(t, gittest.Serve(t, map[string]*gittest.Repo{"r.git": r})+"/r.git", Options{Keep: true})
			if !errors.Is(err, ErrRefused) {
				t.Errorf("not refused: %v", err)
			}
			if left, _ := os.ReadDir(outside); len(left) > 0 {
				t.Errorf("written outside: %v", left)
			}
		})
	}
}

// Packs that would cost too much are refused before they are decoded.
func TestHostilePacks(t *testing.T) {
	deflate := func(b []byte) []byte {
		var out bytes.Buffer
		w := zlib.NewWriter(&out)
		_, err := w.Write(b)
		if err = errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	sized := func(kind byte, n int64) []byte {
		b := []byte{kind<<4 | byte(n&15)}
		for n >>= 4; n > 0; n >>= 7 {
			b[len(b)-1] |= 0x80
			b = append(b, byte(n&0x7f))
		}
		return b
	}
	pack := func(n uint32, parts ...[]byte) []byte {
		b := append(packHead(n), bytes.Join(parts, nil)...)
		sum := sha1.Sum(b)
		return append(b, sum[:]...)
	}
	huge := []byte{0x80, 0x80, 0x80, 0x80, 0x7f} // 127 << 28
	var chain [][]byte
	chain = append(chain, sized(3, 1), deflate([]byte("a")))
	last := len(chain[0]) + len(chain[1])
	for range maxChanges + 1 {
		d := deflate([]byte{1, 1, 0x90, 1})
		back := last
		off := []byte{byte(back & 0x7f)}
		part := append(append(sized(6, 4), off...), d...)
		chain = append(chain, part)
		last = len(part)
	}
	// A large object, and changes of it, each a change of the one before.
	const large = cheap + 1
	body := deflate(make([]byte, large))
	costly := [][]byte{sized(3, large), body}
	last = len(costly[0]) + len(body)
	for range 3 {
		size := []byte{0x80 | large&0x7f, 0x80 | large>>7&0x7f, 0x80 | large>>14&0x7f, large >> 21}
		change := append(append(slices.Clone(size), size...), 0xf0, 0xff, 0xff, 0xff) // and copies something
		back := []byte{byte(last & 0x7f)}
		for n := last>>7 - 1; n >= 0; n = n>>7 - 1 {
			back = append([]byte{0x80 | byte(n&0x7f)}, back...)
		}
		part := append(append(sized(6, int64(len(change))), back...), deflate(change)...)
		costly = append(costly, part)
		last = len(part)
	}
	defer func(n int64) { maxWork = n }(maxWork)
	maxWork = 9 * large
	if err := lookOver(bytes.NewReader(pack(4, costly...)), true); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "have to be made") {
		t.Errorf("costly changes: %v", err)
	}
	maxWork = 10 * large
	if err := lookOver(bytes.NewReader(pack(4, costly...)), true); err != nil {
		t.Errorf("changes that cost what is allowed: %v", err)
	}
	for name, b := range map[string][]byte{
		"many objects":        pack(maxObjects + 1),
		"a huge object":       pack(1, sized(3, maxObject+1), deflate([]byte("a"))),
		"a short object":      pack(1, sized(3, 100), deflate([]byte("a"))),
		"a long object":       pack(1, sized(3, 1), deflate(bytes.Repeat([]byte("a"), 1000))),
		"a huge change":       pack(2, sized(3, 1), deflate([]byte("a")), append(sized(6, 6), byte(len(deflate([]byte("a")))+1)), deflate(append([]byte{1}, huge...))),
		"a size without end":  pack(2, sized(3, 1), deflate([]byte("a")), append(sized(6, 2), byte(len(deflate([]byte("a")))+1)), deflate([]byte{0x80, 0x80})),
		"changes of changes":  pack(uint32(maxChanges+2), chain...),
		"a change of nothing": pack(1, sized(7, 1), make([]byte, 20), deflate([]byte("a"))),
		"cut off":             pack(2, sized(3, 1), deflate([]byte("a")))[:30],
		"no pack":             []byte("PACKXXXXYYYYZZZZ"),
	} {
		t.Run(name, func(t *testing.T) {
			r := gittest.New(t)
			r.Commit("refs/heads/main", r.Files(map[string]gittest.File{"a": gittest.Regular("b")}))
			r.Pack = func([]byte) []byte { return b }
			if _, _, _, err := checkOut(t, gittest.Serve(t, map[string]*gittest.Repo{"r.git": r})+"/r.git", Options{}); err == nil {
				t.Error("taken")
			}
		})
	}
}

func TestCredentials(t *testing.T) {
	r, other := gittest.New(t), gittest.New(t)
	r.Commit("refs/heads/main", r.Files(map[string]gittest.File{"a": gittest.Regular("b")}))
	r.Token = "Basic " + base64.StdEncoding.EncodeToString([]byte("x-access-token:secret"))
	base := gittest.Serve(t, map[string]*gittest.Repo{"r.git": r, "other.git": other})
	host := strings.TrimPrefix(base, "http://")
	secrets := func(m map[string]string) Options {
		return Options{Secret: func(_ context.Context, id string) ([]byte, error) { return []byte(m[id]), nil }}
	}
	for name, c := range map[string]struct {
		opts Options
		ok   bool
	}{
		"none":             {Options{}, false},
		"a token":          {secrets(map[string]string{"GIT_AUTH_TOKEN": "secret\n"}), true},
		"the server's own": {secrets(map[string]string{"GIT_AUTH_TOKEN": "wrong", "GIT_AUTH_TOKEN." + host: "secret"}), true},
		"a header":         {secrets(map[string]string{"GIT_AUTH_HEADER": r.Token}), true},
		"another's":        {secrets(map[string]string{"GIT_AUTH_TOKEN.example.com": "secret"}), false},
	} {
		_, _, _, err := checkOut(t, base+"/r.git", c.opts)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && !strings.Contains(err.Error(), "GIT_AUTH_TOKEN") {
			t.Errorf("%s: %v does not say what to do", name, err)
		}
	}
	// A server that sends the client elsewhere does not get to see there what was meant for it.
	var seen string
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { seen += req.Header.Get("Authorization") }))
	defer thief.Close()
	lure := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		http.Redirect(w, req, strings.Replace(thief.URL, "127.0.0.1", "localhost", 1)+req.URL.Path, http.StatusFound)
	}))
	defer lure.Close()
	if _, _, _, err := checkOut(t, lure.URL+"/r.git", secrets(map[string]string{"GIT_AUTH_TOKEN": "secret"})); err == nil || seen != "" {
		t.Errorf("a credential went elsewhere: %q (%v)", seen, err)
	}
}

// A repository says where its submodules are: a server that it chooses hears nothing of a secret that was not named for that server.
func TestCredentialsStayWithTheServerThatWasNamed(t *testing.T) {
	token := "Basic " + base64.StdEncoding.EncodeToString([]byte("x-access-token:secret"))
	inner, outer := gittest.New(t), gittest.New(t)
	commit := inner.Commit("refs/heads/main", inner.Files(map[string]gittest.File{"in": gittest.Regular("x")}))
	outer.Token = token
	served := gittest.Serve(t, map[string]*gittest.Repo{"inner.git": inner, "outer.git": outer})
	var heard []string
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		heard = append(heard, req.Header.Get("Authorization"))
		http.NotFound(w, req)
	}))
	defer elsewhere.Close()
	host := strings.TrimPrefix(elsewhere.URL, "http://")
	for name, c := range map[string]struct {
		at      string
		secrets map[string]string
		heard   string
		ok      bool
	}{
		"the same server":          {served, map[string]string{"GIT_AUTH_TOKEN": "secret"}, "", true},
		"another":                  {elsewhere.URL, map[string]string{"GIT_AUTH_TOKEN": "secret"}, "", false},
		"another, by a header":     {elsewhere.URL, map[string]string{"GIT_AUTH_HEADER": token}, "", false},
		"another that has its own": {elsewhere.URL, map[string]string{"GIT_AUTH_TOKEN": "secret", "GIT_AUTH_HEADER." + host: "its own"}, "its own", false},
	} {
		heard = nil
		outer.Commit("refs/heads/main", outer.Files(map[string]gittest.File{
			".gitmodules": gittest.Regular(fmt.Sprintf("[submodule \"x\"]\n\tpath = x\n\turl = %s/inner.git\n", c.at)),
			"x":           {Mode: filemode.Submodule, Content: commit.String()}}))
		_, _, _, err := checkOut(t, served+"/outer.git", Options{Secret: func(_ context.Context, id string) ([]byte, error) { return []byte(c.secrets[id]), nil }})
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if asked := c.at == elsewhere.URL; asked == (len(heard) == 0) || slices.ContainsFunc(heard, func(h string) bool { return h != c.heard }) {
			t.Errorf("%s: heard %q, want %q", name, heard, c.heard)
		}
	}
}

func TestSSH(t *testing.T) {
	r := gittest.New(t)
	r.Commit("refs/heads/main", r.Files(map[string]gittest.File{"a": gittest.Regular("b")}))
	private, mine := gittest.Key(t)
	_, host := gittest.Key(t)
	_, other := gittest.Key(t)
	listen := func(address string, host ssh.Signer) net.Listener {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		gittest.ServeSSH(t, l, host, mine.PublicKey(), map[string]*gittest.Repo{"dir/r.git": r})
		return l
	}
	l := listen("127.0.0.1:0", host)
	ring := agent.NewKeyring()
	opts := Options{KnownHosts: filepath.Join(t.TempDir(), "known"), Agent: func(context.Context) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() { _ = agent.ServeAgent(ring, theirs) }()
		return ours, nil
	}}
	address := "ssh://git@" + l.Addr().String() + "/dir/r.git"
	if _, _, _, err := checkOut(t, address, opts); err == nil {
		t.Error("an agent without keys is let in")
	}
	if err := ring.Add(agent.AddedKey{PrivateKey: private}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		got, _, _, err := checkOut(t, address, opts)
		if err != nil || got["a"] != "rw- b" {
			t.Fatalf("%v %v", got, err)
		}
	}
	if _, _, _, err := checkOut(t, strings.Replace(address, "r.git", "x.git", 1), opts); err == nil || !strings.Contains(err.Error(), "no repository: git-upload-pack '/dir/x.git'") {
		t.Errorf("a repository that is not there: %v", err)
	}
	at := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	defer listen(at, other).Close()
	if _, _, _, err := checkOut(t, address, opts); err == nil || !strings.Contains(err.Error(), "has changed") {
		t.Errorf("a server with another key: %v", err)
	}
	opts.Agent = nil
	if _, _, _, err := checkOut(t, address, opts); err == nil || !strings.Contains(err.Error(), "--ssh default") {
		t.Errorf("without an agent: %v", err)
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	stall := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		cancel()
		<-req.Context().Done()
	}))
	defer stall.Close()
	src, err := Parse(stall.URL + "/r.git")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Checkout(ctx, src, Options{Scratch: t.TempDir()}, t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}

func FuzzLookOver(f *testing.F) {
	f.Add(append(packHead(1), 0x31, 0x78, 0x9c, 0x4b, 0x04, 0, 0, 0x62, 0, 0x62))
	f.Add(packHead(0))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_ = lookOver(bytes.NewReader(b), true)
		_ = lookOver(bytes.NewReader(b), false)
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"https://e.com/b.git?ref=a&subdir=c", "git@e.com:a#b:c", "github.com/a/b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		src, err := Parse(s)
		if err != nil {
			return
		}
		if strings.HasPrefix(src.Subdir, "/") || strings.Contains("/"+src.Subdir+"/", "/../") || src.URL.Host == "" || strings.HasPrefix(src.Ref, "-") {
			t.Errorf("%q is %+v", s, src)
		}
	})
}

func FuzzModules(f *testing.F) {
	f.Add("[submodule \"x\"]\n\tpath = x\n\turl = ../x.git\n")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := readModules(strings.NewReader(s))
		for at := range maps.Keys(got) {
			if err != nil || strings.HasPrefix(at, "/") || strings.Contains("/"+at+"/", "/../") {
				t.Errorf("%q: a submodule at %q (%v)", s, at, err)
			}
		}
	})
}
