// Package userns gives pods with user namespaces of their own blocks of the host's ids (KEP-127): 65,536 each, no two pods the same, kept over a
// restart of the node agent.
//
// A block is a pod's from the first ask until the pod's folder is gone: DIR/UID/userns holds the block's first id in decimal. It makes no namespace:
// the runtime does. Only the node agent imports it.
package userns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"nau/internal/kernel/idmap"
)

// Size is how many ids a pod gets. Source: KEP-127.
const Size = 65536

// Blocks are the blocks of one node.
type Blocks struct {
	dir      string
	reserved []idmap.Range
	alive    func(uid string) bool

	mu    sync.Mutex
	taken map[uint32]string // first id → pod; nil before the first ask
}

// New makes them. dir is where the pods' folders are; "" keeps nothing, and a pod has its block while it is alive. No block meets a reserved range.
func New(dir string, reserved []idmap.Range, alive func(uid string) bool) *Blocks {
	return &Blocks{dir: dir, reserved: reserved, alive: alive}
}

// Of is the first id of a pod's block.
func (b *Blocks) Of(uid string) (uint32, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.load(); err != nil {
		return 0, err
	}
	for first, owner := range b.taken {
		switch {
		case owner == uid:
			return first, nil
		case !b.held(owner):
			delete(b.taken, first)
		}
	}
	first, ok := free(b.taken, b.reserved)
	if !ok {
		return 0, errors.New("give the pod a user namespace: all blocks of host ids are taken")
	}
	if b.dir != "" {
		if err := os.MkdirAll(filepath.Dir(b.file(uid)), 0o750); err != nil {
			return 0, fmt.Errorf("keep user namespace: %w", err)
		}
		if err := os.WriteFile(b.file(uid), strconv.AppendUint(nil, uint64(first), 10), 0o600); err != nil {
			return 0, fmt.Errorf("keep user namespace: %w", err)
		}
	}
	b.taken[first] = uid
	return first, nil
}

func (b *Blocks) file(uid string) string { return filepath.Join(b.dir, uid, "userns") }

// held tells that a pod may still use its block: its containers may run although nobody here has heard of it yet.
func (b *Blocks) held(uid string) bool {
	if b.dir != "" {
		if _, err := os.Lstat(b.file(uid)); err == nil {
			return true
		}
	}
	return b.alive(uid)
}

// load reads the blocks of pods that an earlier agent left.
func (b *Blocks) load() error {
	if b.taken != nil {
		return nil
	}
	taken := map[uint32]string{}
	if b.dir != "" {
		pods, err := os.ReadDir(b.dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("read user namespaces of pods: %w", err)
		}
		for _, p := range pods {
			text, err := os.ReadFile(b.file(p.Name()))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return fmt.Errorf("read user namespace of pod: %w", err)
			}
			// What was cut off by a crash was told nobody.
			if first, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32); err == nil && first >= Size && first%Size == 0 {
				taken[uint32(first)] = p.Name()
			}
		}
	}
	b.taken = taken
	return nil
}

// free finds the first block that nobody has. The first 65,536 ids are the host's own users, the last block is the kernel's for "no id".
func free(taken map[uint32]string, reserved []idmap.Range) (uint32, bool) {
search:
	for first := uint64(Size); first+Size < 1<<32; first += Size {
		if _, ok := taken[uint32(first)]; ok {
			continue
		}
		for _, r := range reserved {
			if first < uint64(r.First)+uint64(r.Size) && uint64(r.First) < first+Size {
				continue search
			}
		}
		return uint32(first), true
	}
	return 0, false
}
