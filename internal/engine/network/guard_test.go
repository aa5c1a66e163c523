package network

import (
	"context"
	"testing"
	"time"

	"nau/internal/engine/testbed"
)

func TestDeletedRulesComeBack(t *testing.T) {
	testbed.Need(t)
	m := start(t, t.TempDir())
	defer m.Close()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- m.Guard(ctx) }()
	for deadline := time.Now().Add(10 * time.Second); ; {
		// The guard may not listen yet: delete until the rules come back.
		if err := m.nft.purge(); err != nil {
			t.Fatal(err)
		}
		back := false
		for range 20 {
			if back = m.nft.stands(); back {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		if back {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the rules stay deleted")
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	_ = m.Purge()
}

func FuzzDeletes(f *testing.F) {
	f.Add([]byte{24, 0, 0, 0, 2, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 8, 0, 1, 0, 'n', 'a', 'u', 0}, "nau")
	f.Fuzz(func(_ *testing.T, b []byte, table string) { deletes(b, table) })
}
