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

func docker(i int, stream, text string) string {
	return fmt.Sprintf("{\"log\":%q,\"stream\":%q,\"time\":\"2026-01-01T00:00:%02d.000000000Z\"}\n", text, stream, i)
}

func at(i int) time.Time { return time.Date(2026, 1, 1, 0, 0, i, 0, time.UTC) }

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	write := func(name, text string) {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(path+".1", docker(1, "stdout", "one\n"))
	write(path, docker(2, "stderr", "two\n")+"garbage\n"+docker(3, "stdout", "th")+docker(3, "stdout", "ree\n"))
	for _, tt := range []struct {
		name string
		o    Options
		out  string
		err  string
	}{
		{"all", Options{Tail: -1}, "one\nthree\n", "two\n"},
		{"tail", Options{Tail: 1}, "three\n", ""},
		{"tail over files", Options{Tail: 3}, "one\nthree\n", "two\n"},
		{"none", Options{Tail: 0}, "", ""},
		{"since", Options{Tail: -1, Since: at(2)}, "three\n", "two\n"},
		{"until", Options{Tail: -1, Until: at(2)}, "one\n", "two\n"},
		{"stamps", Options{Tail: 1, Timestamps: true}, "2026-01-01T00:00:03.000000000Z three\n", ""},
	} {
		var out, errs bytes.Buffer
		tt.o.Stdout, tt.o.Stderr = &out, &errs
		if err := Read(context.Background(), path, tt.o); err != nil || out.String() != tt.out || errs.String() != tt.err {
			t.Errorf("%s: %q %q %v", tt.name, out.String(), errs.String(), err)
		}
	}
	write(path, docker(2, "stderr", "two\n")+docker(3, "stdout", "three\n")+docker(4, "stdout", "no")+docker(4, "stderr", "four\n")+docker(4, "stdout", " end"))
	for tail, want := range map[int][2]string{0: {"", ""}, 1: {"", "four\n"}, 2: {"no end", "four\n"}, 3: {"three\nno end", "four\n"}, 4: {"three\nno end", "two\nfour\n"}} {
		var out, errs bytes.Buffer
		if err := Read(context.Background(), path, Options{Tail: tail, Stdout: &out, Stderr: &errs}); err != nil || out.String() != want[0] || errs.String() != want[1] {
			t.Errorf("the last %d of lines of which one has no end: %q %q %v", tail, out.String(), errs.String(), err)
		}
	}
	write(path, "2026-01-01T00:00:02.000000000Z stdout P a\n2026-01-01T00:00:02.000000000Z stdout F b\n")
	os.Remove(path + ".1")
	var out bytes.Buffer
	if err := Read(context.Background(), path, Options{Tail: -1, Stdout: &out}); err != nil || out.String() != "ab\n" {
		t.Errorf("CRI's form: %q %v", out.String(), err)
	}
}

type lines chan string

func (l lines) Write(b []byte) (int, error) { l <- string(b); return len(b), nil }

func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	out, ended, result := make(lines, 10), make(chan struct{}), make(chan error, 1)
	go func() {
		result <- Read(t.Context(), path, Options{Tail: -1, Follow: true, Ended: ended, Stdout: out})
	}()
	fmt.Fprint(f, docker(1, "stdout", "a\n"))
	if got := <-out; got != "a\n" {
		t.Fatal(got)
	}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(f, docker(2, "stdout", "b\n"))
	f.Close()
	if err := os.WriteFile(path, []byte(docker(3, "stdout", "c\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"b\n", "c\n"} {
		if got := <-out; got != want {
			t.Fatalf("%q, want %q", got, want)
		}
	}
	close(ended)
	if err := <-result; err != nil {
		t.Fatal(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(docker(1, "stdout", "x\n")))
	f.Add([]byte("2026-01-01T00:00:02Z stdout F b"))
	f.Fuzz(func(t *testing.T, b []byte) { _, _ = parse(b) })
}

// Of what never ran there is no folder, and nothing to wait for.
func TestFollowNothing(t *testing.T) {
	ended := make(chan struct{})
	close(ended)
	if err := Read(t.Context(), filepath.Join(t.TempDir(), "none", "log"), Options{Follow: true, Ended: ended, Tail: -1}); err != nil {
		t.Error(err)
	}
}
