package embedded

import (
	"bytes"
	"errors"
	"testing"
)

// What `make build` put here is a whole program; without it there is a clear word.
func TestRuntime(t *testing.T) {
	data, err := Runtime()
	if errors.Is(err, ErrMissing) {
		return // a checkout that was not built
	}
	if err != nil || !bytes.HasPrefix(data, []byte("\x7fELF")) || len(data) < 1<<20 {
		t.Errorf("%d bytes, %v", len(data), err)
	}
}

func BenchmarkRuntime(b *testing.B) {
	for b.Loop() {
		if _, err := Runtime(); err != nil {
			b.Skip(err)
		}
	}
}
