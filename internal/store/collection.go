package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/tidwall/btree"

	"nau/internal/store/kv"
)

// defaultHistory bounds a collection's events; at full speed it is some seconds.
const defaultHistory = 16384

// Collection is the objects below one prefix. All methods may be called
// concurrently.
type Collection struct {
	store *Store
	cfg   CollectionConfig

	loading sync.Mutex // serialises load

	// mu guards everything below; the pump is the only one who changes the
	// contents.
	mu      sync.RWMutex
	phase   phase
	dropped bool        // the store knows it no more
	waiting []kv.Change // came while loading

	tree *btree.BTreeG[*Entry]
	// last is the revision of the newest change to this collection, or of the
	// load; the contents are complete up to it and to the store's applied.
	last int64
	// frozen is a copy of tree that readers share, made when one asks; nil
	// after a change.
	frozen *snapshot
	// paged are snapshots that lists are being paged over.
	paged []*snapshot
	index map[string]map[string]map[string]*Entry // field → value → key

	pending map[string][]*pending // writes in flight, by key
	main    *feed
	narrow  map[scope]*feed
	history history
}

type phase int

const (
	cold phase = iota
	filling
	warm
)

// snapshot is the contents at a revision, never changed again.
type snapshot struct {
	tree     *btree.BTreeG[*Entry]
	revision int64
	used     time.Time // guarded by the collection's mu, for paged ones
}

// scope names a narrow feed: the entries of one name, namespace or value.
type scope struct{ field, value string }

const (
	nameField      = "metadata.name"
	namespaceField = "metadata.namespace"
)

// pending is a write in flight. When its own bytes come back from etcd, the
// object that the writer had in hand is used, and nothing is decoded.
type pending struct {
	value  Value
	sealed []byte
	entry  *Entry // set by the pump; read after the revision is applied
}

func newCollection(s *Store, cfg CollectionConfig) *Collection {
	if cfg.History == 0 {
		cfg.History = defaultHistory
	}
	c := &Collection{store: s, cfg: cfg, pending: map[string][]*pending{}}
	c.reset()
	return c
}

// reset empties the cache. mu is held, or nobody else knows c.
func (c *Collection) reset() {
	c.tree = newTree()
	c.frozen, c.paged = nil, nil
	c.index = make(map[string]map[string]map[string]*Entry, len(c.cfg.Index))
	for _, f := range c.cfg.Index {
		c.index[f] = map[string]map[string]*Entry{}
	}
	c.main = newFeed()
	c.narrow = map[scope]*feed{}
	c.history = history{chunks: []*chunk{c.main.last}}
}

func newTree() *btree.BTreeG[*Entry] {
	return btree.NewBTreeGOptions(func(a, b *Entry) bool { return a.Key < b.Key }, btree.Options{NoLocks: true})
}

// load fills the cache if it is cold.
func (c *Collection) load(ctx context.Context) error {
	c.mu.RLock()
	phase := c.phase
	c.mu.RUnlock()
	if phase == warm {
		return nil
	}
	c.loading.Lock()
	defer c.loading.Unlock()
	c.mu.RLock()
	phase = c.phase
	c.mu.RUnlock()
	if phase == warm {
		return nil
	}
	// From here on the pump keeps our changes; it took up seen without.
	c.store.mu.Lock()
	c.mu.Lock()
	dropped := c.dropped
	if !dropped {
		c.phase, c.waiting = filling, nil
	}
	c.mu.Unlock()
	seen := c.store.seen.Load()
	c.store.mu.Unlock()
	if dropped {
		return fmt.Errorf("load %s: %w", c.cfg.Prefix, ErrClosed)
	}
	return c.fill(ctx, seen)
}

// reload replaces the contents after a gap in etcd's watch.
func (c *Collection) reload(ctx context.Context, revision int64) error {
	c.loading.Lock()
	defer c.loading.Unlock()
	c.mu.Lock()
	if c.phase != warm {
		c.mu.Unlock()
		return nil
	}
	c.cutLocked(ErrExpired)
	c.reset()
	c.phase, c.waiting = filling, nil
	c.mu.Unlock()
	return c.fill(ctx, revision)
}

// fill reads the contents at a revision not below least, and becomes warm.
func (c *Collection) fill(ctx context.Context, least int64) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("load %s: %w", c.cfg.Prefix, err)
			c.mu.Lock()
			c.phase, c.waiting = cold, nil
			c.mu.Unlock()
		}
	}()
	var entries []*Entry
	var revision int64
	for {
		entries, revision, err = c.read(ctx, c.cfg.Prefix, 0)
		if err != nil {
			return err
		}
		if revision >= least {
			break
		}
		// etcd tells watchers a moment before readers.
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.store.cfg.Clock.After(time.Millisecond):
		}
	}
	now := c.store.cfg.Clock.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range entries {
		c.tree.Set(e)
		c.reindex(nil, e)
	}
	c.last, c.history.base = revision, revision
	for _, ch := range c.waiting {
		if ch.Revision > revision {
			c.take(ch, now)
		}
	}
	c.waiting, c.frozen, c.phase = nil, nil, warm
	return nil
}

// read decodes everything below a full prefix at a revision (0: newest), in key
// order. Entries that the cache still holds unchanged are not decoded again.
func (c *Collection) read(ctx context.Context, prefix string, revision int64) ([]*Entry, int64, error) {
	const pageSize = 2000
	var entries []*Entry
	exact := revision > 0
	from, to := prefix, kv.After(prefix)
	for {
		page, err := c.store.backend.Range(ctx, from, to, revision, pageSize)
		if errors.Is(err, kv.ErrCompacted) && !exact && revision > 0 { // overtaken while paging: begin anew
			entries, from, revision = nil, prefix, 0
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		if revision == 0 {
			revision = page.Revision
		}
		entries = append(entries, c.decodeAll(page.Pairs)...)
		if !page.More {
			return entries, revision, nil
		}
		from = page.Pairs[len(page.Pairs)-1].Key + "\x00"
	}
}

func (c *Collection) decodeAll(pairs []kv.Pair) []*Entry {
	decoded := make([]*Entry, len(pairs))
	var wg sync.WaitGroup
	per := max(200, (len(pairs)+runtime.GOMAXPROCS(0)-1)/runtime.GOMAXPROCS(0))
	for from := 0; from < len(pairs); from += per {
		to := min(from+per, len(pairs))
		wg.Go(func() {
			for i := from; i < to; i++ {
				decoded[i] = c.decode(pairs[i])
			}
		})
	}
	wg.Wait()
	entries := decoded[:0]
	for _, e := range decoded {
		if e != nil {
			entries = append(entries, e)
		}
	}
	return entries
}

// decode makes an entry of stored bytes. What cannot be decoded is logged and
// left out: one damaged value must not make its whole kind unreadable.
func (c *Collection) decode(p kv.Pair) *Entry {
	plain, stale := p.Value, false
	var err error
	if c.cfg.Transformer != nil {
		plain, stale, err = c.cfg.Transformer.Open(p.Value, p.Key)
	}
	e := &Entry{Key: p.Key[len(c.cfg.Prefix):], Revision: p.Revision, Stale: stale, codec: c.cfg.Codec, size: len(p.Value)}
	if err == nil {
		e.Object, err = c.cfg.Codec.Decode(plain)
	}
	if err != nil {
		c.store.cfg.Log.Error("unreadable value in etcd; it is not served", "key", p.Key, "revision", p.Revision, "error", err)
		return nil
	}
	e.codec.Stamp(e.Object, e.Revision)
	return e
}

// apply takes changes of this collection up, in order. Only the pump calls it.
func (c *Collection) apply(changes []kv.Change, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch c.phase {
	case cold:
		return
	case filling:
		c.waiting = append(c.waiting, changes...)
		return
	}
	for _, ch := range changes {
		if ch.Revision > c.last {
			c.take(ch, now)
		}
	}
	c.frozen = nil
	c.main.notify(c)
}

// take applies one change to the tree, the indexes and the feeds. mu is held.
func (c *Collection) take(write kv.Change, now time.Time) {
	key := write.Key[len(c.cfg.Prefix):]
	c.last = write.Revision
	ch := &change{revision: write.Revision, at: now}
	if write.Deleted {
		previous, ok := c.tree.Delete(&Entry{Key: key})
		if !ok {
			return
		}
		ch.previous = previous
	} else {
		ch.entry = c.own(key, write)
		if ch.entry == nil {
			ch.entry = c.decode(write.Pair)
		}
		if ch.entry == nil { // unreadable: for readers it is gone
			previous, ok := c.tree.Delete(&Entry{Key: key})
			if !ok {
				return
			}
			ch.previous = previous
		} else {
			ch.previous, _ = c.tree.Set(ch.entry)
		}
	}
	c.reindex(ch.previous, ch.entry)
	if grown := c.main.append(ch); grown != nil {
		c.history.chunks = append(c.history.chunks, grown)
		c.history.trim(now, c.cfg.History)
		c.tellHeavy()
	}
	c.history.weigh(c.main.last, ch)
	if len(c.narrow) > 0 {
		c.narrowly(ch)
	}
}

// own finds the write in flight that caused the change.
func (c *Collection) own(key string, write kv.Change) *Entry {
	for _, p := range c.pending[key] {
		if p.entry == nil && bytes.Equal(p.sealed, write.Value) {
			p.entry = &Entry{Key: key, Object: p.value.Object, Revision: write.Revision, codec: c.cfg.Codec, size: len(write.Value)}
			c.cfg.Codec.Stamp(p.entry.Object, write.Revision)
			return p.entry
		}
	}
	return nil
}

// reindex moves an entry between the values of the indexed fields.
func (c *Collection) reindex(before, after *Entry) {
	for _, field := range c.cfg.Index {
		values := c.index[field]
		if before != nil {
			value := before.Fields().Get(field)
			if keys := values[value]; keys != nil {
				delete(keys, before.Key)
				if len(keys) == 0 {
					delete(values, value)
				}
			}
		}
		if after != nil {
			value := after.Fields().Get(field)
			keys := values[value]
			if keys == nil {
				keys = map[string]*Entry{}
				values[value] = keys
			}
			keys[after.Key] = after
		}
	}
}

// narrowly hands a change to the narrow feeds that it concerns.
func (c *Collection) narrowly(ch *change) {
	to := func(field, value string) {
		if f := c.narrow[scope{field, value}]; f != nil {
			f.append(ch)
			f.notify(c)
		}
	}
	namespace, name := split(ch.key())
	to(nameField, name)
	to(namespaceField, namespace)
	for _, field := range c.cfg.Index {
		var before string
		if ch.previous != nil {
			before = ch.previous.Fields().Get(field)
			to(field, before)
		}
		if ch.entry != nil {
			if after := ch.entry.Fields().Get(field); ch.previous == nil || after != before {
				to(field, after)
			}
		}
	}
}

// split parts a key into namespace ("" if none) and name.
func split(key string) (namespace, name string) {
	if i := strings.LastIndexByte(key, '/'); i >= 0 {
		return key[:i], key[i+1:]
	}
	return "", key
}

// freeze returns the contents as they are, at the newest revision known.
func (c *Collection) freeze() *snapshot {
	applied := c.store.applied.Load() // before the contents are looked at
	c.mu.RLock()
	s := c.frozen
	c.mu.RUnlock()
	if s == nil {
		c.mu.Lock()
		s = c.freezeLocked()
		c.mu.Unlock()
	}
	if applied > s.revision {
		return &snapshot{tree: s.tree, revision: applied}
	}
	return s
}

func (c *Collection) freezeLocked() *snapshot {
	if c.frozen == nil {
		c.frozen = &snapshot{tree: c.tree.Copy(), revision: c.last}
	}
	return c.frozen
}

// decoded is how many times its stored size an object takes.
const decoded = 4

// relieve is the part of trim that is about the history.
func (c *Collection) relieve(now time.Time) (freed int) {
	c.mu.Lock()
	freed = decoded * c.history.trim(now, c.cfg.History)
	past := c.history.past(now)
	c.tellHeavy() // some of it was too young
	c.mu.Unlock()
	for _, e := range past {
		freed += e.age(true)
	}
	return freed
}

// tellHeavy asks the house for relief if the history weighs much. mu is held.
func (c *Collection) tellHeavy() {
	if c.history.weight > heavy {
		select {
		case c.store.heavy <- struct{}{}:
		default:
		}
	}
}

// trim ages the history and the encoded forms, and forgets snapshots nobody
// pages over any more. It tells about how many bytes that leaves to the garbage
// collector.
func (c *Collection) trim(now time.Time) (freed int) {
	c.mu.Lock()
	if c.phase != warm {
		c.mu.Unlock()
		return 0
	}
	freed = decoded * c.history.trim(now, c.cfg.History)
	past := c.history.past(now)
	present := c.freezeLocked()
	freed += c.tidyLocked(now)
	c.mu.Unlock()
	for _, e := range past {
		freed += e.age(true)
	}
	present.tree.Scan(func(e *Entry) bool {
		freed += e.age(false)
		return true
	})
	return freed
}

// tidyLocked lets go of pages and tells watchers that a bookmark is due.
func (c *Collection) tidyLocked(now time.Time) (freed int) {
	kept := c.paged[:0]
	for _, s := range c.paged {
		if now.Sub(s.used) < pagedFor {
			kept = append(kept, s)
		} else if s.revision < c.last {
			freed += muchFreed // at worst everything has changed since
		}
	}
	clear(c.paged[len(kept):])
	c.paged = kept
	mark := func(f *feed) {
		for _, w := range f.watchers {
			if w.opts.Bookmarks {
				w.bookmark.Store(true)
				w.rouse()
			}
		}
	}
	mark(c.main)
	for _, f := range c.narrow {
		mark(f)
	}
	return freed
}

// cut ends every watcher.
func (c *Collection) cut(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cutLocked(err)
}

func (c *Collection) cutLocked(err error) {
	feeds := []*feed{c.main}
	for _, f := range c.narrow {
		feeds = append(feeds, f)
	}
	for _, f := range feeds {
		if f.timer != nil {
			f.timer.Stop()
		}
		for _, w := range f.watchers {
			w.end(err)
		}
		f.watchers = nil
	}
}
