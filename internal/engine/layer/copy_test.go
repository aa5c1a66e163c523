package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"nau/internal/kernel/idmap"
)

func TestExtractAndArchivePath(t *testing.T) {
	needRoot(t)
	ctx := context.Background()
	root := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(root+"/data/dir", 0o755))
	must(os.Symlink("/data", root+"/link"))
	must(os.WriteFile(root+"/data/old", []byte("old"), 0o600))
	in := tarOf(t, te{name: "dir/", typ: tar.TypeDir, mode: 0o700}, te{name: "dir/f", body: "f", uid: 5}, te{name: "old", body: "new"}, te{name: ".wh.name", body: "w"}, te{name: "dir/h", typ: tar.TypeLink, link: "dir/f"})
	must(Extract(ctx, root, "/link/", bytes.NewReader(in), ExtractOptions{Owner: &[2]int{7, 8}}))
	var st unix.Stat_t
	must(unix.Lstat(root+"/data/dir/f", &st))
	if st.Uid != 7 || st.Gid != 8 || st.Nlink != 2 {
		t.Errorf("owner %d:%d, %d links", st.Uid, st.Gid, st.Nlink)
	}
	if b, _ := os.ReadFile(root + "/data/old"); string(b) != "new" {
		t.Errorf("old is %q", b)
	}
	if _, err := os.Stat(root + "/data/.wh.name"); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		dir  string
		e    te
		want error
	}{{"/none", te{name: "x"}, ErrNotFound}, {"/data", te{name: "dir", body: "x"}, ErrExists}, {"/data", te{name: "old/", typ: tar.TypeDir}, ErrExists}, {"/data", te{name: "../../x"}, ErrArchive}, {"/data", te{name: "dir/../x"}, ErrArchive}} {
		if err := Extract(ctx, root, c.dir, bytes.NewReader(tarOf(t, c.e)), ExtractOptions{}); !errors.Is(err, c.want) {
			t.Errorf("%s %s: %v, want %v", c.dir, c.e.name, err, c.want)
		}
	}
	must(Extract(ctx, root, "/data", bytes.NewReader(tarOf(t, te{name: "dir", body: "x"})), ExtractOptions{Overwrite: true}))
	list := func(name string) string {
		t.Helper()
		var b bytes.Buffer
		must(ArchivePath(ctx, &b, root, name, idmap.Map{}))
		var out []string
		tr := tar.NewReader(&b)
		for {
			h, err := tr.Next()
			if err == io.EOF {
				return strings.Join(out, " ")
			}
			must(err)
			out = append(out, h.Name)
		}
	}
	for name, want := range map[string]string{"/data": "data/ data/.wh.name data/dir data/old", "/data/old": "old", "/link": "link", "/link/": "link/ link/.wh.name link/dir link/old", "/link/old": "old",
		"/data/.": "./ ./.wh.name ./dir ./old", "data/./": "./ ./.wh.name ./dir ./old", "/link/.": "./ ./.wh.name ./dir ./old", "/": "/ /data/ /data/.wh.name /data/dir /data/old /link", "/data/../data": "data/ data/.wh.name data/dir data/old"} {
		if got := list(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if err := ArchivePath(ctx, io.Discard, root, "/nope", idmap.Map{}); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	i, err := Stat(root, "/link")
	if err != nil || i.Target != "/data" || i.Mode&os.ModeSymlink == 0 {
		t.Errorf("%+v, %v", i, err)
	}
	if i, err = Stat(root, "/link/"); err != nil || !i.Mode.IsDir() {
		t.Errorf("%+v, %v", i, err)
	}
}

// TestCopyRacer swaps a directory and a symlink out of the root in a loop while files are copied in and out, as a process in the container can.
func TestCopyRacer(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	root, outside := filepath.Join(dir, "root"), filepath.Join(dir, "outside")
	for _, d := range []string{root + "/a", outside} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(outside+"/secret", []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(root+"/a/secret", []byte("public"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, root+"/b"); err != nil {
		t.Fatal(err)
	}
	before := tree(t, outside)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				unix.Renameat2(unix.AT_FDCWD, root+"/a", unix.AT_FDCWD, root+"/b", unix.RENAME_EXCHANGE)
			}
		}
	})
	in := tarOf(t, te{name: "a/", typ: tar.TypeDir, mode: 0o777, uid: 5}, te{name: "a/canary", body: "pwned"}, te{name: "a/secret", body: "public"}, te{name: "a/sub/x", body: "pwned"})
	for range 150 {
		_ = Extract(context.Background(), root, "/", bytes.NewReader(in), ExtractOptions{Overwrite: false})
		_ = Extract(context.Background(), root, "/a", bytes.NewReader(tarOf(t, te{name: "y", body: "pwned"})), ExtractOptions{})
		var b bytes.Buffer
		if ArchivePath(context.Background(), &b, root, "/a/secret", idmap.Map{}) == nil && bytes.Contains(b.Bytes(), []byte("\x00secret\x00")) && !bytes.Contains(b.Bytes(), []byte("public")) {
			t.Fatal("a file from outside came out")
		}
	}
	close(stop)
	wg.Wait()
	if after := tree(t, outside); after != before {
		t.Fatalf("the tree outside changed:\n%s", after)
	}
}

// TestCopyRacerSwapsWhatWasMade puts a symlink that leads out of the root in the place of what a copy has just made.
func TestCopyRacerSwapsWhatWasMade(t *testing.T) {
	needRoot(t)
	for _, c := range []struct {
		name string
		make te
	}{
		{"implied directory", te{name: "made/f", body: "f"}},
		{"node", te{name: "made", typ: tar.TypeFifo, mode: 0o777}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			root, outside, before := canary(t, dir)
			made, away := root+"/made", root+"/away"
			stop := make(chan struct{})
			var wg sync.WaitGroup
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						if unix.Renameat2(unix.AT_FDCWD, made, unix.AT_FDCWD, away, unix.RENAME_NOREPLACE) == nil {
							_ = unix.Symlink(outside, made)
							_ = os.RemoveAll(away)
							_ = unix.Unlink(made)
						}
					}
				}
			})
			in := tarOf(t, c.make)
			for range 2000 {
				_ = Extract(context.Background(), root, "/", bytes.NewReader(in), ExtractOptions{})
			}
			close(stop)
			wg.Wait()
			if after := tree(t, outside); after != before {
				t.Fatalf("the tree outside changed:\n%s", after)
			}
		})
	}
}

// canary makes a root, and beside it a folder with a file, of which it tells what is to stay as it is.
func canary(t *testing.T, dir string) (root, outside, before string) {
	t.Helper()
	root, outside = filepath.Join(dir, "root"), filepath.Join(dir, "outside")
	for _, d := range []string{root, outside} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(outside+"/f", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return root, outside, tree(t, outside)
}

// TestCopyRacerSwapsWhatIsRemoved swaps a directory that a copy takes out of its way and a symlink that leads out of the root.
func TestCopyRacerSwapsWhatIsRemoved(t *testing.T) {
	needRoot(t)
	root, outside, before := canary(t, t.TempDir())
	var now atomic.Int64
	var racer sync.WaitGroup
	racer.Go(func() {
		for n := now.Load(); n >= 0; n = now.Load() {
			_ = unix.Renameat2(unix.AT_FDCWD, fmt.Sprint(root, "/made", n), unix.AT_FDCWD, fmt.Sprint(root, "/link", n), unix.RENAME_EXCHANGE)
		}
	})
	for n := range int64(2000) {
		if err := errors.Join(os.MkdirAll(fmt.Sprint(root, "/made", n, "/f"), 0o755), os.Symlink(outside, fmt.Sprint(root, "/link", n))); err != nil {
			t.Fatal(err)
		}
		now.Store(n)
		in := tarOf(t, te{name: fmt.Sprint("made", n), body: "f"})
		_ = Extract(context.Background(), root, "/", bytes.NewReader(in), ExtractOptions{Overwrite: true})
	}
	now.Store(-1)
	racer.Wait()
	if after := tree(t, outside); after != before {
		t.Fatalf("the tree outside changed:\n%s", after)
	}
}
