package store

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A disk that fills up gives an error, not a dead process, and what was
// acknowledged is there when there is room again. The part on the full disk is a
// child's, for etcd leaves goroutines behind when it breaks.
func TestFullDisk(t *testing.T) {
	if dir := os.Getenv("STORE_TEST_FULL"); dir != "" {
		writeUntilFull(t, dir)
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("a small file system of its own needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("nau-test", dir, "tmpfs", 0, "size=40m"); err != nil {
		t.Skipf("mount tmpfs: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	cmd := exec.Command(os.Args[0], "-test.run=^TestFullDisk$")
	cmd.Env = append(os.Environ(), "STORE_TEST_FULL="+dir+"/etcd")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var n int
	i := strings.Index(string(out), "acknowledged ")
	if i < 0 {
		t.Fatalf("%s", out)
	}
	fmt.Sscanf(string(out[i:]), "acknowledged %d", &n)
	larger := t.TempDir()
	if err := os.CopyFS(larger, os.DirFS(dir+"/etcd")); err != nil {
		t.Fatal(err)
	}
	b := start(t, larger)
	for i := range n {
		if _, err := b.c.Get(b.ctx, fmt.Sprintf("a/%03d", i), 0); err != nil {
			t.Fatalf("lost: %v", err)
		}
	}
}

func writeUntilFull(t *testing.T, dir string) {
	b := start(t, dir)
	for n := range 500 {
		key := fmt.Sprintf("a/%03d", n)
		v := object(key)
		v.Bytes = fmt.Appendf(v.Bytes[:len(v.Bytes)-1], `,"pad":"%0200000d"}`, 1)
		done := make(chan error, 1)
		go func() {
			_, err := b.c.Create(b.ctx, key, v)
			done <- err
		}()
		var err error
		select {
		case err = <-done:
		case <-b.store.Failed():
			err = b.store.Err()
		case <-time.After(30 * time.Second):
			t.Fatal("a write hangs")
		}
		if err != nil {
			fmt.Printf("acknowledged %d, then: %v\n", n, err)
			os.Exit(0)
		}
	}
	t.Fatal("500 writes of 200 kB on 40 MB")
}
