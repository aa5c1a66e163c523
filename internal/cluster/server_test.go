package cluster

import (
	"context"
	"errors"
	"strings"
	"testing"
)

type brokenStore chan struct{}

func (b brokenStore) Failed() <-chan struct{} { return b }
func (brokenStore) Err() error                { return errNoSpace }

var errNoSpace = errors.New("no space left on device")

// An instance whose store has failed ends and says why; it does not stay as one that answers nothing.
func TestTheInstanceEndsWithItsStore(t *testing.T) {
	b := make(brokenStore)
	close(b)
	if err := untilBroken(t.Context(), b); !errors.Is(err, errNoSpace) || !strings.Contains(err.Error(), "nau up") {
		t.Errorf("a failed store: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := untilBroken(ctx, make(brokenStore)); err != nil {
		t.Errorf("an orderly end: %v", err)
	}
}
