package content

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/opencontainers/go-digest"
)

// Ingest is a blob on its way in. One goroutine writes; Follow gives any number of readers what is there so far and what comes.
type Ingest struct {
	store *Store
	name  string
	file  *os.File
	alg   digest.Algorithm
	hash  hash.Hash // of everything up to offset; owned by the writer

	mu     sync.Mutex
	wake   *sync.Cond
	offset int64
	state  ingestState
}

type ingestState int

const (
	ingesting ingestState = iota
	committed             // renamed into place
	broken                // aborted, or closed to be resumed later
)

// Begin opens the ingest of key: a fresh one, or the rest of one that was interrupted (see Offset). ErrBusy if somebody writes it now.
// alg "" means sha256.
func (s *Store) Begin(key string, alg digest.Algorithm) (*Ingest, error) {
	if alg == "" {
		alg = digest.SHA256
	}
	if !alg.Available() {
		return nil, fmt.Errorf("begin ingest: %w: algorithm %q", ErrInvalid, alg)
	}
	sum := sha256.Sum256([]byte(key))
	name := hex.EncodeToString(sum[:])
	s.mu.Lock()
	if _, busy := s.active[name]; busy {
		s.mu.Unlock()
		return nil, fmt.Errorf("begin ingest %s: %w", key, ErrBusy)
	}
	s.active[name] = struct{}{}
	s.mu.Unlock()
	i := &Ingest{store: s, name: name, alg: alg, hash: alg.Hash()}
	i.wake = sync.NewCond(&i.mu)
	var err error
	if i.file, err = os.OpenFile(i.path(), os.O_CREATE|os.O_RDWR, 0o600); err == nil {
		// What a dead writer left counts as far as it can be read back.
		i.offset, err = io.Copy(i.hash, i.file)
	}
	if err != nil {
		i.finish(broken)
		return nil, fmt.Errorf("begin ingest %s: %w", key, err)
	}
	return i, nil
}

func (i *Ingest) path() string { return filepath.Join(i.store.dir, "ingest", i.name) }

// Offset tells how many bytes are here.
func (i *Ingest) Offset() int64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.offset
}

// Write appends.
func (i *Ingest) Write(p []byte) (int, error) {
	n, err := i.file.Write(p)
	i.hash.Write(p[:n])
	i.mu.Lock()
	i.offset += int64(n)
	i.mu.Unlock()
	i.wake.Broadcast()
	if err != nil {
		return n, fmt.Errorf("write ingest: %w", err)
	}
	return n, nil
}

// Digest is the digest of the bytes so far.
func (i *Ingest) Digest() digest.Digest { return digest.NewDigest(i.alg, i.hash) }

// Rehash reads what is here again with another algorithm, for a client that names the digest last.
func (i *Ingest) Rehash(alg digest.Algorithm) error {
	if !alg.Available() {
		return fmt.Errorf("hash ingest: %w: algorithm %q", ErrInvalid, alg)
	}
	h := alg.Hash()
	if _, err := io.Copy(h, io.NewSectionReader(i.file, 0, i.Offset())); err != nil {
		return fmt.Errorf("hash ingest: %w", err)
	}
	i.alg, i.hash = alg, h
	return nil
}

// Commit verifies the digest ("" = whatever it is) and puts the blob in place. ErrDigest frees the bytes: they are of no use to anybody. The
// blob is visible when Commit returns, and durable after the store's next sync.
func (i *Ingest) Commit(expected digest.Digest) (digest.Digest, error) {
	got := i.Digest()
	if expected != "" && got != expected {
		i.Abort()
		return "", fmt.Errorf("commit blob %s: %w: bytes are %s", expected, ErrDigest, got)
	}
	s := i.store
	p, err := s.Path(got)
	if err != nil {
		i.Abort()
		return "", err
	}
	if _, err := os.Stat(p); err == nil { // somebody else brought it
		_ = os.Remove(i.path())
		i.finish(committed)
		return got, nil
	}
	if err := s.marks.Add(markName(got)); err != nil {
		i.Close()
		return "", fmt.Errorf("commit blob %s: %w", got, err)
	}
	if err := os.Rename(i.path(), p); err != nil {
		i.Close()
		return "", fmt.Errorf("commit blob %s: %w", got, err)
	}
	i.finish(committed)
	return got, nil
}

// Close ends the writing and keeps the bytes for a later Begin with the same key. After Commit or Abort it does nothing.
func (i *Ingest) Close() { i.finish(broken) }

// Abort ends the writing and frees the bytes.
func (i *Ingest) Abort() {
	i.mu.Lock()
	done := i.state != ingesting
	i.mu.Unlock()
	if done {
		return
	}
	_ = os.Remove(i.path())
	i.finish(broken)
}

func (i *Ingest) finish(st ingestState) {
	i.mu.Lock()
	if i.state != ingesting {
		i.mu.Unlock()
		return
	}
	i.state = st
	i.mu.Unlock()
	if i.file != nil {
		i.file.Close()
	}
	i.store.mu.Lock()
	delete(i.store.active, i.name)
	i.store.mu.Unlock()
	i.wake.Broadcast()
}

// ErrInterrupted is what a follower reads when the writer gave up.
var ErrInterrupted = errors.New("ingest interrupted")

// Follow opens a reader over the ingest: it waits for bytes to come, ends with io.EOF when the blob is committed, with ErrInterrupted when the
// writer gives up, and with the context's error when that ends first.
func (i *Ingest) Follow(ctx context.Context) (io.ReadCloser, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.state != ingesting {
		return nil, ErrInterrupted
	}
	f, err := os.Open(i.path())
	if err != nil {
		return nil, fmt.Errorf("follow ingest: %w", err)
	}
	r := &follower{ingest: i, file: f, ctx: ctx}
	r.stop = context.AfterFunc(ctx, func() {
		i.mu.Lock() // else it could come between a reader's look at ctx and its waiting
		defer i.mu.Unlock()
		i.wake.Broadcast()
	})
	return r, nil
}

type follower struct {
	ingest *Ingest
	file   *os.File
	ctx    context.Context
	stop   func() bool
	pos    int64
}

func (r *follower) Read(p []byte) (int, error) {
	i := r.ingest
	i.mu.Lock()
	for r.pos >= i.offset && i.state == ingesting && r.ctx.Err() == nil {
		i.wake.Wait()
	}
	offset, state := i.offset, i.state
	i.mu.Unlock()
	if err := r.ctx.Err(); err != nil {
		return 0, context.Cause(r.ctx)
	}
	if r.pos >= offset {
		if state == committed {
			return 0, io.EOF
		}
		return 0, ErrInterrupted
	}
	if int64(len(p)) > offset-r.pos {
		p = p[:offset-r.pos]
	}
	n, err := r.file.ReadAt(p, r.pos)
	r.pos += int64(n)
	if n > 0 {
		return n, nil
	}
	return n, err
}

func (r *follower) Close() error {
	r.stop()
	return r.file.Close()
}

// Put stores a small blob. The caller holds a lease on its digest, or something else keeps it.
func (s *Store) Put(data []byte) (digest.Digest, error) {
	d := digest.FromBytes(data)
	return d, s.PutAs(d, bytes.NewReader(data))
}

// PutBytes stores data, which must have digest d.
func (s *Store) PutBytes(d digest.Digest, data []byte) error {
	return s.PutAs(d, bytes.NewReader(data))
}

// PutAs stores r's bytes, which must have digest d. A blob that is here is not read again.
func (s *Store) PutAs(d digest.Digest, r io.Reader) error {
	if s.Has(d) {
		return nil
	}
	p, err := s.Path(d)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Join(s.dir, "ingest"), "put-")
	if err != nil {
		return fmt.Errorf("store blob %s: %w", d, err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	v := d.Verifier()
	if _, err := io.Copy(io.MultiWriter(f, v), r); err != nil {
		return fmt.Errorf("store blob %s: %w", d, err)
	}
	if !v.Verified() {
		return fmt.Errorf("store blob %s: %w", d, ErrDigest)
	}
	if err := s.marks.Add(markName(d)); err != nil {
		return fmt.Errorf("store blob %s: %w", d, err)
	}
	if err := os.Rename(f.Name(), p); err != nil {
		return fmt.Errorf("store blob %s: %w", d, err)
	}
	return nil
}

// Delete removes one blob at once, leases or not: for a registry that was told to. ErrNotFound if it is not here.
func (s *Store) Delete(d digest.Digest) error {
	p, err := s.Path(d)
	if err != nil {
		return err
	}
	if err := os.Remove(p); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("delete blob %s: %w", d, ErrNotFound)
		}
		return fmt.Errorf("delete blob %s: %w", d, err)
	}
	s.marks.Drop(markName(d))
	return nil
}
