package loop

import (
	"context"
	"errors"
	"testing"
)

func TestAFailedKeyIsTriedAgain(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	tries := make(chan int, 10)
	n := 0
	l := New("test", nil, func(_ context.Context, key string) error {
		n++
		tries <- n
		if n < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	l.Add("k")
	done := make(chan error)
	go func() { done <- l.Run(ctx, 1) }()
	for want := 1; want <= 3; want++ {
		if got := <-tries; got != want {
			t.Fatalf("try %d, want %d", got, want)
		}
	}
	cancel()
	if err := <-done; err != nil || len(tries) != 0 {
		t.Fatalf("%v, %d further tries", err, len(tries))
	}
}
