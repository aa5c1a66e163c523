package docker

import (
	"testing"
	"time"
)

// What a list shows is older than all moments that are given; other requests take one.
func TestSeveralMoments(t *testing.T) {
	const text = `{"until":["100","200"]}`
	f, err := parseConditions(text, "until")
	if err != nil {
		t.Fatal(err)
	}
	for at, want := range map[int64]bool{50: true, 100: false, 150: false, 250: false} {
		if got := f.until(time.Unix(at, 0)); got != want {
			t.Errorf("of %d: %t", at, got)
		}
	}
	if _, err := parseFilters(text, "until"); err == nil || err.Error() != "more than one until filter specified" {
		t.Errorf("where one may be given: %v", err)
	}
}
