package logs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nau/internal/oci/monitor/logfile"
)

// A tail that is cut off again and again, while the log is rotated, hands over every record once and in order.
func TestTailResumesThroughRotations(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l, err := logfile.Open(logfile.Config{Path: path, Format: logfile.Docker, MaxSize: 400, MaxFiles: 100}, func() time.Time { return at(1) })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	out := l.Stream("stdout")
	var got, want strings.Builder
	var pos Position
	stop := errors.New("stop")
	for i := range 40 {
		for j := range 1 + i%7 {
			text := strings.Repeat(string(rune('a'+j)), 1+i) + "\n"
			want.WriteString(text)
			out.Write([]byte(text))
		}
		ended := make(chan struct{})
		close(ended)
		// Cut off behind a batch, then taken up from the position told last.
		for cut := true; cut; {
			seen := 0
			err := Tail(context.Background(), path, pos, ended, func(batch []Entry, p Position) error {
				for _, e := range batch {
					got.Write(e.Text)
				}
				if pos, seen = p, seen+1; seen == 2 {
					return stop
				}
				return nil
			})
			if cut = errors.Is(err, stop); err != nil && !cut {
				t.Fatal(err)
			}
		}
	}
	if got.String() != want.String() {
		t.Errorf("got %d bytes, want %d", got.Len(), want.Len())
	}
}

func TestTailFollows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	texts, ended, done := make(chan string, 8), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- Tail(ctx, path, Position{}, ended, func(b []Entry, _ Position) error {
			for _, e := range b {
				texts <- string(e.Text)
			}
			return nil
		})
	}()
	if err := os.WriteFile(path, []byte(docker(1, "stdout", "one\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := <-texts; got != "one\n" {
		t.Errorf("%q", got)
	}
	close(ended)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A file that got the inode number of another one is not taken for it, and a position behind the end begins anew.
func TestTailDistrustsPositions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte(docker(1, "stdout", "one\n")+docker(2, "stdout", "two\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	f, _ := os.Open(path)
	defer f.Close()
	ended := make(chan struct{})
	close(ended)
	for _, p := range []Position{{inode(f), 10}, {inode(f), 1 << 20}, {inode(f) + 1, 0}} {
		n := 0
		if err := Tail(context.Background(), path, p, ended, func(b []Entry, _ Position) error { n += len(b); return nil }); err != nil || n != 2 {
			t.Errorf("%+v: %d records, %v", p, n, err)
		}
	}
}

func TestDetails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte(`{"log":"x\n","stream":"stdout","attrs":{"b":"2 3","a":"1"},"time":"2026-01-01T00:00:01Z"}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := Read(context.Background(), path, Options{Tail: -1, Stdout: &out, Details: true, Timestamps: true}); err != nil || out.String() != "2026-01-01T00:00:01.000000000Z a=1,b=2+3 x\n" {
		t.Errorf("%q %v", out.String(), err)
	}
}

// Compressed files are read like the others.
func TestReadCompressed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l, err := logfile.Open(logfile.Config{Path: path, Format: logfile.Docker, MaxSize: 150, MaxFiles: 5, Compress: true}, func() time.Time { return at(1) })
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"one\n", "two\n", "three\n", "four\n"} {
		l.Stream("stdout").Write([]byte(text))
	}
	l.Close()
	if _, err := os.Stat(path + ".1.gz"); err != nil {
		t.Fatal("nothing is compressed:", err)
	}
	for tail, want := range map[int]string{-1: "one\ntwo\nthree\nfour\n", 3: "two\nthree\nfour\n"} {
		var out strings.Builder
		if err := Read(context.Background(), path, Options{Tail: tail, Stdout: &out}); err != nil || out.String() != want {
			t.Errorf("%q %v", out.String(), err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".unpacked-*")); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}
