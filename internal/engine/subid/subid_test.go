package subid

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRemap(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return p
	}
	f := Files{
		Passwd: file("passwd", "root:x:0:0::/:/bin/sh\nann:x:1000:1000::/:/bin/sh\nbob:x:1001:1001::/:/bin/sh\n"),
		Group:  file("group", "root:x:0:\nann:x:1000:\nmore:x:500:\n"),
		SubUID: file("subuid", "# comment\ndockremap:100000:65536\nann:300000:1000\nann:200000:65536\n1001:400000:10\nbad:1:2:3\n"),
		SubGID: file("subgid", "dockremap:110000:65536\n1000:200000:65536\nmore:500000:65536\n"),
	}
	for _, c := range []struct{ text, want, err string }{
		{"default", "0:100000:65536/0:110000:65536", ""},
		{"dockremap", "", "passwd has no"},
		{"ann", "0:200000:65536,65536:300000:1000/0:200000:65536", ""},
		{"1000", "0:200000:65536,65536:300000:1000/0:200000:65536", ""},
		{"1000:500", "0:200000:65536,65536:300000:1000/0:500000:65536", ""},
		{"bob:more", "0:400000:10/0:500000:65536", ""},
		{"bob", "", "subgid has no range for bob: add a line"},
		{"root", "", "subuid has no range for root: add a line"},
		{"nobody", "", "has no \"nobody\""},
		{"ann:nogroup", "", "has no \"nogroup\""},
		{"", "", "none of default"},
		{"ann:", "", "none of default"},
	} {
		m, err := f.Remap(c.text)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q: %v, want %q", c.text, err, c.err)
			}
			continue
		}
		if err != nil || m.String() != c.want {
			t.Errorf("%q: %s, %v, want %s", c.text, m, err, c.want)
		}
	}
	for _, line := range []string{"bad:1:2:3", "bad:x:1", "bad:1:0", "bad:4294967295:2", "bad"} {
		if _, err := Parse("other:1:1\n"+line+"\n", "bad", ""); err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%q: %v", line, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("a:1:2\n#\n\na:3:4", "a", "7")
	f.Fuzz(func(t *testing.T, text, name, id string) {
		all, err := Parse(text, name, id)
		if err != nil && all != nil {
			t.Fatal("ranges with an error")
		}
		for i, r := range all {
			if r.Size == 0 || uint64(r.First)+uint64(r.Size) > 1<<32-1 || i > 0 && all[i-1].First > r.First {
				t.Fatalf("ranges %v", all)
			}
		}
	})
}
