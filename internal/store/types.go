package store

import (
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

// Codec is what a collection knows of its objects. All methods may be called
// concurrently.
type Codec interface {
	// Decode turns stored plaintext bytes into an object. The object is the
	// store's from then on and is never changed again after Stamp.
	Decode(value []byte) (runtime.Object, error)
	// Stamp sets metadata.resourceVersion, before anybody else sees the object.
	Stamp(obj runtime.Object, revision int64)
	// Restamped is a copy with another resourceVersion; it may share with the
	// original what is below the top, for neither is changed again.
	Restamped(obj runtime.Object, revision int64) runtime.Object
	// Attributes gives the labels and the selectable fields, including
	// metadata.name and metadata.namespace. The sets are only read.
	Attributes(obj runtime.Object) (labels.Set, fields.Set)
}

// Transformer seals values at rest. key is the full etcd key and is
// authenticated together with the value. See package seal.
type Transformer interface {
	Seal(plain []byte, key string) ([]byte, error)
	// Open returns the plaintext; stale says that the value should be written
	// anew, because it was sealed with an older key.
	Open(stored []byte, key string) (plain []byte, stale bool, err error)
}

// Value is an object to be written with its plaintext encoding. Both are handed
// over to the store, whatever the outcome: the caller changes neither after the
// call, for the object itself goes into the cache.
type Value struct {
	Object runtime.Object
	Bytes  []byte
}

// CollectionConfig describes a collection.
type CollectionConfig struct {
	// Prefix is the whole etcd prefix with its closing slash: "/registry/pods/".
	Prefix string
	Codec  Codec
	// Transformer seals the values; nil stores them as they are.
	Transformer Transformer
	// Index names selectable fields that have an index, such as
	// "spec.nodeName": a watch or list that demands one value of it costs only
	// what matches. metadata.name and the namespace need none.
	Index []string
	// History bounds the events kept for resuming watches; 0 means 16384. The
	// ring starts small and grows only while events younger than 75 s would be
	// lost, as upstream's does.
	History int
}

// Match says how a list's Revision is meant; the names follow the API's
// resourceVersion semantics.
type Match int

const (
	// MostRecent: at least as new as the request's arrival. Revision is ignored.
	MostRecent Match = iota
	// Any: whatever the cache holds.
	Any
	// NotOlderThan: at Revision or later.
	NotOlderThan
	// Exact: the state at Revision.
	Exact
)

// ListOptions says what to list.
type ListOptions struct {
	// Prefix below the collection's: "" for all, "NAMESPACE/" for one namespace.
	Prefix   string
	Revision int64
	Match    Match
	// Limit of entries in the page; 0 is none.
	Limit int64
	// Continue is the token of the page before. With it, Match and Revision are
	// ignored: the token holds the snapshot's revision.
	Continue string
	// Selectors; nil selects everything.
	Labels labels.Selector
	Fields fields.Selector
}

// Page is a list, or part of one: an immutable snapshot.
type Page struct {
	Entries  []*Entry
	Revision int64
	// Continue resumes after this page on the same revision; "" at the end.
	Continue string
	// Remaining counts the entries after this page; nil if unknown, which it is
	// whenever a selector is in use.
	Remaining *int64
}

// EventType is the kind of a change, as a watcher sees it.
type EventType int

const (
	// Added: the entry is new to the watcher (created, or came to match).
	Added EventType = iota + 1
	// Modified: the entry changed and matched before and after.
	Modified
	// Deleted: the entry is gone or ceased to match. Entry holds the last state
	// that matched, stamped with the event's revision.
	Deleted
	// Bookmark: everything up to Revision has been delivered. Entry is nil.
	Bookmark
)

// String is the API's word: ADDED, MODIFIED, DELETED, BOOKMARK.
func (t EventType) String() string {
	switch t {
	case Added:
		return "ADDED"
	case Modified:
		return "MODIFIED"
	case Deleted:
		return "DELETED"
	case Bookmark:
		return "BOOKMARK"
	}
	return "ERROR"
}

// Event is one thing that a watcher is told.
type Event struct {
	Type     EventType
	Entry    *Entry
	Revision int64
	// InitialEnd marks the bookmark that closes the initial events.
	InitialEnd bool
}

// WatchOptions says what to watch.
type WatchOptions struct {
	// Prefix below the collection's: "" for all, "NAMESPACE/" for one namespace.
	Prefix string
	// Since is the revision after which changes are wanted. 0 means from the
	// most recent state on; with Initial, any value means "a state at least as
	// new as this".
	Since int64
	// Fresh, with Initial and Since 0, asks for the most recent state rather
	// than for what the cache holds.
	Fresh bool
	// Initial sends the present state first, as Added events.
	Initial bool
	// Bookmarks asks for bookmarks: about one a minute. With Initial, the first
	// one follows the initial events and is marked InitialEnd.
	Bookmarks bool
	// Selectors; nil selects everything.
	Labels labels.Selector
	Fields fields.Selector
}
