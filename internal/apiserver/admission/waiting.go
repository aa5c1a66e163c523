package admission

import (
	"context"
	"sync"
	"time"

	"k8s.io/client-go/tools/cache"
)

// news lets requests wait for an informer to learn something: who finds nothing waits for the next object and looks again.
type news struct {
	mu   sync.Mutex
	next chan struct{} // closed at the next added object; nil while nobody waits
}

func (n *news) follow(i cache.SharedIndexInformer) error {
	_, err := i.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(any) {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.next != nil {
			close(n.next)
			n.next = nil
		}
	}})
	return err
}

func (n *news) wait() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.next == nil {
		n.next = make(chan struct{})
	}
	return n.next
}

// await calls look until it says yes, after every piece of news, at most patience long.
func (n *news) await(ctx context.Context, patience time.Duration, look func() bool) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		next := n.wait()
		if look() {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-next:
		}
	}
}
