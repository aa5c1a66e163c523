package spent

import (
	"fmt"
	"testing"
)

// report hears what a test would be told.
type report struct {
	testing.TB
	said string
}

func (*report) Helper()                     {}
func (r *report) Errorf(f string, a ...any) { r.said = fmt.Sprintf(f, a...) }

var kept [][]byte

func TestOn(t *testing.T) {
	for _, tt := range []struct {
		takes, size int
		fine        bool
	}{{1 << 20, 0, true}, {2 * Base, 0, false}, {2 * Base, 2 * Base / Each, true}} {
		r := &report{TB: t}
		On(r, tt.size, func() { kept = append(kept, make([]byte, tt.takes)) })
		kept = nil
		if (r.said == "") != tt.fine {
			t.Errorf("%d bytes for %d: %q", tt.takes, tt.size, r.said)
		}
	}
}
