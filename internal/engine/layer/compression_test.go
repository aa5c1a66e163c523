package layer

import (
	"bytes"
	"encoding/base64"
	"io"
	"testing"
)

// TestBzip2 reads what bzip2 writes, one stream after another, and refuses what is cut off or damaged.
func TestBzip2(t *testing.T) {
	const stream = "QlpoOTFBWSZTWatrofEAAALZgAAQQAAQABJkwBAgADEA000EAB6j705RogeLuSKcKEhVtdD4gA=="
	b, err := base64.StdEncoding.DecodeString(stream)
	if err != nil {
		t.Fatal(err)
	}
	damaged := bytes.Clone(b)
	damaged[20] ^= 1
	for name, c := range map[string]struct {
		in   []byte
		want string
	}{"whole": {b, "hello bzip2\n"}, "two": {bytes.Repeat(b, 2), "hello bzip2\nhello bzip2\n"}, "cut": {b[:len(b)-5], ""}, "damaged": {damaged, ""}} {
		r, err := Decompress(bytes.NewReader(c.in))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := io.ReadAll(r)
		if (err == nil) != (c.want != "") || err == nil && string(got) != c.want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
