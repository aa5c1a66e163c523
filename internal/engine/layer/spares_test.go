package layer

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// kept counts what is kept in a store's directory.
func kept(t *testing.T, s *Store) (n int) {
	t.Helper()
	all, err := filepath.Glob(s.path("t*"))
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// A container leaves its snapshot as it found it but for what it did to its root directory; the next gets nothing of that.
func TestSpares(t *testing.T) {
	s := openStore(t)
	ctx := context.Background()
	lower := apply(t, s, te{name: "f", body: "x"})
	mounted := func(key, labels string, use func(root string), opts ...Option) {
		t.Helper()
		m, err := s.Prepare(ctx, key, []digest.Digest{lower}, append(opts, Labels(map[string]string{"k": labels}))...)
		if err != nil {
			t.Fatal(err)
		}
		root := t.TempDir()
		if err := m.Attach(root); err != nil {
			t.Fatal(err)
		}
		use(root)
		if err := unix.Unmount(root, 0); err != nil {
			t.Fatal(err)
		}
		if err := s.Remove(key); err != nil {
			t.Fatal(err)
		}
	}
	mounted("spoiled", strings.Repeat("long", 100), func(root string) {
		for _, err := range []error{os.Chmod(root, 0o700), os.Chown(root, 5, 6), unix.Setxattr(root, "user.k", []byte("v"), 0)} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}, Volatile())
	if n := kept(t, s); n != 1 {
		t.Fatalf("%d kept of a snapshot that nothing was written to", n)
	}
	mounted("next", "short", func(root string) {
		var st unix.Stat_t
		if err := unix.Stat(root, &st); err != nil || st.Mode&0o7777 != 0o755 || st.Uid != 0 || st.Gid != 0 {
			t.Errorf("root directory: mode %o, owner %d:%d, %v", st.Mode, st.Uid, st.Gid, err)
		}
		if n, err := unix.Listxattr(root, make([]byte, 100)); n != 0 || err != nil {
			t.Errorf("root directory: %d bytes of attributes' names, %v", n, err)
		}
		var rec snapshotRecord
		if err := readRecord(s.path(s.snapshots["next"].name, "snapshot.json"), &rec); err != nil || rec.Key != "next" || rec.Volatile || rec.Labels["k"] != "short" {
			t.Errorf("record %+v, %v", rec, err)
		}
		if n := kept(t, s); n != 0 {
			t.Errorf("%d kept while the one is used", n)
		}
		if err := os.WriteFile(root+"/new", nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}, Lasting())
	if n := kept(t, s); n != 0 {
		t.Fatalf("%d kept of a snapshot that was written to", n)
	}
	for i := range maxSpares + 3 {
		if _, err := s.Prepare(ctx, fmt.Sprint("c", i), nil); err != nil {
			t.Fatal(err)
		}
	}
	for i := range maxSpares + 3 {
		if err := s.Remove(fmt.Sprint("c", i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := kept(t, s); n != maxSpares {
		t.Errorf("%d kept, want %d", n, maxSpares)
	}
	s.Close()
	again, err := Open(s.cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if n := kept(t, again); n != 0 || len(again.Snapshots()) != 0 {
		t.Errorf("%d kept, and %v, by a store that is opened", n, again.Snapshots())
	}
}
