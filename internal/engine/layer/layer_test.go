package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/ulikunitz/xz"
	"golang.org/x/sys/unix"
)

// needRoot skips where this user cannot make whiteouts and change owners.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: whiteouts are device nodes, owners are changed")
	}
}

type te struct {
	name string
	typ  byte
	body string
	link string
	mode int64
	uid  int
	pax  map[string]string
	maj  int64
	min  int64
}

func tarOf(t testing.TB, entries ...te) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if e.typ == 0 {
			e.typ = tar.TypeReg
		}
		if e.mode == 0 {
			e.mode = 0o644
			if e.typ == tar.TypeDir {
				e.mode = 0o755
			}
		}
		h := &tar.Header{Name: e.name, Typeflag: e.typ, Size: int64(len(e.body)), Linkname: e.link, Mode: e.mode, Uid: e.uid, Gid: e.uid, PAXRecords: e.pax,
			Devmajor: e.maj, Devminor: e.min, ModTime: time.Unix(1600000000, 0)}
		if e.typ != tar.TypeReg {
			h.Size = 0
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := w.Write([]byte(e.body)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func openStore(t testing.TB) *Store {
	t.Helper()
	needRoot(t)
	s, err := Open(Config{Dir: filepath.Join(t.TempDir(), "layers"), Limits: Limits{Entries: 1000, Bytes: 1 << 20, Reserve: 1}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func apply(t testing.TB, s *Store, entries ...te) digest.Digest {
	t.Helper()
	b := tarOf(t, entries...)
	i, err := s.Apply(context.Background(), digest.FromBytes(b), bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return i.DiffID
}

func (s *Store) rootOf(t testing.TB, d digest.Digest) string {
	t.Helper()
	lower, err := s.Lower([]digest.Digest{d})
	if err != nil {
		t.Fatal(err)
	}
	return lower[len(lower)-1]
}

// tree lists a directory as lines "path mode uid size link", canaries and comparisons.
func tree(t testing.TB, root string) string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		line := fmt.Sprintf("%s %o %d:%d nlink=%d", rel, st.Mode, st.Uid, st.Gid, st.Nlink)
		switch {
		case e.Type()&fs.ModeSymlink != 0:
			l, _ := os.Readlink(p)
			line += " -> " + l
		case e.Type().IsRegular():
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			sum := sha256.Sum256(b)
			line += fmt.Sprintf(" %d %s", len(b), hex.EncodeToString(sum[:4]))
		case e.Type()&fs.ModeDevice != 0:
			line += fmt.Sprintf(" dev=%d", st.Rdev)
		}
		out = append(out, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(out, "\n")
}

func TestUnpackKeepsWhatTheArchiveSays(t *testing.T) {
	s := openStore(t)
	d := apply(t, s,
		te{name: "./", typ: tar.TypeDir, mode: 0o711},
		te{name: "etc/", typ: tar.TypeDir, mode: 0o750, uid: 7},
		te{name: "etc/passwd", body: "root", mode: 0o4755, uid: 3, pax: map[string]string{"SCHILY.xattr.user.a": "b", "SCHILY.xattr.trusted.overlay.opaque": "y"}},
		te{name: "etc/hard", typ: tar.TypeLink, link: "etc/passwd"},
		te{name: "etc/soft", typ: tar.TypeSymlink, link: "/etc/passwd", uid: 9},
		te{name: "dev/null", typ: tar.TypeChar, maj: 1, min: 3, mode: 0o666},
		te{name: "fifo", typ: tar.TypeFifo, mode: 0o600},
		te{name: "/abs/name", body: "x"},
	)
	root := s.rootOf(t, d)
	var st unix.Stat_t
	check := func(p string, mode uint32, uid uint32) {
		t.Helper()
		if err := unix.Lstat(filepath.Join(root, p), &st); err != nil {
			t.Fatal(err)
		}
		if st.Mode != mode || st.Uid != uid {
			t.Errorf("%s is %o of %d, want %o of %d", p, st.Mode, st.Uid, mode, uid)
		}
	}
	check(".", unix.S_IFDIR|0o711, 0)
	check("etc", unix.S_IFDIR|0o750, 7)
	if st.Mtim.Sec != 1600000000 {
		t.Errorf("directory's time is %d", st.Mtim.Sec)
	}
	check("etc/hard", unix.S_IFREG|0o4755, 3)
	if st.Nlink != 2 || st.Mtim.Sec != 1600000000 {
		t.Errorf("hard link: nlink %d mtime %d", st.Nlink, st.Mtim.Sec)
	}
	check("etc/soft", unix.S_IFLNK|0o777, 9)
	check("dev/null", unix.S_IFCHR|0o666, 0)
	if st.Rdev != unix.Mkdev(1, 3) {
		t.Errorf("device is %d", st.Rdev)
	}
	check("fifo", unix.S_IFIFO|0o600, 0)
	check("abs/name", unix.S_IFREG|0o644, 0)
	buf := make([]byte, 8)
	if n, err := unix.Getxattr(filepath.Join(root, "etc/passwd"), "user.a", buf); err != nil || string(buf[:n]) != "b" {
		t.Errorf("user.a is %q, %v", buf[:max(n, 0)], err)
	}
	if _, err := unix.Getxattr(filepath.Join(root, "etc/passwd"), opaqueXattr, buf); err == nil {
		t.Error("an archive's own overlay attribute was kept")
	}
	if i, ok := s.Has(d); !ok || i.Size != 5 || i.Inodes == 0 || i.Disk == 0 {
		t.Errorf("info is %+v, %v", i, ok)
	}
}

func TestWhiteouts(t *testing.T) {
	for _, c := range []struct {
		name    string
		entries []te
		dev     []string // whiteouts expected
		opaque  []string
		files   []string
		not     []string
	}{
		{name: "file", entries: []te{{name: "a/.wh.b"}}, dev: []string{"a/b"}, not: []string{"a/.wh.b"}},
		{name: "opaque", entries: []te{{name: "a/", typ: tar.TypeDir}, {name: "a/.wh..wh..opq"}, {name: "a/x", body: "1"}}, opaque: []string{"a"}, files: []string{"a/x"}},
		{name: "aufs meta is skipped", entries: []te{{name: ".wh..wh.plnk/", typ: tar.TypeDir}, {name: ".wh..wh.aufs"}, {name: "k"}}, not: []string{".wh..wh.plnk", ".wh..wh.aufs"}, files: []string{"k"}},
		{name: "then a directory of the same name", entries: []te{{name: ".wh.d"}, {name: "d/", typ: tar.TypeDir}, {name: "d/x"}}, opaque: []string{"d"}, files: []string{"d/x"}},
		{name: "then a file of the same name", entries: []te{{name: ".wh.f"}, {name: "f", body: "new"}}, files: []string{"f"}},
		{name: "after the directory", entries: []te{{name: "d/", typ: tar.TypeDir}, {name: "d/x"}, {name: ".wh.d"}}, opaque: []string{"d"}, files: []string{"d/x"}},
		{name: "after the file", entries: []te{{name: "f", body: "mine"}, {name: ".wh.f"}}, files: []string{"f"}},
		{name: "then an implied directory", entries: []te{{name: ".wh.d"}, {name: "d/x"}}, opaque: []string{"d"}, files: []string{"d/x"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := openStore(t)
			root := s.rootOf(t, apply(t, s, c.entries...))
			var st unix.Stat_t
			for _, p := range c.dev {
				if err := unix.Lstat(filepath.Join(root, p), &st); err != nil || !isWhiteout(&st) {
					t.Errorf("%s is no whiteout: %v", p, err)
				}
			}
			for _, p := range c.opaque {
				buf := make([]byte, 1)
				if n, err := unix.Getxattr(filepath.Join(root, p), opaqueXattr, buf); err != nil || n != 1 || buf[0] != 'y' {
					t.Errorf("%s is not opaque: %v", p, err)
				}
			}
			for _, p := range c.files {
				if err := unix.Lstat(filepath.Join(root, p), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
					t.Errorf("%s is no file: %v", p, err)
				}
			}
			for _, p := range c.not {
				if err := unix.Lstat(filepath.Join(root, p), &st); err == nil {
					t.Errorf("%s is there", p)
				}
			}
		})
	}
}

// hostile is the corpus: every archive is refused, or does its worst inside the layer.
func hostileArchives(t testing.TB, outside string) map[string][]byte {
	up := strings.Repeat("../", 30)
	deep := strings.Repeat("d/", 1500)
	return map[string][]byte{
		"dotdot":                          tarOf(t, te{name: up + strings.TrimPrefix(outside, "/") + "/canary", body: "pwned"}),
		"dotdot inside":                   tarOf(t, te{name: "a/../../x", body: "pwned"}),
		"absolute":                        tarOf(t, te{name: outside + "/canary", body: "pwned"}),
		"symlink ancestor, absolute":      tarOf(t, te{name: "l", typ: tar.TypeSymlink, link: outside}, te{name: "l/canary", body: "pwned"}),
		"symlink ancestor, relative":      tarOf(t, te{name: "l", typ: tar.TypeSymlink, link: up + strings.TrimPrefix(outside, "/")}, te{name: "l/canary", body: "pwned"}),
		"symlink chain":                   tarOf(t, te{name: "a", typ: tar.TypeSymlink, link: "/"}, te{name: "b", typ: tar.TypeSymlink, link: "a/../.."}, te{name: "b" + outside + "/canary", body: "pwned"}),
		"symlink to itself":               tarOf(t, te{name: "a", typ: tar.TypeSymlink, link: "a"}, te{name: "a/x", body: "pwned"}),
		"symlinks in a ring":              tarOf(t, te{name: "a", typ: tar.TypeSymlink, link: "b"}, te{name: "b", typ: tar.TypeSymlink, link: "a"}, te{name: "a/x"}),
		"file through a final symlink":    tarOf(t, te{name: "f", typ: tar.TypeSymlink, link: outside + "/canary"}, te{name: "f", body: "pwned"}),
		"directory over a symlink":        tarOf(t, te{name: "d", typ: tar.TypeSymlink, link: outside}, te{name: "d/", typ: tar.TypeDir, mode: 0o777}, te{name: "d/canary", body: "pwned"}),
		"hard link out":                   tarOf(t, te{name: "h", typ: tar.TypeLink, link: outside + "/canary"}, te{name: "h", body: "pwned"}),
		"hard link out by dotdot":         tarOf(t, te{name: "h", typ: tar.TypeLink, link: up + outside[1:] + "/canary"}),
		"hard link through a symlink":     tarOf(t, te{name: "l", typ: tar.TypeSymlink, link: outside}, te{name: "h", typ: tar.TypeLink, link: "l/canary"}, te{name: "h", body: "x", mode: 0o777}),
		"hard link to a symlink":          tarOf(t, te{name: "l", typ: tar.TypeSymlink, link: outside + "/canary"}, te{name: "h", typ: tar.TypeLink, link: "l"}, te{name: "h", body: "pwned"}),
		"hard link to a symlink that is":  tarOf(t, te{name: "l", typ: tar.TypeSymlink, link: outside + "/canary"}, te{name: "h", typ: tar.TypeLink, link: "l"}),
		"hard link to itself":             tarOf(t, te{name: "h", typ: tar.TypeLink, link: "h"}),
		"hard link to a directory":        tarOf(t, te{name: "d/", typ: tar.TypeDir}, te{name: "h", typ: tar.TypeLink, link: "d"}),
		"hard link to the root":           tarOf(t, te{name: "h", typ: tar.TypeLink, link: "/"}),
		"whiteout through a symlink":      tarOf(t, te{name: "l", typ: tar.TypeSymlink, link: outside}, te{name: "l/.wh.canary"}),
		"opaque through a symlink":        tarOf(t, te{name: "l", typ: tar.TypeSymlink, link: outside}, te{name: "l/.wh..wh..opq"}),
		"whiteout of dot":                 tarOf(t, te{name: ".wh.."}),
		"whiteout of dotdot":              tarOf(t, te{name: "a/.wh..."}),
		"whiteout of nothing":             tarOf(t, te{name: ".wh."}),
		"chmod through a symlink":         tarOf(t, te{name: "l", typ: tar.TypeSymlink, link: outside, mode: 0o777, uid: 12}),
		"root as a file":                  tarOf(t, te{name: ".", body: "x"}),
		"file where a directory is":       tarOf(t, te{name: "d/x", body: "1"}, te{name: "d", body: "2"}, te{name: "d/y", body: "3"}),
		"directory through a file":        tarOf(t, te{name: "f", body: "1"}, te{name: "f/x/y", body: "2"}),
		"block device":                    tarOf(t, te{name: "sda", typ: tar.TypeBlock, maj: 8, min: 0, mode: 0o666}, te{name: "sda", body: "pwned"}),
		"proc symlink":                    tarOf(t, te{name: "p", typ: tar.TypeSymlink, link: "/proc/self/root"}, te{name: "p" + outside + "/canary", body: "pwned"}),
		"deep":                            tarOf(t, te{name: deep[:400] + "x", body: "1"}),
		"too deep":                        tarOf(t, te{name: deep + "x", body: "1"}),
		"deep by symlinks":                tarOf(t, te{name: deep[:400] + "l", typ: tar.TypeSymlink, link: "/" + deep[:400]}, te{name: deep[:400] + "l/" + deep[:80] + "x"}),
		"name too long":                   tarOf(t, te{name: strings.Repeat("n", 300), body: "1"}),
		"entries bomb":                    tarOf(t, manyEntries(1500)...),
		"bytes bomb":                      tarOf(t, te{name: "big", body: strings.Repeat("x", 2<<20)}),
		"padding bomb":                    append(tarOf(t, te{name: "f", body: "1"}), make([]byte, 2<<20)...),
		"overlay attributes":              tarOf(t, te{name: "d/", typ: tar.TypeDir, pax: map[string]string{"SCHILY.xattr.trusted.overlay.redirect": "/etc", "SCHILY.xattr.user.overlay.opaque": "y"}}),
		"replaced parent":                 tarOf(t, te{name: "d/a", body: "1"}, te{name: "d", typ: tar.TypeSymlink, link: outside}, te{name: "d/canary", body: "pwned"}),
		"symlink to a missing directory":  tarOf(t, te{name: "l", typ: tar.TypeSymlink, link: "/not/here"}, te{name: "l/x", body: "1"}),
		"symlink to a missing one in out": tarOf(t, te{name: "l", typ: tar.TypeSymlink, link: outside + "/new"}, te{name: "l/x", body: "1"}),
		"unknown type":                    tarOf(t, te{name: "x", typ: 'Z'}),
		"not a tar":                       []byte(strings.Repeat("hello world ", 100)),
		"cut short":                       tarOf(t, te{name: "a", body: strings.Repeat("x", 4000)})[:2000],
	}
}

func manyEntries(n int) (es []te) {
	for i := range n {
		es = append(es, te{name: fmt.Sprintf("f%d", i)})
	}
	return es
}

// TestLayerUnpackHostile is SECURITY.md's "Layer unpack": a canary tree outside the layer stays byte for byte what it was.
func TestLayerUnpackHostile(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	outside := filepath.Join(dir, "outside")
	if err := os.MkdirAll(outside, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(outside, "canary"), []byte("alive"), 0o640); err != nil {
		t.Fatal(err)
	}
	before := tree(t, outside)
	s, err := Open(Config{Dir: filepath.Join(dir, "layers"), Limits: Limits{Entries: 1000, Bytes: 1 << 20, Reserve: 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	refused := map[string]error{
		"dotdot": ErrArchive, "dotdot inside": ErrArchive, "symlink to itself": ErrArchive, "symlinks in a ring": ErrArchive, "hard link out": ErrArchive,
		"hard link out by dotdot": ErrArchive, "hard link through a symlink": ErrArchive, "hard link to a directory": ErrArchive, "hard link to the root": ErrArchive,
		"hard link to itself": ErrArchive, "whiteout of dot": ErrArchive, "whiteout of dotdot": ErrArchive, "whiteout of nothing": ErrArchive, "root as a file": ErrArchive,
		"directory through a file": ErrArchive, "file where a directory is": ErrArchive, "name too long": ErrArchive, "entries bomb": ErrLimit, "too deep": ErrLimit, "bytes bomb": ErrLimit, "padding bomb": ErrLimit, "unknown type": ErrArchive,
		"not a tar": ErrArchive, "cut short": ErrArchive,
	}
	for name, b := range hostileArchives(t, outside) {
		t.Run(name, func(t *testing.T) {
			_, err := s.Apply(context.Background(), "", bytes.NewReader(b))
			if want := refused[name]; want != nil && !errors.Is(err, want) {
				t.Errorf("answer is %v, want %v", err, want)
			} else if want == nil && err != nil {
				t.Errorf("refused: %v", err)
			}
			if after := tree(t, outside); after != before {
				t.Fatalf("the canary tree changed:\n%s\nwas\n%s", after, before)
			}
		})
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "layers", "new", "*")); left != nil {
		t.Errorf("half-made layers stay: %v", left)
	}
}

func FuzzUnpack(f *testing.F) {
	needRoot(f)
	dir := f.TempDir()
	outside := filepath.Join(dir, "outside")
	if err := os.MkdirAll(outside, 0o755); err != nil {
		f.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(outside, "canary"), []byte("alive"), 0o640); err != nil {
		f.Fatal(err)
	}
	for _, b := range hostileArchives(f, outside) {
		if len(b) < 64<<10 {
			f.Add(b)
		}
	}
	before := tree(f, outside)
	s, err := Open(Config{Dir: filepath.Join(dir, "layers"), Limits: Limits{Entries: 1000, Bytes: 1 << 20, Reserve: 1}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if i, err := s.Apply(context.Background(), "", bytes.NewReader(b)); err == nil {
			_ = i
			if _, err := s.Collect(); err != nil {
				t.Fatal(err)
			}
		}
		if after := tree(t, outside); after != before {
			t.Fatalf("the canary tree changed:\n%s", after)
		}
	})
}

func TestCompressions(t *testing.T) {
	s := openStore(t)
	plain := tarOf(t, te{name: "hello", body: "world"}, te{name: "zeros", body: string(make([]byte, 300<<10))})
	var gz, zs, x bytes.Buffer
	gw := gzip.NewWriter(&gz)
	gw.Write(plain)
	gw.Close()
	zw, err := zstd.NewWriter(&zs)
	if err != nil {
		t.Fatal(err)
	}
	zw.Write(plain)
	zw.Close()
	xw, err := xz.NewWriter(&x)
	if err != nil {
		t.Fatal(err)
	}
	xw.Write(plain)
	xw.Close()
	want := digest.FromBytes(plain)
	for name, b := range map[string][]byte{"plain": plain, "gzip": gz.Bytes(), "zstd": zs.Bytes(), "xz": x.Bytes()} {
		i, err := s.Apply(context.Background(), want, bytes.NewReader(b))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if i.Disk > 64<<10 {
			t.Errorf("%s: zeros take %d bytes of disk", name, i.Disk)
		}
		if _, err := s.Collect(); err != nil {
			t.Fatal(err)
		}
		if _, ok := s.Has(want); ok {
			t.Fatal("collected layer is still here")
		}
	}
	// A damaged stream, and a layer that is another.
	if _, err := s.Apply(context.Background(), want, bytes.NewReader(gz.Bytes()[:gz.Len()-4])); !errors.Is(err, ErrArchive) {
		t.Errorf("truncated gzip: %v", err)
	}
	bad := bytes.Clone(gz.Bytes())
	bad[len(bad)-6] ^= 1
	if _, err := s.Apply(context.Background(), want, bytes.NewReader(bad)); !errors.Is(err, ErrArchive) {
		t.Errorf("bad checksum: %v", err)
	}
	if _, err := s.Apply(context.Background(), digest.FromString("other"), bytes.NewReader(gz.Bytes())); !errors.Is(err, ErrDigest) {
		t.Errorf("wrong diff ID: %v", err)
	}
}

// TestXz reads what xz itself and the library write, in several blocks and streams, and refuses what is damaged or asks for too much.
func TestXz(t *testing.T) {
	data := []byte(strings.Repeat("some text that compresses, ", 20000))
	var files [][]byte
	for _, c := range []xz.WriterConfig{{}, {BlockSize: 50000}, {CheckSum: xz.SHA256}, {CheckSum: xz.CRC32}, {NoCheckSum: true}} {
		var b bytes.Buffer
		w, err := c.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		w.Write(data)
		w.Close()
		files = append(files, b.Bytes())
	}
	two := append(append(bytes.Clone(files[0]), 0, 0, 0, 0), files[1]...)
	for i, f := range append(files, two) {
		r, err := Decompress(bytes.NewReader(f))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		want := data
		if i == len(files) {
			want = append(bytes.Clone(data), data...)
		}
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("file %d: %d bytes, %v", i, len(got), err)
		}
		for cut := 1; cut < len(f); cut += 37 {
			r, err := Decompress(bytes.NewReader(f[:cut]))
			if err != nil {
				continue
			}
			if _, err = io.ReadAll(r); err == nil && Detect(f[:cut]) == Xz && cut != len(files[0]) && cut != len(files[0])+4 {
				t.Errorf("file %d cut at %d is taken", i, cut)
			}
		}
	}
	bad := bytes.Clone(files[0])
	bad[len(bad)/2] ^= 1
	if r, err := Decompress(bytes.NewReader(bad)); err == nil {
		if _, err = io.ReadAll(r); err == nil {
			t.Error("damaged bytes are taken")
		}
	}
	// A header of the second block that asks for 4 GiB, with a good checksum.
	if _, err := xzDictionary([]byte{2, 0, 0x21, 1, 40, 0, 0, 0}); !errors.Is(err, ErrLimit) {
		t.Errorf("a dictionary of 4 GiB: %v", err)
	}
	if n, err := xzDictionary([]byte{2, 0, 0x21, 1, 22, 0, 0, 0}); err != nil || n != 8<<20 {
		t.Errorf("a dictionary of 8 MiB: %d, %v", n, err)
	}
}

func FuzzDecompress(f *testing.F) {
	var b bytes.Buffer
	w, _ := xz.WriterConfig{BlockSize: 100}.NewWriter(&b)
	w.Write([]byte(strings.Repeat("hello ", 100)))
	w.Close()
	f.Add(b.Bytes())
	var g bytes.Buffer
	gw := gzip.NewWriter(&g)
	gw.Write([]byte("hello"))
	gw.Close()
	f.Add(g.Bytes())
	z, _ := zstd.NewWriter(nil)
	f.Add(z.EncodeAll([]byte("hello"), nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Decompress(bytes.NewReader(b))
		if err != nil {
			return
		}
		defer r.Close()
		io.Copy(io.Discard, io.LimitReader(r, 1<<20))
	})
}

func TestPrepareMountDiffRemove(t *testing.T) {
	s := openStore(t)
	ctx := context.Background()
	base := apply(t, s, te{name: "etc/", typ: tar.TypeDir}, te{name: "etc/a", body: "a"}, te{name: "etc/b", body: "b"}, te{name: "opt/", typ: tar.TypeDir}, te{name: "opt/x", body: "x"}, te{name: "tmp/", typ: tar.TypeDir, mode: 0o1777})
	top := apply(t, s, te{name: "etc/.wh.a"}, te{name: "tmp/f", body: "f"})
	m, err := s.Prepare(ctx, "c1", []digest.Digest{base, top, base, top}, Labels(map[string]string{"k": "v"}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Prepare(ctx, "c1", nil); !errors.Is(err, ErrExists) {
		t.Errorf("second prepare: %v", err)
	}
	if _, err := s.Prepare(ctx, "c2", []digest.Digest{digest.FromString("nope")}); !errors.Is(err, ErrNotFound) {
		t.Errorf("prepare over a missing layer: %v", err)
	}
	target := t.TempDir()
	if err := m.Attach(target); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(target+"/tmp", &st); err != nil || st.Mode&0o7777 != 0o1777 {
		t.Errorf("/tmp is %o: the upper layer does not describe it", st.Mode)
	}
	if _, err := os.Stat(target + "/etc/a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("whiteout does not hide: %v", err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(target+"/etc/new", []byte("new"), 0o600))
	must(os.WriteFile(target+"/etc/b", []byte("changed"), 0o644))
	must(os.RemoveAll(target + "/opt"))
	must(os.Mkdir(target+"/opt", 0o755))
	must(os.WriteFile(target+"/opt/y", nil, 0o644))
	must(os.Remove(target + "/tmp/f"))
	must(os.Link(target+"/etc/new", target+"/etc/new2"))
	must(unix.Unmount(target, 0))
	got, err := s.Changes(ctx, "c1")
	must(err)
	var lines []string
	for _, c := range got {
		lines = append(lines, fmt.Sprintf("%d %s", c.Kind, c.Path))
	}
	want := "0 /etc|0 /etc/b|1 /etc/new|1 /etc/new2|0 /opt|1 /opt/y|0 /tmp|2 /tmp/f"
	if strings.Join(lines, "|") != want {
		t.Errorf("changes are\n%s, want\n%s", strings.Join(lines, "|"), want)
	}
	var b bytes.Buffer
	d, n, err := s.Commit(ctx, "c1", &b)
	must(err)
	if d != digest.FromBytes(b.Bytes()) || n != int64(b.Len()) {
		t.Errorf("commit says %s, %d", d, n)
	}
	var again bytes.Buffer
	must(s.Diff(ctx, "c1", &again))
	if !bytes.Equal(b.Bytes(), again.Bytes()) {
		t.Error("two diffs of one snapshot differ")
	}
	// The archive as a layer shows the same again.
	_, err = s.Apply(ctx, d, &b)
	must(err)
	m2, err := s.Prepare(ctx, "c2", []digest.Digest{base, top, d})
	must(err)
	must(m2.Attach(target))
	names := func(p string) string {
		es, _ := os.ReadDir(filepath.Join(target, p))
		var out []string
		for _, e := range es {
			out = append(out, e.Name())
		}
		return strings.Join(out, " ")
	}
	if g := names("etc") + "/" + names("opt") + "/" + names("tmp"); g != "b new new2/y/" {
		t.Errorf("committed layer shows %q", g)
	}
	must(unix.Unmount(target, 0))
	u, err := s.Usage(ctx, "c1")
	must(err)
	if u.Inodes < 6 || u.Bytes == 0 {
		t.Errorf("usage is %+v", u)
	}
	// Layers under snapshots stay, whatever roots say.
	freed, err := s.Collect()
	must(err)
	if freed != 0 {
		t.Errorf("collected %d bytes in use", freed)
	}
	must(s.Remove("c1"))
	must(s.Remove("c2"))
	must(s.Remove("never"))
	if _, err := s.Mounts(ctx, "c1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("mounts of a removed snapshot: %v", err)
	}
	if _, err := s.Collect(); err != nil {
		t.Fatal(err)
	}
	left, _ := filepath.Glob(filepath.Join(s.cfg.Dir, "[lsft][0-9a-z]*"))
	if left != nil {
		t.Errorf("after collection there is still %v", left)
	}
}

func TestManyLayersMount(t *testing.T) {
	s := openStore(t)
	var chain []digest.Digest
	for i := range 150 {
		chain = append(chain, apply(t, s, te{name: fmt.Sprintf("f%d", i), body: "x"}))
	}
	m, err := s.Prepare(context.Background(), "many", chain)
	if err != nil {
		t.Fatal(err)
	}
	target := t.TempDir()
	if err := m.Attach(target); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(target, 0)
	es, err := os.ReadDir(target)
	if err != nil || len(es) != 150 {
		t.Errorf("%d files, %v", len(es), err)
	}
}

func TestVolatileMountsAgain(t *testing.T) {
	s := openStore(t)
	d := apply(t, s, te{name: "a", body: "a"})
	m, err := s.Prepare(context.Background(), "v", []digest.Digest{d}, Volatile())
	if err != nil {
		t.Fatal(err)
	}
	target := t.TempDir()
	for range 2 {
		if err := m.Attach(target); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(target+"/b", []byte("b"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := unix.Unmount(target, unix.MNT_DETACH); err != nil {
			t.Fatal(err)
		}
		if m, err = s.Mounts(context.Background(), "v"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestOpenFreesWhatACrashLeft opens a directory as a killed process and as a lost machine leave it.
// Images have programs with set-id bits, for containers, not for the host's users.
func TestStoreIsClosedToTheHostsUsers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "layers")
	s, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestOpenFreesWhatACrashLeft(t *testing.T) {
	s := openStore(t)
	keep := apply(t, s, te{name: "a", body: "a"})
	lost := apply(t, s, te{name: "b", body: "b"})
	if _, err := s.Prepare(context.Background(), "snap", []digest.Digest{keep}); err != nil {
		t.Fatal(err)
	}
	dir := s.cfg.Dir
	s.Close()
	for _, half := range []string{"tzz", "new/tzy"} { // killed while removing, and while unpacking
		if err := os.MkdirAll(filepath.Join(dir, half, "fs/half"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(dir+"/lzz/fs", 0o700); err != nil { // no record: lost with the machine
		t.Fatal(err)
	}
	name := strings.Replace(string(lost), ":", "-", 1)
	marks, _ := filepath.Glob(dir + "/unsynced/" + name + ".*")
	if len(marks) != 1 {
		t.Fatalf("marks of the layer: %v", marks)
	}
	if err := os.Rename(marks[0], dir+"/unsynced/"+name+".another-boot"); err != nil {
		t.Fatal(err)
	}
	s, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, ok := s.Has(keep); !ok {
		t.Error("a layer of this boot is gone")
	}
	if _, ok := s.Has(lost); ok {
		t.Error("a layer that another boot did not sync is trusted")
	}
	if _, err := s.Snapshot("snap"); err != nil {
		t.Error(err)
	}
	for _, p := range []string{"tzz", "new/tzy", "lzz"} {
		if _, err := os.Stat(filepath.Join(dir, p)); err == nil {
			t.Errorf("%s is still there", p)
		}
	}
	if n := s.number(); len(n) > 3 {
		t.Errorf("the next name is %s: another folder of the store was taken for a number", n)
	}
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir + "/unsynced"); len(left) != 0 {
		t.Errorf("marks after a sync: %v", left)
	}
}

// A layer that goes takes its mark along, and a mark that a kill left goes when the store is opened.
func TestMarksGoWithTheirLayers(t *testing.T) {
	s := openStore(t)
	apply(t, s, te{name: "a", body: "a"})
	dir := s.cfg.Dir
	count := func() int {
		t.Helper()
		marks, err := os.ReadDir(dir + "/unsynced")
		if err != nil {
			t.Fatal(err)
		}
		return len(marks)
	}
	if n := count(); n != 1 {
		t.Fatalf("%d marks of one layer", n)
	}
	if _, err := s.Collect(); err != nil {
		t.Fatal(err)
	}
	if n := count(); n != 0 {
		t.Errorf("%d marks of no layer", n)
	}
	if err := s.marks.Add(markName(digest.FromString("cut off"))); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if n := count(); n != 0 {
		t.Errorf("%d marks of no layer after opening", n)
	}
}

func TestConcurrentApplySharesTheWork(t *testing.T) {
	s := openStore(t)
	b := tarOf(t, te{name: "a", body: strings.Repeat("a", 100000)})
	d := digest.FromBytes(b)
	errs := make(chan error, 8)
	for range cap(errs) {
		go func() {
			_, err := s.Apply(context.Background(), d, bytes.NewReader(b))
			errs <- err
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if n, _ := filepath.Glob(s.cfg.Dir + "/l[0-9a-z]*"); len(n) != 1 {
		t.Errorf("layers on disk: %v", n)
	}
}

func TestRemoveTreeDeeperThanDescriptors(t *testing.T) {
	dir := t.TempDir()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range 3000 {
		if err := unix.Mkdirat(fd, "d", 0o755); err != nil {
			t.Fatal(err)
		}
		sub, err := openDir(fd, "d")
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
		fd = sub
	}
	unix.Close(fd)
	if err := removePath(filepath.Join(dir, "d")); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}
