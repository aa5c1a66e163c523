package content

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

func open(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestIngestCommitRead(t *testing.T) {
	s := open(t, t.TempDir())
	data := []byte("hello world")
	d := digest.FromBytes(data)
	i, err := s.Begin("k", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Begin("k", ""); !errors.Is(err, ErrBusy) {
		t.Errorf("second writer: %v", err)
	}
	i.Write(data[:5])
	if s.Has(d) {
		t.Error("visible before commit")
	}
	i.Write(data[5:])
	if got, err := i.Commit(d); err != nil || got != d {
		t.Fatalf("commit: %s, %v", got, err)
	}
	i.Abort() // after commit: nothing
	if b, err := s.ReadAll(d, 100); err != nil || !bytes.Equal(b, data) {
		t.Errorf("read %q, %v", b, err)
	}
	if _, err := s.ReadAll(d, 5); !errors.Is(err, ErrSize) {
		t.Errorf("limit: %v", err)
	}
	if st, err := s.Stat(d); err != nil || st.Size != 11 {
		t.Errorf("stat %+v, %v", st, err)
	}
	if _, err := s.Stat(digest.FromString("no")); !errors.Is(err, ErrNotFound) {
		t.Errorf("stat: %v", err)
	}
	for _, bad := range []digest.Digest{"", "sha256:../../x", "sha256:" + digest.Digest(strings.Repeat("Z", 64)), "md5:aa", "../../etc/passwd"} {
		if _, err := s.Blob(bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestWrongDigestFreesTheBytes(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	i, _ := s.Begin("k", "")
	i.Write([]byte("bad"))
	if _, err := i.Commit(digest.FromString("good")); !errors.Is(err, ErrDigest) {
		t.Errorf("commit: %v", err)
	}
	for _, p := range []string{"ingest", "blobs/sha256", "unsynced"} {
		if left, _ := os.ReadDir(filepath.Join(dir, p)); len(left) != 0 {
			t.Errorf("%s has %v", p, left)
		}
	}
	if err := s.PutBytes(digest.FromString("good"), []byte("bad")); !errors.Is(err, ErrDigest) {
		t.Errorf("put: %v", err)
	}
}

func TestIngestIsResumed(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	i, _ := s.Begin("k", digest.SHA512)
	i.Write([]byte("one "))
	i.Close()
	s.Close()
	s = open(t, dir)
	i, err := s.Begin("k", digest.SHA512)
	if err != nil || i.Offset() != 4 {
		t.Fatalf("offset %d, %v", i.Offset(), err)
	}
	i.Write([]byte("two"))
	if _, err := i.Commit(digest.SHA512.FromString("one two")); err != nil {
		t.Error(err)
	}
}

func TestFollow(t *testing.T) {
	s := open(t, t.TempDir())
	i, _ := s.Begin("k", "")
	var want bytes.Buffer
	var wg sync.WaitGroup
	results := make([][]byte, 4)
	for n := range results {
		r, err := i.Follow(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer r.Close()
			b, err := io.ReadAll(r)
			if err != nil {
				t.Error(err)
			}
			results[n] = b
		})
	}
	for n := range 200 {
		p := fmt.Appendf(nil, "chunk %d ", n)
		want.Write(p)
		i.Write(p)
	}
	if _, err := i.Commit(""); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	for _, b := range results {
		if !bytes.Equal(b, want.Bytes()) {
			t.Error("a follower read something else")
		}
	}
	i, _ = s.Begin("k2", "")
	r, _ := i.Follow(context.Background())
	defer r.Close()
	ctx, cancel := context.WithCancel(context.Background())
	r2, _ := i.Follow(ctx)
	defer r2.Close()
	cancel()
	if _, err := io.ReadAll(r2); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled follower: %v", err)
	}
	i.Abort()
	if _, err := io.ReadAll(r); !errors.Is(err, ErrInterrupted) {
		t.Errorf("follower of an aborted ingest: %v", err)
	}
}

// onDisk is the room that a blob takes.
func onDisk(t *testing.T, s *Store, d digest.Digest) int64 {
	t.Helper()
	path, err := s.Path(d)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if blocks(info) == 0 {
		t.Fatalf("%s takes no room", d)
	}
	return blocks(info)
}

func TestCollect(t *testing.T) {
	s := open(t, t.TempDir())
	put := func(text string) digest.Digest {
		d, err := s.Put([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	rooted, given, leased, pinned, garbage := put("rooted"), put("given"), put("leased"), put("pinned"), put("garbage")
	one := onDisk(t, s, garbage) // small blobs take the same room each
	s.AddRoot(func(mark func(digest.Digest)) error { mark(rooted); return nil })
	l := s.Lease()
	l.Hold(leased)
	dir, err := s.PinDir("registry")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "a/b/_blobs"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a/b/_blobs", PinName(pinned)), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	late := put("late")
	freed, err := s.Collect(func(mark func(digest.Digest)) error {
		mark(given)
		// Work that begins and ends while roots are read, as a pull does that writes its record just now.
		w := s.Lease()
		w.Hold(late)
		w.Release()
		return nil
	})
	if err != nil || freed != one {
		t.Errorf("freed %d, want %d: %v", freed, one, err)
	}
	for d, want := range map[digest.Digest]bool{rooted: true, given: true, leased: true, pinned: true, late: true, garbage: false} {
		if s.Has(d) != want {
			t.Errorf("%s is here: %v", d, !want)
		}
	}
	l.Release()
	if freed, err := s.Collect(); err != nil || freed != 3*one {
		t.Errorf("freed %d, want %d: %v", freed, 3*one, err)
	}
}

// TestPowerLoss leaves blobs as another boot left them: whole, torn, gone.
func TestPowerLoss(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	whole, _ := s.Put([]byte("whole"))
	torn, _ := s.Put([]byte("torn"))
	gone, _ := s.Put([]byte("gone"))
	s.Close()
	marks, _ := os.ReadDir(filepath.Join(dir, "unsynced"))
	if len(marks) != 3 {
		t.Fatalf("marks %v", marks)
	}
	for _, m := range marks {
		name, _, _ := strings.Cut(m.Name(), ".")
		if err := os.Rename(filepath.Join(dir, "unsynced", m.Name()), filepath.Join(dir, "unsynced", name+".other-boot")); err != nil {
			t.Fatal(err)
		}
	}
	p, _ := s.Path(torn)
	os.WriteFile(p, []byte("to"), 0o600)
	p, _ = s.Path(gone)
	os.Remove(p)
	s = open(t, dir)
	for d, want := range map[digest.Digest]bool{whole: true, torn: false, gone: false} {
		if s.Has(d) != want {
			t.Errorf("%s is here: %v", d, !want)
		}
	}
	if marks, _ := os.ReadDir(filepath.Join(dir, "unsynced")); len(marks) != 0 {
		t.Errorf("marks after opening %v", marks)
	}
}

func TestSettleAndSync(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	a, _ := s.Put([]byte("a"))
	s.Put([]byte("b"))
	if err := s.Settle(a); err != nil {
		t.Fatal(err)
	}
	if marks, _ := os.ReadDir(filepath.Join(dir, "unsynced")); len(marks) != 1 {
		t.Errorf("marks %v", marks)
	}
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	if marks, _ := os.ReadDir(filepath.Join(dir, "unsynced")); len(marks) != 0 {
		t.Errorf("marks %v", marks)
	}
}

func TestStaleIngestsAreFreed(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	old, _ := s.Begin("old", "")
	old.Write([]byte("old"))
	old.Close()
	fresh, _ := s.Begin("fresh", "")
	fresh.Write([]byte("fresh"))
	fresh.Close()
	past := time.Now().Add(-2 * StaleIngest)
	if err := os.Chtimes(old.path(), past, past); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = open(t, dir)
	if left, _ := os.ReadDir(filepath.Join(dir, "ingest")); len(left) != 1 {
		t.Errorf("left %v", left)
	}
	busy, _ := s.Begin("busy", "")
	defer busy.Abort()
	info, err := os.Stat(fresh.path())
	if err != nil {
		t.Fatal(err)
	}
	if n, err := s.DropIngests(0); err != nil || n != blocks(info) {
		t.Errorf("freed %d, want %d: %v", n, blocks(info), err)
	}
	if _, err := os.Stat(busy.path()); err != nil {
		t.Error("a running ingest was freed")
	}
}

// TestKill kills a process again and again while it writes, and looks at what it left: every blob is whole, and every ingest resumes.
func TestKill(t *testing.T) {
	if dir := os.Getenv("CONTENT_TEST_KILL"); dir != "" {
		writeForever(dir)
		return
	}
	dir := t.TempDir()
	whole, resumed := 0, 0
	for range 5 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKill$")
		cmd.Env = append(os.Environ(), "CONTENT_TEST_KILL="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// It tells every blob it has committed; somewhere in the middle of the next it dies.
		buf := make([]byte, 1)
		for range 20 {
			if _, err := out.Read(buf); err != nil {
				break
			}
		}
		cmd.Process.Kill()
		cmd.Wait()
		s := open(t, dir)
		err = s.Walk(func(i Info) error {
			f, err := s.Blob(i.Digest)
			if err != nil {
				return err
			}
			defer f.Close()
			v := i.Digest.Verifier()
			if _, err := io.Copy(v, f); err != nil || !v.Verified() {
				t.Errorf("blob %s is not whole", i.Digest)
			}
			whole++
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for n := range 4 {
			i, err := s.Begin(fmt.Sprint("key", n), "")
			if err != nil {
				t.Fatal(err)
			}
			if i.Offset() > 0 {
				resumed++
			}
			i.Close()
		}
		s.Close()
	}
	if whole == 0 {
		t.Error("no blob was ever committed")
	}
	t.Logf("%d whole blobs seen, %d ingests to resume", whole, resumed)
}

func writeForever(dir string) {
	s, err := Open(dir, nil)
	if err != nil {
		panic(err)
	}
	for n := 0; ; n++ {
		i, err := s.Begin(fmt.Sprint("key", n%4), "")
		if err != nil {
			panic(err)
		}
		for k := range 50 {
			i.Write(bytes.Repeat([]byte{byte(n), byte(k)}, 500))
		}
		if _, err := i.Commit(""); err != nil {
			panic(err)
		}
		os.Stdout.Write([]byte("."))
	}
}

// ending is a context that ends just after somebody has looked whether it has.
type ending struct {
	context.Context
	ended func()
	looks int
	done  atomic.Bool
}

func (c *ending) Done() <-chan struct{} { return make(chan struct{}) }

func (c *ending) AfterFunc(f func()) (stop func() bool) {
	c.ended = f
	return func() bool { return false }
}

func (c *ending) Err() error {
	if c.looks++; c.looks > 1 {
		return context.Canceled
	}
	go func() {
		c.ended()
		c.done.Store(true)
	}()
	for range 10_000 {
		if c.done.Load() {
			break
		}
		runtime.Gosched()
	}
	return nil
}

// A follower whose context ends as it begins to wait is not left waiting.
func TestFollowerLeaves(t *testing.T) {
	s := open(t, t.TempDir())
	i, err := s.Begin("slow", "")
	if err != nil {
		t.Fatal(err)
	}
	defer i.Abort()
	f, err := i.Follow(&ending{Context: context.Background()})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	left := make(chan error, 1)
	go func() {
		_, err := f.Read(make([]byte, 1))
		left <- err
	}()
	select {
	case err := <-left:
		if err == nil {
			t.Error("it read what is not there")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it waits for ever")
	}
}
