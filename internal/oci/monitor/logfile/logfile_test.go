package logfile

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var moment = time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)

func open(t testing.TB, cfg Config) *Log {
	t.Helper()
	if cfg.Path == "" {
		cfg.Path = filepath.Join(t.TempDir(), "sub", "0.log")
	}
	l, err := Open(cfg, func() time.Time { return moment })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestCRILines(t *testing.T) {
	l := open(t, Config{Format: CRI})
	out, errs := l.Stream("stdout"), l.Stream("stderr")
	for _, piece := range []string{"one\ntw", "o\n", "\n", "rest"} {
		out.Write([]byte(piece))
	}
	errs.Write([]byte("oops\n"))
	out.Close()
	const at = "2026-01-02T03:04:05.000000600Z "
	want := at + "stdout F one\n" + at + "stdout F two\n" + at + "stdout F \n" + at + "stderr F oops\n" + at + "stdout P rest\n"
	if got := read(t, l.Path()); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestLongLinesAreSplit(t *testing.T) {
	for _, c := range []struct {
		length int
		tags   string
	}{{MaxLine - 1, "F"}, {MaxLine, "F"}, {MaxLine + 1, "PF"}, {3 * MaxLine, "PPF"}, {3*MaxLine + 5, "PPPF"}} {
		for _, step := range []int{1 << 20, 1000, 1} {
			if step == 1 && c.length > MaxLine+1 {
				continue
			}
			l := open(t, Config{Format: CRI})
			s := l.Stream("stdout")
			text := strings.Repeat("x", c.length) + "\n"
			for i := 0; i < len(text); i += step {
				s.Write([]byte(text[i:min(len(text), i+step)]))
			}
			tags, total := "", 0
			for _, line := range strings.Split(strings.TrimSuffix(read(t, l.Path()), "\n"), "\n") {
				f := strings.SplitN(line, " ", 4)
				tags, total = tags+f[2], total+len(f[3])
			}
			if total != c.length {
				t.Errorf("line of %d in steps of %d: %d bytes in the log", c.length, step, total)
			}
			// A full buffer is flushed when the next byte comes, so the tags do not depend on the steps.
			if tags != c.tags {
				t.Errorf("line of %d in steps of %d: tags %s, want %s", c.length, step, tags, c.tags)
			}
		}
	}
}

func TestDockerLines(t *testing.T) {
	l := open(t, Config{Format: Docker})
	s := l.Stream("stdout")
	s.Write([]byte("plain\nquote \" and \\ and \x01 and ü\nend"))
	s.Close()
	var got []string
	for _, line := range strings.Split(strings.TrimSpace(read(t, l.Path())), "\n") {
		var e struct{ Log, Stream, Time string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if e.Stream != "stdout" || e.Time != "2026-01-02T03:04:05.0000006Z" {
			t.Errorf("entry %+v", e)
		}
		got = append(got, e.Log)
	}
	if strings.Join(got, "|") != "plain\n|quote \" and \\ and \x01 and ü\n|end" {
		t.Errorf("logs %q", got)
	}
}

func TestRotation(t *testing.T) {
	l := open(t, Config{Format: CRI, MaxSize: 100, MaxFiles: 3})
	s := l.Stream("stdout")
	for _, line := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} { // 41 bytes each: two to a file
		s.Write([]byte(line + "\n"))
	}
	for suffix, want := range map[string]string{"": "gh", ".1": "ef", ".2": "cd"} {
		got := ""
		for _, line := range strings.Split(strings.TrimSpace(read(t, l.Path()+suffix)), "\n") {
			got += line[len(line)-1:]
		}
		if got != want {
			t.Errorf("file %q holds %q, want %q", suffix, got, want)
		}
	}
	if _, err := os.Stat(l.Path() + ".3"); err == nil {
		t.Error("a fourth file is kept")
	}
}

func TestOneFileIsCutShort(t *testing.T) {
	l := open(t, Config{Format: CRI, MaxSize: 100})
	s := l.Stream("stdout")
	s.Write([]byte("a\nb\nc\n"))
	if got := read(t, l.Path()); strings.Count(got, "\n") != 1 || !strings.HasSuffix(got, "c\n") {
		t.Errorf("log %q", got)
	}
}

func TestReopenAndMove(t *testing.T) {
	l := open(t, Config{Format: CRI})
	s := l.Stream("stdout")
	s.Write([]byte("a\n"))
	os.Rename(l.Path(), l.Path()+".old")
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	s.Write([]byte("b\n"))
	if got := read(t, l.Path()); !strings.HasSuffix(got, "F b\n") || strings.Count(got, "\n") != 1 {
		t.Errorf("after reopen %q", got)
	}
	next := l.Path() + ".next"
	if err := l.Move(next); err != nil {
		t.Fatal(err)
	}
	s.Write([]byte("c\n"))
	if got := read(t, next); !strings.HasSuffix(got, "F c\n") {
		t.Errorf("after move %q", got)
	}
}

func TestNoneDropsEverything(t *testing.T) {
	l, err := Open(Config{Format: None, Path: "/nonexistent/x"}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := l.Stream("stdout").Write([]byte("x\n")); n != 2 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := Open(Config{Format: "xml", Path: "/x"}, time.Now); err == nil {
		t.Error("an unknown format was taken")
	}
}

func FuzzStream(f *testing.F) {
	f.Add([]byte("a\nb"), 3)
	f.Add([]byte(strings.Repeat("x", MaxLine+3)+"\n"), 100)
	f.Fuzz(func(t *testing.T, text []byte, step int) {
		if step <= 0 || len(text) > 1<<18 || len(text)/step > 1000 {
			return
		}
		l := open(t, Config{Format: CRI})
		s := l.Stream("stdout")
		for i := 0; i < len(text); i += step {
			s.Write(text[i:min(len(text), i+step)])
		}
		s.Close()
		// The log gives the text back: F ends a line, P does not.
		var back strings.Builder
		for _, line := range strings.SplitAfter(read(t, l.Path()), "\n") {
			parts := strings.SplitN(line, " ", 4)
			if len(parts) < 4 {
				continue
			}
			body := strings.TrimSuffix(parts[3], "\n")
			back.WriteString(body)
			if parts[2] == "F" {
				back.WriteByte('\n')
			}
		}
		if back.String() != string(text) {
			t.Fatalf("%q came back of %q", back.String(), text)
		}
	})
}

func TestAttrs(t *testing.T) {
	l := open(t, Config{Format: Docker, Attrs: map[string]string{"tag": "t\"", "a": "b"}})
	l.Stream("stderr").Write([]byte("x\n"))
	const want = `{"log":"x\n","stream":"stderr","attrs":{"a":"b","tag":"t\""},"time":"2026-01-02T03:04:05.0000006Z"}` + "\n"
	if got := read(t, l.Path()); got != want {
		t.Errorf("got %swant %s", got, want)
	}
}

// Rotated files are compressed, each holds what it should, and the oldest goes.
func TestCompressedRotation(t *testing.T) {
	l := open(t, Config{Format: CRI, MaxSize: 100, MaxFiles: 3, Compress: true})
	s := l.Stream("stdout")
	for _, line := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		s.Write([]byte(line + "\n"))
	}
	l.Close() // waits for the last file
	for suffix, want := range map[string]string{"": "gh", ".1.gz": "ef", ".2.gz": "cd"} {
		f, err := os.Open(l.Path() + suffix)
		if err != nil {
			t.Fatal(err)
		}
		var from io.Reader = f
		if suffix != "" {
			if from, err = gzip.NewReader(f); err != nil {
				t.Fatal(err)
			}
		}
		b, err := io.ReadAll(from)
		f.Close()
		got := ""
		for _, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
			got += line[len(line)-1:]
		}
		if got != want || err != nil {
			t.Errorf("file %q holds %q, want %q: %v", suffix, got, want, err)
		}
	}
	for _, suffix := range []string{".1", ".2", ".3.gz", ".1.new"} {
		if _, err := os.Stat(l.Path() + suffix); err == nil {
			t.Errorf("%s is left", suffix)
		}
	}
}

// Where a read ends says nothing of the text: a character that lies across two of them stays one.
func TestCharactersAcrossReads(t *testing.T) {
	const text = "größer – 世界 🚢"
	for cut := range len(text) {
		l := open(t, Config{Format: Docker})
		out := l.Stream("stdout")
		out.Write([]byte(text[:cut]))
		out.Write([]byte(text[cut:] + "\n"))
		var line struct{ Log string }
		if err := json.Unmarshal([]byte(read(t, l.Path())), &line); err != nil || line.Log != text+"\n" {
			t.Errorf("cut at %d: %q, %v", cut, line.Log, err)
		}
	}
}
