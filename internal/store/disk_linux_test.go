package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// filler fills a file system to its last byte, and again whenever it is asked.
type filler struct {
	t    *testing.T
	path string
}

func (f filler) fill() {
	f.t.Helper()
	file, err := os.OpenFile(f.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		f.t.Fatal(err)
	}
	defer file.Close()
	for size := 1 << 20; size > 0; {
		if _, err := file.Write(make([]byte, size)); errors.Is(err, unix.ENOSPC) {
			size /= 2
		} else if err != nil {
			f.t.Fatal(err)
		}
	}
}

// A disk that fills up refuses writes, in every state that the log and the database can be in then; nothing breaks, deletions go on, what was acknowledged is
// there, and all goes on when there is room again.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a small file system of its own needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("nau-test", dir, "tmpfs", 0, "size=200m"); err != nil {
		t.Skipf("mount tmpfs: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	b := start(t, filepath.Join(dir, "etcd"))
	key := func(n int) string { return fmt.Sprintf("a/%05d", n) }
	create := func(n, size int) error {
		v := object(key(n))
		v.Bytes = fmt.Appendf(v.Bytes[:len(v.Bytes)-1], `,"pad":"%0*d"}`, size, 1)
		_, err := b.c.Create(b.ctx, key(n), v)
		return err
	}
	made, gone := 0, 0
	for round := range 12 {
		for range 10 + 190*round { // the log is at another place each time, and comes by its snapshots
			if err := create(made, 200); err != nil {
				t.Fatalf("round %d: object %d: %v", round, made, err)
			}
			made++
		}
		f := filler{t, filepath.Join(dir, "filler")}
		f.fill()
		size := 1000 + 30_000*(round%4)
		refused := 0
		for n := 0; refused < 3; n++ {
			if n == 12_000 {
				t.Fatalf("round %d: writes of %d bytes go on without room", round, size)
			}
			switch err := create(made, size); {
			case err == nil:
				made++
			case errors.Is(err, ErrDiskFull):
				refused++
				f.fill()
			default:
				t.Fatalf("round %d: %v", round, err)
			}
		}
		for range 100 {
			if _, err := b.c.Delete(b.ctx, key(gone), 0); err != nil {
				t.Fatalf("round %d: delete on a full disk: %v", round, err)
			}
			gone++
			f.fill()
		}
		select {
		case <-b.store.Failed():
			t.Fatalf("round %d: %v", round, b.store.Err())
		default:
		}
		if round%3 == 2 { // it starts on a full disk too
			b.store.Close()
			b = start(t, filepath.Join(dir, "etcd"))
			f.fill()
			if _, err := b.c.Delete(b.ctx, key(gone), 0); err != nil {
				t.Fatalf("round %d: delete after a start: %v", round, err)
			}
			gone++
		}
		if err := os.Remove(f.path); err != nil {
			t.Fatal(err)
		}
		if err := create(made, size); err != nil {
			t.Fatalf("round %d: with room again: %v", round, err)
		}
		made++
	}
	b.store.Close()
	b = start(t, filepath.Join(dir, "etcd"))
	for n := range made {
		if _, err := b.c.Get(b.ctx, key(n), 0); (err == nil) != (n >= gone) {
			t.Fatalf("object %d of %d, of which %d were deleted: %v", n, made, gone, err)
		}
	}
}
