package docker

import (
	"testing"
	"testing/synctest"
)

// A reader of the past waits for what the engine has told and the hub has not handed out yet.
func TestAwaitTranslation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, done := newHub(), false
		go func() { h.await(2, nil); done = true }()
		for seq, want := range []bool{false, false, true} {
			h.translated(uint64(seq))
			if synctest.Wait(); done != want {
				t.Errorf("after event %d: done is %t", seq, done)
			}
		}
		h.await(1, nil)
		end := make(chan struct{})
		close(end)
		h.await(9, end)
	})
}
