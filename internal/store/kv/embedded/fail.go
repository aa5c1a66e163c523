package embedded

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"

	etcderrors "go.etcd.io/etcd/server/v3/etcdserver/errors"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"nau/internal/store/kv"
)

// translate gives etcd's errors the kinds of package kv.
func (m *Member) translate(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, mvcc.ErrCompacted):
		return kv.ErrCompacted
	case errors.Is(err, mvcc.ErrFutureRev):
		return kv.ErrFuture
	case errors.Is(err, etcderrors.ErrNoSpace):
		return kv.ErrNoSpace
	case errors.Is(err, etcderrors.ErrRequestTooLarge):
		return kv.ErrTooLarge
	case m.Err() != nil:
		return m.Err()
	case errors.Is(err, etcderrors.ErrStopped):
		return kv.ErrStopped
	case errors.Is(err, etcderrors.ErrCanceled):
		return context.Canceled
	}
	return err
}

// fuse remembers why the member can serve no more.
type fuse struct {
	lock *os.File
	once sync.Once
	gone chan struct{}
	err  error
}

func newFuse(lock *os.File) *fuse { return &fuse{lock: lock, gone: make(chan struct{})} }

func (f *fuse) blow(err error) {
	f.once.Do(func() {
		f.err = err
		close(f.gone)
	})
}

func (f *fuse) Failed() <-chan struct{} { return f.gone }

func (f *fuse) Err() error {
	select {
	case <-f.gone:
		return f.err
	default:
		return nil
	}
}

func (f *fuse) unlock() { f.lock.Close() }

// OnWrite is called after a line that etcd deems fatal, such as a log that
// cannot be written: etcd would end the process. Here its goroutine ends, the
// member is marked broken, and the owner of the process decides.
func (f *fuse) OnWrite(entry *zapcore.CheckedEntry, fields []zapcore.Field) {
	f.blow(fmt.Errorf("%w: %s%s", kv.ErrStopped, entry.Message, reason(fields)))
	runtime.Goexit()
}

func reason(fields []zapcore.Field) string {
	for _, f := range fields {
		if err, ok := f.Interface.(error); ok && f.Type == zapcore.ErrorType {
			return ": " + err.Error()
		}
	}
	return ""
}

// lockDir refuses a second process on the same directory with a clear word;
// etcd itself would wait for ever.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s is in use by another process", dir)
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return f, nil
}

var discard = slog.New(slog.DiscardHandler)

// newLogger passes etcd's warnings (as debug) and errors on.
func newLogger(log *slog.Logger, fuse *fuse) *zap.Logger {
	return zap.New(&core{log: log, early: new(atomic.Bool)}, zap.WithFatalHook(fuse), zap.WithPanicHook(fuse))
}

// tooEarly is what etcd says when it wants to note its storage version before the first entry's term is on disk, as at the first start. It tries
// again some seconds later; only what fails then as well is worth an operator's time.
const tooEarly = "failed to update storage version"

type core struct {
	log    *slog.Logger
	fields []zapcore.Field
	early  *atomic.Bool // tooEarly was said once
}

func (c *core) Enabled(l zapcore.Level) bool { return l >= zapcore.WarnLevel }

func (c *core) With(fields []zapcore.Field) zapcore.Core {
	return &core{log: c.log, fields: append(c.fields[:len(c.fields):len(c.fields)], fields...), early: c.early}
}

func (c *core) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

func (c *core) Write(e zapcore.Entry, fields []zapcore.Field) error {
	level := slog.LevelDebug
	if e.Level >= zapcore.ErrorLevel && (e.Message != tooEarly || c.early.Swap(true)) {
		level = slog.LevelError
	}
	if !c.log.Enabled(context.Background(), level) {
		return nil
	}
	enc := zapcore.NewMapObjectEncoder()
	for _, set := range [][]zapcore.Field{c.fields, fields} {
		for _, f := range set {
			f.AddTo(enc)
		}
	}
	attrs := make([]slog.Attr, 0, len(enc.Fields))
	for k, v := range enc.Fields {
		attrs = append(attrs, slog.Any(k, v))
	}
	c.log.LogAttrs(context.Background(), level, "etcd: "+e.Message, attrs...)
	return nil
}

func (c *core) Sync() error { return nil }

// sum writes through and hashes, for the trailer that etcd's tools expect.
type sum struct {
	w    io.Writer
	hash hash.Hash
}

func newSum(w io.Writer) *sum { return &sum{w, sha256.New()} }

func (s *sum) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	s.hash.Write(p[:n])
	return n, err
}
