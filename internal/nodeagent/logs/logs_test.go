package logs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func record(i int, stream, tag, msg string) string {
	return fmt.Sprintf("2026-01-01T00:00:%02d.000000000Z %s %s %s\n", i, stream, tag, msg)
}

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	text := record(1, "stdout", "F", "one") + "garbage\n" + record(2, "stderr", "F", "two") + record(3, "stdout", "P", "th") + record(3, "stdout", "F", "ree") + record(4, "stdout", "F", "")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		o    Options
		want string
	}{
		{"all", Options{Tail: -1}, "one\ntwo\nthree\n\n"},
		{"none", Options{Tail: 0}, ""},
		{"tail", Options{Tail: 1}, "\n"},
		{"tail of records", Options{Tail: 3}, "three\n\n"},
		{"more than there is", Options{Tail: 99}, "one\ntwo\nthree\n\n"},
		{"since", Options{Tail: -1, Since: time.Date(2026, 1, 1, 0, 0, 2, 0, time.UTC)}, "two\nthree\n\n"},
		{"since and tail", Options{Tail: 1, Since: time.Date(2026, 1, 1, 0, 0, 1, 0, time.UTC)}, "\n"},
		{"stamps", Options{Tail: 3, Timestamps: true}, "2026-01-01T00:00:03.000000000Z three\n2026-01-01T00:00:04.000000000Z \n"},
		{"limit", Options{Tail: -1, Limit: 6}, "one\ntw"},
		{"stream", Options{Tail: -1, Stream: "Stderr"}, "two\n"},
	} {
		var b bytes.Buffer
		if err := Read(context.Background(), path, tt.o, nil, &b, &b); err != nil || b.String() != tt.want {
			t.Errorf("%s: %q, %v; want %q", tt.name, b.String(), err, tt.want)
		}
	}
	if got := Tail(path, 2, 3); got != "ee\n\n"[1:] && got != "e\n\n" {
		t.Errorf("tail: %q", got)
	}
}

type lines chan string

func (l lines) Write(b []byte) (int, error) { l <- string(b); return len(b), nil }

func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	out, ended, result := make(lines, 10), make(chan struct{}), make(chan error, 1)
	go func() { result <- Read(t.Context(), path, Options{Tail: -1, Follow: true}, ended, out, out) }()
	fmt.Fprint(f, record(1, "stdout", "F", "a"))
	if got := <-out; got != "a\n" {
		t.Fatal(got)
	}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(f, record(1, "stdout", "F", "b"))
	f.Close()
	if f, err = os.Create(path); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(f, record(2, "stdout", "F", "c"))
	for _, want := range []string{"b\n", "c\n"} {
		if got := <-out; got != want {
			t.Fatalf("%q, want %q", got, want)
		}
	}
	fmt.Fprint(f, record(3, "stdout", "F", "d"))
	close(ended)
	if got := <-out; got != "d\n" {
		t.Fatal(got)
	}
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	f.Close()
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(record(1, "stdout", "P:x", "m")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, err := Parse(b); err == nil && len(l.Message) > len(b) {
			t.Error("a message longer than its record")
		}
	})
}
