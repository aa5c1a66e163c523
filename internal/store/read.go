package store

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/tidwall/btree"

	"nau/internal/store/kv"
)

// Get returns the newest entry, at least as new as minRevision if that is
// positive; minRevision -1 takes whatever the cache holds. [ErrNotFound],
// [ErrFutureRevision].
func (c *Collection) Get(ctx context.Context, key string, minRevision int64) (*Entry, error) {
	err := c.load(ctx)
	switch {
	case err != nil:
	case minRevision == 0:
		err = c.store.freshen(ctx)
	case minRevision > 0:
		err = c.store.wait(ctx, minRevision, futureWait)
	}
	if err != nil {
		return nil, fmt.Errorf("get %s%s: %w", c.cfg.Prefix, key, err)
	}
	if e := c.lookup(key); e != nil {
		return e, nil
	}
	return nil, fmt.Errorf("get %s%s: %w", c.cfg.Prefix, key, ErrNotFound)
}

func (c *Collection) lookup(key string) *Entry {
	probe := Entry{Key: key}
	c.mu.RLock()
	defer c.mu.RUnlock()
	e, _ := c.tree.Get(&probe)
	return e
}

// List returns entries in key order. [ErrExpired] (an [*ExpiredError] while
// paging), [ErrFutureRevision], [ErrBadContinue].
func (c *Collection) List(ctx context.Context, opts ListOptions) (*Page, error) {
	page, err := c.list(ctx, opts)
	if err != nil {
		return nil, fmt.Errorf("list %s%s: %w", c.cfg.Prefix, opts.Prefix, err)
	}
	return page, nil
}

func (c *Collection) list(ctx context.Context, opts ListOptions) (*Page, error) {
	if err := c.load(ctx); err != nil {
		return nil, err
	}
	start := opts.Prefix
	var s *snapshot
	var err error
	if opts.Continue != "" {
		t, err := decodeContinue(opts.Continue)
		if err != nil {
			return nil, err
		}
		start += t.Start
		if t.Revision == newest {
			if err := c.store.freshen(ctx); err != nil {
				return nil, err
			}
			s = c.freeze()
		} else if s, err = c.at(ctx, t.Revision, opts.Prefix); errors.Is(err, ErrExpired) {
			return nil, &ExpiredError{Continue: encodeContinue(strings.TrimSuffix(t.Start, "\x00"), newest), Revision: t.Revision}
		} else if err != nil {
			return nil, err
		}
		return c.page(s, start, opts), nil
	}
	switch opts.Match {
	case MostRecent:
		err = c.store.freshen(ctx)
	case NotOlderThan, Exact:
		err = c.store.wait(ctx, opts.Revision, futureWait)
	}
	if err != nil {
		return nil, err
	}
	if opts.Match == Exact {
		if s, err = c.at(ctx, opts.Revision, opts.Prefix); err != nil {
			return nil, err
		}
		return c.page(s, start, opts), nil
	}
	if page := c.few(opts); page != nil {
		return page, nil
	}
	return c.page(c.freeze(), start, opts), nil
}

// few answers, without a scan, a list that asks for one name or for one value of
// an indexed field; nil if it is not such a one.
func (c *Collection) few(opts ListOptions) *Page {
	field, value := c.narrowest(opts)
	if field == "" || field == namespaceField || opts.Limit > 0 {
		return nil
	}
	page := &Page{Revision: c.store.applied.Load()}
	c.mu.RLock()
	defer c.mu.RUnlock()
	if field == nameField {
		e, ok := c.tree.Get(&Entry{Key: opts.Prefix + value})
		if !ok && opts.Prefix == "" { // that name in any namespace
			return nil
		}
		if ok && e.selects(opts.Labels, opts.Fields) {
			page.Entries = []*Entry{e}
		}
	} else {
		for key, e := range c.index[field][value] {
			if strings.HasPrefix(key, opts.Prefix) && e.selects(opts.Labels, opts.Fields) {
				page.Entries = append(page.Entries, e)
			}
		}
		sort.Slice(page.Entries, func(i, j int) bool { return page.Entries[i].Key < page.Entries[j].Key })
	}
	page.Revision = max(page.Revision, c.last)
	return page
}

// narrowest names the most selective scope that the options demand: a name, a
// value of an indexed field, a namespace; "" for everything.
func (c *Collection) narrowest(opts ListOptions) (field, value string) {
	if opts.Fields != nil && !opts.Fields.Empty() {
		if v, ok := opts.Fields.RequiresExactMatch(nameField); ok {
			return nameField, v
		}
		for _, f := range c.cfg.Index {
			if v, ok := opts.Fields.RequiresExactMatch(f); ok {
				return f, v
			}
		}
	}
	if opts.Prefix != "" {
		return namespaceField, strings.TrimSuffix(opts.Prefix, "/")
	}
	return "", ""
}

// page walks a snapshot from start.
func (c *Collection) page(s *snapshot, start string, opts ListOptions) *Page {
	page := &Page{Revision: s.revision}
	labels, fields := opts.Labels, opts.Fields
	if labels != nil && labels.Empty() {
		labels = nil
	}
	if fields != nil && fields.Empty() {
		fields = nil
	}
	all := labels == nil && fields == nil
	if all && opts.Limit == 0 && opts.Prefix == "" {
		page.Entries = make([]*Entry, 0, s.tree.Len())
	} else if all && opts.Limit > 0 {
		page.Entries = make([]*Entry, 0, min(opts.Limit, int64(s.tree.Len())))
	}
	full, next := false, ""
	s.tree.Ascend(&Entry{Key: start}, func(e *Entry) bool {
		if !strings.HasPrefix(e.Key, opts.Prefix) {
			return false
		}
		if full {
			next = e.Key
			return false
		}
		if all || e.selects(labels, fields) {
			page.Entries = append(page.Entries, e)
			full = opts.Limit > 0 && int64(len(page.Entries)) == opts.Limit
		}
		return true
	})
	if next != "" {
		last := page.Entries[len(page.Entries)-1].Key
		page.Continue = encodeContinue(last[len(opts.Prefix):], s.revision)
		if all { // with a selector it is enough to know that there is more
			end := s.tree.Len()
			if opts.Prefix != "" {
				end = rank(s.tree, kv.After(opts.Prefix))
			}
			remaining := int64(end - rank(s.tree, next))
			page.Remaining = &remaining
		}
		c.keep(s)
	}
	return page
}

// rank is how many entries come before key.
func rank(tree *btree.BTreeG[*Entry], key string) int {
	return sort.Search(tree.Len(), func(i int) bool {
		e, _ := tree.GetAt(i)
		return e.Key >= key
	})
}

// keptPages bounds the snapshots that are held for lists being paged; older ones
// are made anew from the history or from etcd.
const keptPages = 8

// pagedFor is how long such a snapshot is held after its last use. It may be all
// that keeps thousands of deleted objects in memory.
const pagedFor = 30 * time.Second

// keep holds a snapshot for the pages to come.
func (c *Collection) keep(s *snapshot) {
	now := c.store.cfg.Clock.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	oldest := -1
	for i, k := range c.paged {
		if k.revision == s.revision {
			k.used = now
			return
		}
		if oldest < 0 || k.used.Before(c.paged[oldest].used) {
			oldest = i
		}
	}
	k := &snapshot{tree: s.tree, revision: s.revision, used: now}
	if len(c.paged) < keptPages {
		c.paged = append(c.paged, k)
	} else {
		c.paged[oldest] = k
	}
}

// at returns the contents at exactly a revision, which has been reached: kept,
// or undone from the present, or read from etcd, in this order. A snapshot from
// etcd holds only what is below prefix.
func (c *Collection) at(ctx context.Context, revision int64, prefix string) (*snapshot, error) {
	if s := c.recent(revision); s != nil {
		return s, nil
	}
	entries, _, err := c.read(ctx, c.cfg.Prefix+prefix, revision)
	switch {
	case errors.Is(err, kv.ErrCompacted):
		return nil, ErrExpired
	case errors.Is(err, kv.ErrFuture):
		return nil, &FutureError{Asked: revision, Current: c.store.applied.Load()}
	case err != nil:
		return nil, err
	}
	s := &snapshot{tree: newTree(), revision: revision}
	for _, e := range entries {
		s.tree.Set(e)
	}
	return s, nil
}

func (c *Collection) recent(revision int64) *snapshot {
	applied := c.store.applied.Load()
	c.mu.Lock()
	for _, k := range c.paged {
		if k.revision == revision {
			c.mu.Unlock()
			return k
		}
	}
	if revision > max(applied, c.last) || revision < c.history.base {
		c.mu.Unlock()
		return nil
	}
	undo, ok := c.history.after(revision)
	if !ok {
		s := &snapshot{tree: c.freezeLocked().tree, revision: revision}
		c.mu.Unlock()
		return s
	}
	var changes []*change
	for ch := undo.next(); ch != nil; ch = undo.next() {
		changes = append(changes, ch)
	}
	tree := c.tree.Copy()
	c.mu.Unlock()
	undoAll(tree, changes)
	return &snapshot{tree: tree, revision: revision}
}

// undoAll takes changes back, newest first.
func undoAll(tree *btree.BTreeG[*Entry], changes []*change) {
	for i := len(changes) - 1; i >= 0; i-- {
		if previous := changes[i].previous; previous != nil {
			tree.Set(previous)
		} else {
			tree.Delete(changes[i].entry)
		}
	}
}
