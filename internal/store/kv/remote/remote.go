// Package remote is a [kv.Backend] over an etcd cluster elsewhere, through
// etcd's own client. Only store may import it.
package remote

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"nau/internal/store/kv"
)

// Config of the connection.
type Config struct {
	Endpoints []string
	// TLS of the connection; nil is plain text.
	TLS *tls.Config
	// Patience is how long the cluster may take to give its first answer: it may be starting in the same moment. 0 = 20 s.
	Patience time.Duration
}

// Client is a connection to a cluster.
type Client struct {
	etcd   *clientv3.Client
	closed chan struct{}
}

var _ kv.Backend = (*Client)(nil)

// ErrSilent is what Open gives where no endpoint answers in time.
var ErrSilent = errors.New("no answer: are they up, and are scheme and certificates those that they ask for?")

// Open connects and waits until the cluster answers, or patience ends.
func Open(ctx context.Context, cfg Config) (*Client, error) {
	etcd, err := clientv3.New(clientv3.Config{
		Endpoints:            cfg.Endpoints,
		TLS:                  cfg.TLS,
		DialTimeout:          20 * time.Second,
		DialKeepAliveTime:    30 * time.Second,
		DialKeepAliveTimeout: 10 * time.Second,
		MaxCallSendMsgSize:   16 << 20,
		Logger:               zap.NewNop(),
	})
	if err != nil {
		return nil, fmt.Errorf("open etcd at %v: %w", cfg.Endpoints, err)
	}
	c := &Client{etcd: etcd, closed: make(chan struct{})}
	first, cancel := context.WithTimeoutCause(ctx, cmp.Or(cfg.Patience, 20*time.Second), ErrSilent)
	defer cancel()
	if _, err := c.Revision(first); err != nil {
		if cause := context.Cause(first); cause != nil { // it says more than that a time is over
			err = cause
		}
		return nil, errors.Join(fmt.Errorf("open etcd at %s: %w", strings.Join(cfg.Endpoints, ", "), err), etcd.Close())
	}
	return c, nil
}

// Put implements [kv.Backend].
func (c *Client) Put(ctx context.Context, key string, value []byte, expect int64) (kv.Result, error) {
	return c.txn(ctx, key, clientv3.Compare(clientv3.ModRevision(key), "=", expect), clientv3.OpPut(key, string(value)))
}

// Delete implements [kv.Backend].
func (c *Client) Delete(ctx context.Context, key string, expect int64) (kv.Result, error) {
	cmp := clientv3.Compare(clientv3.ModRevision(key), "=", expect)
	if expect == kv.Any {
		cmp = clientv3.Compare(clientv3.ModRevision(key), ">", 0)
	}
	return c.txn(ctx, key, cmp, clientv3.OpDelete(key))
}

func (c *Client) txn(ctx context.Context, key string, cmp clientv3.Cmp, op clientv3.Op) (kv.Result, error) {
	resp, err := c.etcd.Txn(ctx).If(cmp).Then(op).Else(clientv3.OpGet(key, clientv3.WithKeysOnly())).Commit()
	if err != nil {
		return kv.Result{}, translate(err)
	}
	r := kv.Result{OK: resp.Succeeded, Revision: resp.Header.Revision}
	if !r.OK {
		if kvs := resp.Responses[0].GetResponseRange().Kvs; len(kvs) > 0 {
			r.Current = kvs[0].ModRevision
		}
	}
	return r, nil
}

// Range implements [kv.Backend].
func (c *Client) Range(ctx context.Context, from, to string, revision, limit int64) (kv.Page, error) {
	resp, err := c.etcd.Get(ctx, from, clientv3.WithRange(to), clientv3.WithRev(revision), clientv3.WithLimit(limit), clientv3.WithSerializable())
	if err != nil {
		return kv.Page{}, translate(err)
	}
	page := kv.Page{Revision: resp.Header.Revision, More: resp.More, Count: resp.Count, Pairs: make([]kv.Pair, len(resp.Kvs))}
	for i, p := range resp.Kvs {
		page.Pairs[i] = kv.Pair{Key: string(p.Key), Value: p.Value, Revision: p.ModRevision}
	}
	return page, nil
}

// Revision implements [kv.Backend].
func (c *Client) Revision(ctx context.Context) (int64, error) {
	resp, err := c.etcd.Get(ctx, "\x00", clientv3.WithCountOnly())
	if err != nil {
		return 0, translate(err)
	}
	return resp.Header.Revision, nil
}

// Compact implements [kv.Backend].
func (c *Client) Compact(ctx context.Context, revision int64) error {
	_, err := c.etcd.Compact(ctx, revision)
	return translate(err)
}

// Maintain implements [kv.Backend]: a cluster elsewhere has its own keepers.
func (c *Client) Maintain(context.Context) error { return nil }

// Snapshot implements [kv.Backend].
func (c *Client) Snapshot(ctx context.Context, w io.Writer) error {
	r, err := c.etcd.Snapshot(ctx)
	if err != nil {
		return translate(err)
	}
	defer r.Close()
	if _, err := io.Copy(w, r); err != nil {
		return fmt.Errorf("write etcd snapshot: %w", translate(err))
	}
	return nil
}

// Exclusive implements [kv.Backend]: others may write.
func (c *Client) Exclusive() bool { return false }

// Failed implements [kv.Backend]: a cluster may always come back.
func (c *Client) Failed() <-chan struct{} { return c.closed }

// Err implements [kv.Backend].
func (c *Client) Err() error {
	select {
	case <-c.closed:
		return kv.ErrStopped
	default:
		return nil
	}
}

// Close implements [kv.Backend].
func (c *Client) Close() error {
	if c.Err() == nil {
		close(c.closed)
	}
	return c.etcd.Close()
}

type stream struct {
	ctx    context.Context
	cancel context.CancelFunc
	client *Client
	ch     clientv3.WatchChan
}

// Watch implements [kv.Backend].
func (c *Client) Watch(ctx context.Context, prefix string, since int64) (kv.Stream, error) {
	if err := c.Err(); err != nil {
		return nil, err
	}
	// Without a leader the stream must break, not fall silent.
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	s := &stream{ctx: ctx, cancel: cancel, client: c}
	s.ch = c.etcd.Watch(ctx, prefix, clientv3.WithRange(kv.After(prefix)), clientv3.WithRev(since+1), clientv3.WithProgressNotify())
	return s, nil
}

// Next implements [kv.Stream].
func (s *stream) Next(ctx context.Context) (kv.Batch, error) {
	for {
		select {
		case resp, ok := <-s.ch:
			if !ok {
				return kv.Batch{}, kv.ErrStopped
			}
			if err := resp.Err(); err != nil {
				return kv.Batch{}, translate(err)
			}
			if resp.Created {
				continue
			}
			return convert(resp), nil
		case <-ctx.Done():
			return kv.Batch{}, ctx.Err()
		case <-s.client.closed:
			return kv.Batch{}, kv.ErrStopped
		}
	}
}

func convert(resp clientv3.WatchResponse) kv.Batch {
	batch := kv.Batch{Revision: resp.Header.Revision}
	for _, e := range resp.Events {
		batch.Changes = append(batch.Changes, kv.Change{
			Pair:    kv.Pair{Key: string(e.Kv.Key), Value: e.Kv.Value, Revision: e.Kv.ModRevision},
			Deleted: e.Type == mvccpb.Event_DELETE,
		})
	}
	if n := len(batch.Changes); n > 0 { // a stream that catches up is ahead of itself
		batch.Revision = batch.Changes[n-1].Revision
	}
	return batch
}

// Progress implements [kv.Stream].
func (s *stream) Progress(context.Context) error {
	return translate(s.client.etcd.RequestProgress(s.ctx))
}

// Close implements [kv.Stream].
func (s *stream) Close() { s.cancel() }

// translate gives etcd's errors the kinds of package kv.
func translate(err error) error {
	if err == nil {
		return nil
	}
	switch e := rpctypes.Error(err); {
	case errors.Is(e, rpctypes.ErrCompacted):
		return kv.ErrCompacted
	case errors.Is(e, rpctypes.ErrFutureRev):
		return kv.ErrFuture
	case errors.Is(e, rpctypes.ErrNoSpace):
		return kv.ErrNoSpace
	case errors.Is(e, rpctypes.ErrRequestTooLarge):
		return kv.ErrTooLarge
	case status.Code(err) == codes.ResourceExhausted:
		return kv.ErrTooLarge
	}
	return err
}
