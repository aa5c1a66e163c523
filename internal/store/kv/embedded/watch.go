package embedded

import (
	"context"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/storage/mvcc"

	"nau/internal/store/kv"
)

type stream struct {
	member *Member
	mvcc   mvcc.WatchStream
	id     mvcc.WatchID
}

// Watch implements [kv.Backend].
func (m *Member) Watch(ctx context.Context, prefix string, since int64) (kv.Stream, error) {
	if err := m.Err(); err != nil {
		return nil, err
	}
	s := &stream{member: m, mvcc: m.server.KV().NewWatchStream()}
	id, err := s.mvcc.Watch(ctx, clientv3.AutoWatchID, []byte(prefix), []byte(kv.After(prefix)), since+1)
	if err != nil {
		s.mvcc.Close()
		return nil, m.translate(err)
	}
	s.id = id
	return s, nil
}

// Next implements [kv.Stream]. What queued up meanwhile comes in one batch.
func (s *stream) Next(ctx context.Context) (kv.Batch, error) {
	var batch kv.Batch
	select {
	case resp, ok := <-s.mvcc.Chan():
		if err := s.add(&batch, resp, ok); err != nil {
			return kv.Batch{}, err
		}
	case <-ctx.Done():
		return kv.Batch{}, ctx.Err()
	case <-s.member.Failed():
		return kv.Batch{}, s.member.Err()
	}
	for len(batch.Changes) < 256 {
		select {
		case resp, ok := <-s.mvcc.Chan():
			if err := s.add(&batch, resp, ok); err != nil {
				return batch, err
			}
		default:
			return batch, nil
		}
	}
	return batch, nil
}

func (s *stream) add(batch *kv.Batch, resp mvcc.WatchResponse, ok bool) error {
	switch {
	case !ok:
		return kv.ErrStopped
	case resp.CompactRevision != 0:
		return kv.ErrCompacted
	}
	for _, e := range resp.Events {
		batch.Changes = append(batch.Changes, kv.Change{
			Pair:    kv.Pair{Key: string(e.Kv.Key), Value: e.Kv.Value, Revision: e.Kv.ModRevision},
			Deleted: e.Type == mvccpb.Event_DELETE,
		})
	}
	// A response that catches up tells the store's revision, which may be
	// beyond its events: more may follow. Only what was seen counts.
	if n := len(resp.Events); n > 0 {
		batch.Revision = resp.Events[n-1].Kv.ModRevision
	} else {
		batch.Revision = max(batch.Revision, resp.Revision)
	}
	return nil
}

// Progress implements [kv.Stream].
func (s *stream) Progress(context.Context) error {
	s.mvcc.RequestProgress(s.id)
	return nil
}

// Close implements [kv.Stream].
func (s *stream) Close() { s.mvcc.Close() }
