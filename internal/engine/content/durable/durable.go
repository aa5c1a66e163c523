// Package durable lets a store put big things in place without waiting for the disk, and still never trust half of one after a power loss.
//
// A thing that is renamed into place before its bytes are on disk gets a mark first: an empty file "NAME.BOOT", BOOT being the kernel's boot
// id. One sync of the file system, well after the work, makes everything durable and takes the marks away. At open, a mark of this boot is
// harmless (the page cache has all the bytes, whatever happened to the process); a mark of another boot means that the thing must be
// proven again, or dropped; a mark whose thing is not there goes. Marks and things share a file system whose metadata is ordered, so a thing never survives without its mark.
//
// Sync waits, for whoever promised durability (a commit, a push received, an import); everybody else pays nothing.
// It is not a journal. engine/content and engine/layer use it.
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Delay between the first unsynced thing and the sync in the background: the kernel's own write-back has done most of the work by then.
const Delay = 30 * time.Second

// Marks is one directory of marks.
type Marks struct {
	dir  string
	boot string

	mu    sync.Mutex        // covers the fields below and the mark files
	names map[string]uint64 // how often anything had been marked when this was: a thing made anew during a sync keeps its mark
	count uint64
	timer *time.Timer
	after func(time.Duration, func()) *time.Timer

	syncing sync.Mutex // one sync at a time; the next one sees all marks made until it starts
}

// Open reads the marks in dir, which it makes if it is not there. here says whether a thing is in place; doubt is called for one whose bytes may have been
// lost: it proves the thing or removes it, and an error ends the opening.
func Open(dir string, here func(name string) bool, doubt func(name string) error) (*Marks, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, fmt.Errorf("read boot id: %w", err)
	}
	return open(dir, strings.TrimSpace(string(boot)), here, doubt)
}

func open(dir, boot string, here func(string) bool, doubt func(string) error) (*Marks, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make marks directory: %w", err)
	}
	m := &Marks{dir: dir, boot: boot, names: map[string]uint64{}, after: time.AfterFunc}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read marks: %w", err)
	}
	for _, e := range entries {
		name, b, ok := strings.Cut(e.Name(), ".")
		if !ok {
			continue
		}
		if there := here(name); there && b == boot {
			m.names[name] = 0
			continue
		} else if there {
			if err := doubt(name); err != nil {
				return nil, fmt.Errorf("prove %s after a power loss: %w", name, err)
			}
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return nil, fmt.Errorf("remove mark: %w", err)
		}
	}
	if len(m.names) > 0 {
		m.mu.Lock()
		m.schedule()
		m.mu.Unlock()
	}
	return m, nil
}

// Add marks name (no "." and no "/" in it) as not yet durable. Call it before the rename that puts the thing in place.
func (m *Marks) Add(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	f, err := os.OpenFile(m.file(name), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("mark %s: %w", name, err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("mark %s: %w", name, err)
	}
	m.count++
	m.names[name] = m.count
	m.schedule()
	return nil
}

func (m *Marks) file(name string) string { return filepath.Join(m.dir, name+"."+m.boot) }

// Drop takes the mark of a thing that was removed.
func (m *Marks) Drop(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if at, ok := m.names[name]; ok {
		_ = m.drop(name, at) // a mark too many costs one look after the next power loss
	}
}

// drop takes a mark unless the thing was marked again since. The lock is held.
func (m *Marks) drop(name string, at uint64) error {
	if now, ok := m.names[name]; !ok || now != at {
		return nil
	}
	if err := os.Remove(m.file(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove mark: %w", err)
	}
	delete(m.names, name)
	return nil
}

// schedule arms the background sync. The lock is held.
func (m *Marks) schedule() {
	if m.timer == nil {
		// An error leaves the marks where they are: the next sync tries again, and the next boot proves.
		m.timer = m.after(Delay, func() { _ = m.Sync() })
	}
}

// Pending counts the things that are not known to be durable.
func (m *Marks) Pending() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.names)
}

// Sync makes everything put in place before the call durable, and takes the marks away.
func (m *Marks) Sync() error {
	m.syncing.Lock()
	defer m.syncing.Unlock()
	m.mu.Lock()
	if m.timer != nil {
		m.timer.Stop()
		m.timer = nil
	}
	names := maps.Clone(m.names)
	m.mu.Unlock()
	if len(names) == 0 {
		return nil
	}
	d, err := os.Open(m.dir)
	if err != nil {
		return fmt.Errorf("open marks directory: %w", err)
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return fmt.Errorf("sync file system of %s: %w", m.dir, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for n, at := range names {
		if err := m.drop(n, at); err != nil {
			return err
		}
	}
	return nil
}

// Settle makes one thing durable at once: file is what was renamed into place. Cheaper than Sync when the disk is busy with others' bytes.
func (m *Marks) Settle(name, file string) error {
	m.mu.Lock()
	at, pending := m.names[name]
	m.mu.Unlock()
	if !pending {
		return nil
	}
	for _, p := range []string{file, filepath.Dir(file)} {
		f, err := os.Open(p)
		if err != nil {
			return fmt.Errorf("sync %s: %w", p, err)
		}
		err = f.Sync()
		f.Close()
		if err != nil {
			return fmt.Errorf("sync %s: %w", p, err)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.drop(name, at)
}

// Close stops the background sync. Marks stay: the next Open deals with them.
func (m *Marks) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.timer != nil {
		m.timer.Stop()
	}
}
