package userns

import (
	"os"
	"path/filepath"
	"testing"

	"nau/internal/kernel/idmap"
)

func TestBlocks(t *testing.T) {
	dir := t.TempDir()
	alive := map[string]bool{"a": true, "b": true, "c": true}
	reserved := []idmap.Range{{First: 100000, Size: 65536}} // the second block and the first
	b := New(dir, reserved, func(uid string) bool { return alive[uid] })
	of := func(b *Blocks, uid string, want uint32) {
		t.Helper()
		if got, err := b.Of(uid); err != nil || got != want {
			t.Fatalf("block of %s: %d, %v, want %d", uid, got, err, want)
		}
	}
	of(b, "a", 3*Size)
	of(b, "b", 4*Size)
	of(b, "a", 3*Size)

	// Another agent knows no pod yet: none of its blocks may be another pod's.
	again := New(dir, reserved, func(string) bool { return false })
	of(again, "c", 5*Size)
	of(again, "b", 4*Size)

	// A pod whose folder is gone has no block.
	if err := os.RemoveAll(filepath.Join(dir, "a")); err != nil {
		t.Fatal(err)
	}
	of(again, "d", 3*Size)
	// One that lives keeps it without a folder.
	of(b, "e", 5*Size)
	of(b, "a", 3*Size)
}

func TestDamagedRecords(t *testing.T) {
	dir := t.TempDir()
	for uid, text := range map[string]string{"cut": "", "odd": "65537", "host": "0", "word": "x", "huge": "99999999999", "good": "131072\n"} {
		if err := os.MkdirAll(filepath.Join(dir, uid), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, uid, "userns"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b := New(dir, nil, func(string) bool { return false })
	for uid, want := range map[string]uint32{"good": 131072, "new": Size} {
		if got, err := b.Of(uid); err != nil || got != want {
			t.Errorf("%s: %d, %v, want %d", uid, got, err, want)
		}
	}
}

func TestAllTaken(t *testing.T) {
	if _, ok := free(nil, []idmap.Range{{First: 0, Size: 1<<32 - 1}}); ok {
		t.Error("a block where all ids are reserved")
	}
	taken := map[uint32]string{}
	for n := 0; ; n++ {
		first, ok := free(taken, nil)
		if !ok {
			if n != 65534 {
				t.Errorf("%d blocks", n)
			}
			return
		}
		if _, twice := taken[first]; twice || first < Size || uint64(first)+Size >= 1<<32 {
			t.Fatalf("block %d", first)
		}
		taken[first] = "x"
		if n > 200 { // each search begins at the first block
			for f := uint64(first) + Size; f+2*Size < 1<<32; f += Size {
				taken[uint32(f)] = "x"
				n++
			}
		}
	}
}
