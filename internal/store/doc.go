// Package store keeps objects: etcd below, a watch cache above.
//
// It knows keys, bytes and revisions. What an object is, it learns through a
// [Codec] per collection; it knows no kinds, no groups and no HTTP. Each object
// is decoded once, when it is written, and from then on is shared, unchanged, by
// every reader: lists, gets, watch events and the in-process informers all hand
// out the same [Entry].
//
// # Keys
//
// The layout is upstream's, so that upstream's snapshots and tools can be used:
//
//	/registry/PREFIX/NAMESPACE/NAME   namespaced
//	/registry/PREFIX/NAME             cluster-scoped
//
// A collection is one such prefix, "/registry/pods/" for instance, with its
// closing slash; the keys given to its methods are the rest, "default/web-0".
// Values are whatever the caller encoded, passed through the collection's
// [Transformer]. A revision is etcd's: one number for the whole store, raised by
// one with each write; it is what metadata.resourceVersion shows.
//
// # Consistency
//
// A write returns after the cache holds it: who has seen a write acknowledged
// reads it. Reads are served from memory. Where this process is the only writer
// (the embedded single member) that is linearizable as it stands; with an
// external or a many-member etcd, most-recent reads ask etcd for its revision
// first (concurrent readers share the question) and wait for the cache.
//
// The package may be imported by apiserver and cluster only.
package store
