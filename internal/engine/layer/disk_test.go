package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"nau/internal/engine/diskuse"
)

// TestDiskIsWhatAWalkCounts: blocks are counted while a layer unpacks, and must be what a walk over the layer counts.
func TestDiskIsWhatAWalkCounts(t *testing.T) {
	long := strings.Repeat("l", 200)
	many := []te{{name: "many/", typ: tar.TypeDir}}
	for i := range 300 { // a directory of several blocks
		many = append(many, te{name: "many/" + long[i%100:] + string(rune('a'+i/100)), body: "x"})
	}
	for name, entries := range map[string][]te{
		"kinds": {{name: "d/", typ: tar.TypeDir}, {name: "d/empty"}, {name: "d/f", body: strings.Repeat("f", 10_000), uid: 7, mode: 0o4711}, {name: "d/hard", typ: tar.TypeLink, link: "d/f"},
			{name: "short", typ: tar.TypeSymlink, link: "d"}, {name: "long", typ: tar.TypeSymlink, link: long}, {name: "fifo", typ: tar.TypeFifo}, {name: "null", typ: tar.TypeChar, maj: 1, min: 3}},
		"implied":          {{name: "a/b/c/f", body: "f"}},
		"large directory":  many,
		"hole":             {{name: "zeros", body: strings.Repeat("\x00", 700_000)}, {name: "mixed", body: strings.Repeat("\x00", 300_000) + "x"}},
		"made twice":       {{name: "f", body: strings.Repeat("f", 50_000)}, {name: "f", body: "f"}},
		"directory gone":   {{name: "d/f", body: strings.Repeat("f", 50_000)}, {name: "d", body: "d"}},
		"file to folder":   {{name: "d", body: strings.Repeat("f", 50_000)}, {name: "d/", typ: tar.TypeDir}},
		"two names":        {{name: "d/", typ: tar.TypeDir}, {name: "s", typ: tar.TypeSymlink, link: "."}, {name: "s/d/", typ: tar.TypeDir}},
		"large attribute":  {{name: "f", body: "f", pax: map[string]string{"SCHILY.xattr.user.a": strings.Repeat("a", 3000)}}},
		"whiteout, opaque": {{name: "d/.wh.gone"}, {name: "e/.wh..wh..opq"}, {name: "e/f", body: "f"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t)
			d := apply(t, s, entries...)
			info, _ := s.Has(d)
			want, _, err := diskuse.Of(s.rootOf(t, d))
			if err != nil || info.Disk != want {
				t.Errorf("disk is %d, a walk counts %d, %v", info.Disk, want, err)
			}
		})
	}
}

// TestModesWhateverTheUmask: the mask of the program is no part of a layer.
func TestModesWhateverTheUmask(t *testing.T) {
	s := openStore(t)
	for _, mask := range []int{0, 0o77} {
		old := unix.Umask(mask)
		b := tarOf(t, te{name: "d/", typ: tar.TypeDir, mode: 0o1777}, te{name: "d/f", body: "f", mode: 0o666 + int64(mask)&1}, te{name: "x", mode: 0o755 - int64(mask)&1}, te{name: "s", mode: 0o6775})
		info, err := s.Apply(context.Background(), digest.FromBytes(b), bytes.NewReader(b))
		unix.Umask(old)
		if err != nil {
			t.Fatal(err)
		}
		for name, mode := range map[string]uint32{"d": 0o1777, "d/f": 0o666 + uint32(mask)&1, "x": 0o755 - uint32(mask)&1, "s": 0o6775} {
			var st unix.Stat_t
			if err := unix.Lstat(s.rootOf(t, info.DiffID)+"/"+name, &st); err != nil || st.Mode&0o7777 != mode {
				t.Errorf("umask %#o: mode of %s is %#o, want %#o, %v", mask, name, st.Mode&0o7777, mode, err)
			}
		}
	}
}
