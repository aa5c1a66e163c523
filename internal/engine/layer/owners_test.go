package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"nau/internal/kernel"
	"nau/internal/kernel/idmap"
)

// netRaw is CAP_NET_RAW, permitted and effective, as revision 2 has it.
const netRaw = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

func TestCapabilitiesBothWays(t *testing.T) {
	out := capsOutward([]byte(netRaw), 0x10203)
	if want := "\x01\x00\x00\x03" + netRaw[4:] + "\x03\x02\x01\x00"; string(out) != want {
		t.Errorf("outward % x", out)
	}
	if in, ok := capsInward(out, 0x10203); !ok || string(in) != netRaw {
		t.Errorf("inward % x, %v", in, ok)
	}
	for name, v := range map[string][]byte{"another namespace's": capsOutward([]byte(netRaw), 7), "the host's": []byte(netRaw), "short": out[:10], "empty": nil} {
		if in, ok := capsInward(v, 0x10203); ok {
			t.Errorf("%s capabilities count: % x", name, in)
		}
	}
	if v := capsOutward([]byte("odd"), 1); string(v) != "odd" {
		t.Errorf("outward %q", v)
	}
}

// entries are the headers of an archive by name.
func entries(t *testing.T, archive []byte) map[string]*tar.Header {
	t.Helper()
	out := map[string]*tar.Header{}
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out[h.Name] = h
	}
}

// A snapshot of a user namespace shows an image's owners shifted, keeps what is written with the host's ids, and gives it back with the namespace's.
func TestSnapshotOfUserNamespace(t *testing.T) {
	needRoot(t)
	s := openStore(t)
	if err := s.CanMapOwners(); err != nil {
		if !errors.Is(err, kernel.ErrCannot) {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	ctx := context.Background()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	capable := map[string]string{"SCHILY.xattr.security.capability": netRaw}
	base := apply(t, s, te{name: "etc/", typ: tar.TypeDir, mode: 0o755}, te{name: "etc/ping", body: "p", mode: 0o755, pax: capable}, te{name: "etc/user", body: "u", mode: 0o4755, uid: 1000},
		te{name: "etc/gone", body: "g"}, te{name: "etc/far", body: "f", uid: 70000})
	ids := idmap.Block(200000, 300000, 65536)
	m, err := s.Prepare(ctx, "c", []digest.Digest{base}, Owners(ids))
	must(err)
	if again, err := s.Mounts(ctx, "c"); err != nil || !again.Owners.Equal(m.Owners) || m.Owners.IsZero() {
		t.Errorf("the record has %v, %v", again.Owners, err)
	}
	at := t.TempDir()
	must(m.Attach(at))
	defer kernel.Unmount(at)
	owner := func(path, want string) {
		t.Helper()
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			t.Error(err)
			return
		}
		if got := strings.Join([]string{strconv.Itoa(int(st.Uid)), strconv.Itoa(int(st.Gid))}, ":"); got != want {
			t.Errorf("%s belongs to %s, want %s", path, got, want)
		}
	}
	owner(at, "200000:300000")
	owner(at+"/etc/ping", "200000:300000")
	owner(at+"/etc/user", "201000:301000")
	owner(at+"/etc/far", "65534:65534") // no place
	owner(s.rootOf(t, base)+"/etc/user", "1000:1000")

	// In, by an archive.
	in := tarOf(t, te{name: "new/deep/f", body: "f", uid: 5, pax: capable}, te{name: "etc/user", body: "v", mode: 0o755, uid: 1001})
	must(Extract(ctx, at, "/", bytes.NewReader(in), ExtractOptions{Owners: ids}))
	owner(at+"/new", "200000:300000")
	owner(at+"/new/deep/f", "200005:300005")
	must(os.Chmod(at+"/etc/ping", 0o711)) // copied up with its capabilities
	must(os.Remove(at + "/etc/gone"))
	if err := Extract(ctx, at, "/", bytes.NewReader(tarOf(t, te{name: "x", uid: 65536})), ExtractOptions{Owners: ids}); err == nil || !strings.Contains(err.Error(), "no place") {
		t.Errorf("an owner without a place: %v", err)
	}

	// Out, by the snapshot and by the root file system.
	var diff, whole, one bytes.Buffer
	must(s.Diff(ctx, "c", &diff))
	must(Archive(ctx, &whole, at, ids))
	must(ArchivePath(ctx, &one, at, "/new", ids))
	for from, c := range map[string]struct {
		archive []byte
		has     []string
	}{
		"diff":    {diff.Bytes(), []string{"new/", "new/deep/", "new/deep/f", "etc/user", "etc/ping"}},
		"archive": {whole.Bytes(), []string{"new/", "new/deep/f", "etc/user", "etc/ping", "etc/far"}},
		"path":    {one.Bytes(), []string{"new/", "new/deep/f"}},
	} {
		found := entries(t, c.archive)
		for _, name := range c.has {
			h := found[name]
			if h == nil {
				t.Errorf("%s has no %s", from, name)
				continue
			}
			uid := map[string]int{"new/deep/f": 5, "etc/user": 1001, "etc/far": 65534}[name]
			if h.Uid != uid || h.Gid != uid {
				t.Errorf("%s: %s belongs to %d:%d", from, name, h.Uid, h.Gid)
			}
			if got := h.PAXRecords["SCHILY.xattr.security.capability"]; (name == "new/deep/f" || name == "etc/ping") && got != netRaw {
				t.Errorf("%s: %s has capabilities % x", from, name, got)
			}
		}
	}
	if entries(t, diff.Bytes())["etc/.wh.gone"] == nil {
		t.Error("the diff does not tell what was removed")
	}
	// A snapshot without a mapping is as ever.
	plain, err := s.Prepare(ctx, "plain", []digest.Digest{base})
	must(err)
	owner(filepath.Dir(plain.Upper)+"/u", "0:0")
	if _, err := s.Prepare(ctx, "bad", []digest.Digest{base}, Owners(idmap.Block(0, 0, 0))); err == nil {
		t.Error("a mapping without a root was taken")
	}
}
