package record

import (
	"iter"
	"maps"
	"strings"
)

// Index finds things by ID, by name, and by the beginning of an ID. The zero value is empty and ready. It has no lock: that of its
// owner covers it.
type Index[E any] struct {
	all   map[string]E
	names map[string]string // name → ID, of things that are still being made too
}

// Put adds a thing, or replaces it.
func (x *Index[E]) Put(id string, e E) {
	if x.all == nil {
		x.all = map[string]E{}
	}
	x.all[id] = e
}

// Get returns the thing with exactly this ID.
func (x *Index[E]) Get(id string) (E, bool) {
	e, ok := x.all[id]
	return e, ok
}

// Remove forgets a thing, and the name if it is this one's.
func (x *Index[E]) Remove(id, name string) {
	delete(x.all, id)
	x.Release(name, id)
}

// Reserve gives a name to an ID, unless another has it: then it tells which. No name can be had by all.
func (x *Index[E]) Reserve(name, id string) (owner string, ok bool) {
	if name == "" {
		return id, true
	}
	if owner, taken := x.names[name]; taken {
		return owner, false
	}
	if x.names == nil {
		x.names = map[string]string{}
	}
	x.names[name] = id
	return id, true
}

// Release makes a name free if the ID has it.
func (x *Index[E]) Release(name, id string) {
	if x.names[name] == id {
		delete(x.names, name)
	}
}

// All goes through the things in no order.
func (x *Index[E]) All() iter.Seq2[string, E] { return maps.All(x.all) }

// Len is how many things there are.
func (x *Index[E]) Len() int { return len(x.all) }

// Named returns the thing of exactly this name.
func (x *Index[E]) Named(name string) (E, bool) { return x.Get(x.names[name]) }

// Find looks for an ID, a name, or the beginning of an ID, in this order. matches is 0 if there is none, and 2 if a beginning is that of
// several.
func (x *Index[E]) Find(key string) (e E, matches int) {
	if e, ok := x.all[key]; ok {
		return e, 1
	}
	if e, ok := x.Named(key); ok {
		return e, 1
	}
	if key == "" {
		return e, 0
	}
	for id, one := range x.all {
		if !strings.HasPrefix(id, key) {
			continue
		}
		if matches++; matches > 1 {
			return *new(E), matches
		}
		e = one
	}
	return e, matches
}
