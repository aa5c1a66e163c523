package store

import (
	"context"
	"errors"
	"fmt"

	"nau/internal/store/kv"
)

// Create writes a new key. [ErrExists].
func (c *Collection) Create(ctx context.Context, key string, value Value) (*Entry, error) {
	e, r, err := c.put(ctx, key, 0, value)
	if err != nil {
		return nil, fmt.Errorf("create %s%s: %w", c.cfg.Prefix, key, err)
	}
	if !r.OK {
		return nil, fmt.Errorf("create %s%s: %w", c.cfg.Prefix, key, ErrExists)
	}
	return e, nil
}

// Update overwrites a key whose entry is at revision expect. [ErrConflict],
// [ErrNotFound].
func (c *Collection) Update(ctx context.Context, key string, expect int64, value Value) (*Entry, error) {
	if expect <= 0 {
		return nil, fmt.Errorf("update %s%s: no revision expected", c.cfg.Prefix, key)
	}
	e, r, err := c.put(ctx, key, expect, value)
	switch {
	case err != nil:
		return nil, fmt.Errorf("update %s%s: %w", c.cfg.Prefix, key, err)
	case r.OK:
		return e, nil
	case r.Current == 0:
		return nil, fmt.Errorf("update %s%s: %w", c.cfg.Prefix, key, ErrNotFound)
	}
	return nil, &ConflictError{Key: c.cfg.Prefix + key, Expected: expect, Current: r.Current}
}

func (c *Collection) put(ctx context.Context, key string, expect int64, value Value) (*Entry, kv.Result, error) {
	if err := c.load(ctx); err != nil {
		return nil, kv.Result{}, err
	}
	full := c.cfg.Prefix + key
	sealed := value.Bytes
	if c.cfg.Transformer != nil {
		var err error
		if sealed, err = c.cfg.Transformer.Seal(value.Bytes, full); err != nil {
			return nil, kv.Result{}, fmt.Errorf("seal: %w", err)
		}
	}
	p := &pending{value: value, sealed: sealed}
	c.mu.Lock()
	c.pending[key] = append(c.pending[key], p)
	c.mu.Unlock()
	r, err := c.store.backend.Put(ctx, full, sealed, expect)
	if err == nil {
		err = c.store.wait(ctx, r.Revision, 0)
	}
	c.mu.Lock()
	c.forget(key, p)
	e := p.entry
	c.mu.Unlock()
	if err != nil {
		return nil, r, c.failed(err)
	}
	if r.OK && (e == nil || e.Revision != r.Revision) {
		// The bytes came back under another write's name, or the load found
		// them first: the object in hand may be in the cache already.
		e = c.decode(kv.Pair{Key: full, Value: sealed, Revision: r.Revision})
		if e == nil {
			return nil, r, errors.New("the value written cannot be read")
		}
	}
	return e, r, nil
}

func (c *Collection) forget(key string, p *pending) {
	list := c.pending[key]
	for i := range list {
		if list[i] == p {
			list[i] = list[len(list)-1]
			list[len(list)-1] = nil
			list = list[:len(list)-1]
			break
		}
	}
	if len(list) == 0 {
		delete(c.pending, key)
	} else {
		c.pending[key] = list
	}
}

// failed calls the housekeeper if the database is full.
func (c *Collection) failed(err error) error {
	if errors.Is(err, kv.ErrNoSpace) {
		select {
		case c.store.noSpace <- struct{}{}:
		default:
		}
	}
	return err
}

// Delete removes a key whose entry is at revision expect (0: whichever) and
// returns its last state, stamped with the revision of the deletion.
// [ErrConflict], [ErrNotFound].
func (c *Collection) Delete(ctx context.Context, key string, expect int64) (*Entry, error) {
	if err := c.load(ctx); err != nil {
		return nil, fmt.Errorf("delete %s%s: %w", c.cfg.Prefix, key, err)
	}
	if expect == 0 {
		expect = kv.Any
	}
	r, err := c.store.backend.Delete(ctx, c.cfg.Prefix+key, expect)
	if err == nil {
		err = c.store.wait(ctx, r.Revision, 0)
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("delete %s%s: %w", c.cfg.Prefix, key, c.failed(err))
	case !r.OK && r.Current == 0:
		return nil, fmt.Errorf("delete %s%s: %w", c.cfg.Prefix, key, ErrNotFound)
	case !r.OK:
		return nil, &ConflictError{Key: c.cfg.Prefix + key, Expected: expect, Current: r.Current}
	}
	if ch := c.changeAt(r.Revision); ch != nil && ch.previous != nil {
		return ch.gone(), nil
	}
	// The history has moved on already: read what was there before.
	page, err := c.store.backend.Range(ctx, c.cfg.Prefix+key, c.cfg.Prefix+key+"\x00", r.Revision-1, 1)
	if err != nil || len(page.Pairs) == 0 {
		return nil, fmt.Errorf("read what was deleted as %s%s: %w", c.cfg.Prefix, key, err)
	}
	page.Pairs[0].Revision = r.Revision
	if e := c.decode(page.Pairs[0]); e != nil {
		return e, nil
	}
	return nil, fmt.Errorf("read what was deleted as %s%s: unreadable", c.cfg.Prefix, key)
}

// changeAt finds the change of a revision in the history.
func (c *Collection) changeAt(revision int64) *change {
	c.mu.RLock()
	defer c.mu.RUnlock()
	at, ok := c.history.after(revision - 1)
	if !ok {
		return nil
	}
	if ch := at.next(); ch != nil && ch.revision == revision {
		return ch
	}
	return nil
}
