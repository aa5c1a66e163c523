package seal

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

var (
	oldKey = Key{Name: "old", Secret: bytes.Repeat([]byte{1}, 32)}
	newKey = Key{Name: "new", Secret: bytes.Repeat([]byte{2}, 16)}
)

func keys(t testing.TB, k ...Key) *Keys {
	t.Helper()
	s, err := New(k...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRotation(t *testing.T) {
	before, during, after := keys(t, oldKey), keys(t, newKey, oldKey), keys(t, newKey)
	sealed, err := before.Seal([]byte("secret"), "/k")
	if err != nil || !bytes.HasPrefix(sealed, []byte("k8s:enc:aesgcm:v1:old:")) || bytes.Contains(sealed, []byte("secret")) {
		t.Fatalf("%q %v", sealed, err)
	}
	for _, c := range []struct {
		name  string
		open  func([]byte, string) ([]byte, bool, error)
		value []byte
		key   string
		stale bool
		err   bool
	}{
		{"its key", before.Open, sealed, "/k", false, false},
		{"an older key", during.Open, sealed, "/k", true, false},
		{"a dropped key", after.Open, sealed, "/k", false, true},
		{"another place", before.Open, sealed, "/l", false, true},
		{"cut short", before.Open, sealed[:len(sealed)-1], "/k", false, true},
		{"nothing left", before.Open, sealed[:24], "/k", false, true},
		{"plain", before.Open, []byte("secret"), "/k", true, false},
		{"upstream's other ways", before.Open, []byte("k8s:enc:kms:v2:x:y"), "/k", false, true},
		{"identity, plain", Identity{}.Open, []byte("secret"), "/k", false, false},
		{"identity, sealed", Identity{before}.Open, sealed, "/k", true, false},
		{"identity without keys", Identity{}.Open, sealed, "/k", false, true},
	} {
		plain, stale, err := c.open(c.value, c.key)
		if (err != nil) != c.err || stale != c.stale || err == nil && string(plain) != "secret" {
			t.Errorf("%s: %q %v %v", c.name, plain, stale, err)
		}
	}
	if _, _, err := after.Open(sealed, "/k"); !errors.Is(err, ErrUnknownKey) {
		t.Error(err)
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pki", "keys.json")
	a, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
	b, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	sealed, _ := a.Seal([]byte("secret"), "/k")
	if plain, stale, err := b.Open(sealed, "/k"); string(plain) != "secret" || stale || err != nil {
		t.Error(plain, stale, err)
	}
	os.WriteFile(path, []byte(`{"keys":[]}`), 0o600)
	if _, err := Load(path); err == nil {
		t.Error("no error for an empty key file")
	}
}

func TestBadKeys(t *testing.T) {
	for _, k := range [][]Key{{}, {{"", oldKey.Secret}}, {{"a:b", oldKey.Secret}}, {{"a", []byte{1}}}, {oldKey, oldKey}} {
		if _, err := New(k...); err == nil {
			t.Errorf("no error for %v", k)
		}
	}
}

func FuzzOpen(f *testing.F) {
	k := keys(f, newKey, oldKey)
	sealed, _ := k.Seal([]byte("secret"), "/k")
	f.Add(sealed)
	f.Add([]byte("k8s:enc:aesgcm:v1:new:"))
	f.Add([]byte("k8s:enc:"))
	f.Add([]byte("plain"))
	f.Fuzz(func(t *testing.T, stored []byte) {
		plain, _, err := k.Open(stored, "/k")
		if err == nil && !bytes.Equal(stored, sealed) && bytes.HasPrefix(stored, []byte(anyPrefix)) && !bytes.Equal(plain, []byte("secret")) {
			t.Errorf("opened %q", stored)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	k := keys(b, oldKey)
	value := make([]byte, 2048)
	for b.Loop() {
		sealed, _ := k.Seal(value, "/registry/secrets/a/b")
		if _, _, err := k.Open(sealed, "/registry/secrets/a/b"); err != nil {
			b.Fatal(err)
		}
	}
}
