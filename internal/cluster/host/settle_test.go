package host

import "testing"

func TestReadOnlyPart(t *testing.T) {
	const exe = " /usr/bin/nau"
	tests := []struct {
		line       string
		start, end uintptr
		ok         bool
	}{
		{"00400000-028ee000 r-xp 00000000 fe:00 1003                           /usr/bin/nau", 0x400000, 0x28ee000, true},
		{"028ee000-056e1000 r--p 024ee000 fe:00 1003 /usr/bin/nau", 0x28ee000, 0x56e1000, true},
		{"056e1000-05700000 rw-p 052e1000 fe:00 1003 /usr/bin/nau", 0, 0, false},
		{"00400000-028ee000 r-xp 00000000 fe:00 1003 /usr/bin/other", 0, 0, false},
		{"318462c00000-318464800000 rw-p 00000000 00:00 0", 0, 0, false},
		{"", 0, 0, false},
	}
	for _, tt := range tests {
		start, end, ok := readOnlyPart(tt.line, exe)
		if start != tt.start || end != tt.end || ok != tt.ok {
			t.Errorf("%q: %x %x %v", tt.line, start, end, ok)
		}
	}
}

func TestSettleKeepsTheProgramRunning(t *testing.T) {
	for range 3 {
		if err := Settle(); err != nil {
			t.Fatal(err)
		}
	}
}
