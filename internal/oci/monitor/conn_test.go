package monitor

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func conns(t testing.TB) (a, b *Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if a, err = NewConn(fds[0]); err != nil {
		t.Fatal(err)
	}
	if b, err = NewConn(fds[1]); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func TestFramesCarryBytesAndDescriptors(t *testing.T) {
	a, b := conns(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	big := bytes.Repeat([]byte("x"), 1<<20)
	go func() {
		_ = a.Write([]byte("{}"), int(w.Fd()))
		_ = w.Close()
		_ = a.Write(big)
		_ = a.Close()
	}()
	body, files, err := b.Read()
	if err != nil || string(body) != "{}" || len(files) != 1 {
		t.Fatalf("frame %q with %d descriptors, %v", body, len(files), err)
	}
	passed := os.NewFile(uintptr(files[0]), "passed")
	passed.WriteString("through")
	passed.Close()
	if got, _ := io.ReadAll(r); string(got) != "through" {
		t.Errorf("through the passed pipe came %q", got)
	}
	if body, files, err = b.Read(); err != nil || !bytes.Equal(body, big) || len(files) != 0 {
		t.Errorf("second frame: %d bytes, %d descriptors, %v", len(body), len(files), err)
	}
	if _, _, err := b.Read(); err != io.EOF {
		t.Errorf("end: %v", err)
	}
}

func TestFrameThatIsTooLargeIsRefused(t *testing.T) {
	a, b := conns(t)
	if err := a.Write(make([]byte, MaxFrame+1)); err == nil {
		t.Error("it was sent")
	}
	var head [4]byte
	binary.BigEndian.PutUint32(head[:], 0xffffffff)
	_ = a.Control(func(fd uintptr) { _, _ = unix.Write(int(fd), head[:]) })
	if _, _, err := b.Read(); err == nil {
		t.Error("it was received")
	}
}

func FuzzFrames(f *testing.F) {
	good, _ := json.Marshal(&Request{Op: OpCreate, ID: "x", Create: &CreateRequest{ID: "x"}})
	frame := make([]byte, 4+len(good))
	binary.BigEndian.PutUint32(frame, uint32(len(good)))
	copy(frame[4:], good)
	f.Add(frame)
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{255, 255, 255, 255, 1})
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) > 64<<10 {
			return
		}
		a, b := conns(t)
		_ = a.Control(func(fd uintptr) { _, _ = unix.Write(int(fd), raw) })
		a.Close()
		for {
			body, files, err := b.Read()
			for _, fd := range files {
				_ = unix.Close(fd)
			}
			if err != nil {
				return
			}
			var req Request
			_ = json.Unmarshal(body, &req)
		}
	})
}
