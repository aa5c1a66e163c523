// Package embedded is a [kv.Backend] over an etcd member in this process.
//
// The member is etcd's own server, called as a library: no gRPC, no listener, no
// copy. With one member nothing leaves the process; members of a larger cluster
// will be given peer addresses here and nowhere else. Only store may import it.
package embedded

import (
	"context"
	"errors"
	"expvar"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/config"
	"go.etcd.io/etcd/server/v3/etcdserver"
	etcderrors "go.etcd.io/etcd/server/v3/etcdserver/errors"
	"go.etcd.io/etcd/server/v3/features"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"nau/internal/store/kv"
)

// Config of the member.
type Config struct {
	// Dir holds the member's files; it is made if missing.
	Dir string
	// QuotaBytes bounds the database.
	QuotaBytes int64
	// Log receives etcd's warnings and errors; nil discards.
	Log *slog.Logger
}

const (
	// A tick drives elections and heartbeats, which one member does not need:
	// the first election is asked for below. A slow tick keeps idle idle.
	tickMillis    = 1000
	electionTicks = 3

	// Between its commits the database lives in memory and in the write-ahead
	// log, which is synced before a write is acknowledged; a long interval
	// means fewer syncs and a longer replay after a crash.
	commitInterval = time.Second
	commitLimit    = 20_000

	// snapshotEvery bounds the replay, the part of the log that raft keeps in
	// memory, and with the size of its segments the log that a start has to read.
	snapshotEvery = 2_500
	segmentBytes  = 8 << 20
	catchUp       = 100 // nobody lags behind

	maxRequestBytes = 8 << 20 // objects are bounded by 3 MiB above
)

// Member is a running etcd member.
type Member struct {
	server *etcdserver.EtcdServer
	room   *room
	fuse   *fuse
	close  sync.Once
}

var _ kv.Backend = (*Member)(nil)

// Open starts the member and waits until it leads and has replayed its log.
func Open(ctx context.Context, cfg Config) (*Member, error) {
	if cfg.Dir == "" {
		return nil, errors.New("open etcd: no directory given")
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open etcd: %w", err)
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("open etcd: %w", err)
	}
	log := cfg.Log
	if log == nil {
		log = discard
	}
	fuse := newFuse(lock)
	zl := newLogger(log, fuse)

	wal.SegmentSizeBytes = segmentBytes
	const name = "nau"
	// The peer address identifies the member; nobody listens on it.
	peers, err := types.NewURLs([]string{"http://127.0.0.1:2380"})
	if err != nil {
		panic(err)
	}
	sc := config.ServerConfig{
		Name:                       name,
		DataDir:                    cfg.Dir,
		PeerURLs:                   peers,
		ClientURLs:                 peers,
		InitialPeerURLsMap:         types.URLsMap{name: peers},
		InitialClusterToken:        name,
		NewCluster:                 true,
		TickMs:                     tickMillis,
		ElectionTicks:              electionTicks,
		InitialElectionTickAdvance: true,
		PreVote:                    true,
		SnapshotCount:              snapshotEvery,
		SnapshotCatchUpEntries:     catchUp,
		MaxSnapFiles:               2,
		MaxWALFiles:                2,
		BackendBatchInterval:       commitInterval,
		BackendBatchLimit:          commitLimit,
		BackendFreelistType:        "map",
		QuotaBackendBytes:          cfg.QuotaBytes,
		MaxTxnOps:                  128,
		MaxRequestBytes:            maxRequestBytes,
		CompactionBatchLimit:       1000,
		CompactionSleepInterval:    10 * time.Millisecond,
		WarningApplyDuration:       time.Second,
		CompactHashCheckTime:       time.Hour,
		DowngradeCheckTime:         time.Hour,
		AuthToken:                  "simple",
		BcryptCost:                 4,
		TokenTTL:                   300,
		Logger:                     zl,
		ServerFeatureGate:          features.NewDefaultServerFeatureGate(name, zl),
	}
	starting.Lock()
	defer starting.Unlock()
	room := &room{dir: cfg.Dir}
	room.prepare()
	server, err := newServer(sc, fuse)
	if err != nil {
		fuse.unlock()
		return nil, fmt.Errorf("open etcd in %s: %w", cfg.Dir, err)
	}
	room.of(server)
	m := &Member{server: server, room: room, fuse: fuse}
	server.Start()
	if err := m.lead(ctx); err != nil {
		m.Close()
		return nil, fmt.Errorf("open etcd in %s: %w", cfg.Dir, err)
	}
	return m, nil
}

// newServer turns the library's ways of giving up (a fatal log line, a panic)
// into an error.
func newServer(sc config.ServerConfig, fuse *fuse) (server *etcdserver.EtcdServer, err error) {
	done := make(chan struct{})
	go func() { // of its own, for a fatal line ends the goroutine
		defer close(done)
		defer func() {
			if r := recover(); r != nil {
				err = fmt.Errorf("%v", r)
			}
		}()
		server, err = etcdserver.NewServer(sc)
	}()
	<-done
	if err == nil && fuse.Err() != nil {
		err = fuse.Err()
	}
	return server, err
}

// starting serialises starts: raft publishes the state of the node made last,
// and that must be ours until it leads.
var starting sync.Mutex

// lead asks the member to stand for election now instead of waiting out the
// timeout, and returns when its log has been applied up to its own term.
func (m *Member) lead(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-m.fuse.Failed():
			cancel()
		case <-ctx.Done():
		}
	}()
	id := uint64(m.server.MemberID())
	status := expvar.Get("raft.status").(expvar.Func)
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for m.server.Leader() == 0 {
		// Raft must have replayed its log first: it looks for unapplied
		// membership changes in a log that is being cut behind it.
		if s := status.Value().(raft.Status); s.Applied >= s.GetCommit() {
			err := m.server.Process(ctx, &raftpb.Message{Type: raftpb.MsgTimeoutNow.Enum(), To: &id})
			if err != nil && ctx.Err() == nil {
				return m.translate(err)
			}
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			if err := m.fuse.Err(); err != nil {
				return err
			}
			return ctx.Err()
		}
	}
	// The member calls itself leader a moment before it tells its readers so, and drops what was asked in between.
	for {
		if _, err := m.Revision(ctx); !errors.Is(err, etcderrors.ErrLeaderChanged) {
			return err
		}
	}
}

// Put implements [kv.Backend].
func (m *Member) Put(ctx context.Context, key string, value []byte, expect int64) (kv.Result, error) {
	return m.txn(ctx, put, len(key)+len(value), kv.PutRequest(key, value, expect))
}

// Delete implements [kv.Backend].
func (m *Member) Delete(ctx context.Context, key string, expect int64) (kv.Result, error) {
	return m.txn(ctx, remove, len(key), kv.DeleteRequest(key, expect))
}

// txn runs a transaction that writes size bytes.
func (m *Member) txn(ctx context.Context, u use, size int, req *pb.TxnRequest) (kv.Result, error) {
	if err := m.Err(); err != nil {
		return kv.Result{}, err
	}
	leave, err := m.room.enter(u, size)
	if err != nil {
		return kv.Result{}, err
	}
	resp, err := m.server.Txn(ctx, req)
	if err != nil {
		leave(true) // perhaps
		return kv.Result{}, m.translate(err)
	}
	r := kv.ResultOf(resp)
	leave(r.OK)
	m.room.settled(func() {
		// It is refused, after all that was before.
		_, _ = m.server.Txn(ctx, kv.PutRequest("\x00", nil, 1))
	})
	return r, nil
}

// Range implements [kv.Backend].
func (m *Member) Range(ctx context.Context, from, to string, revision, limit int64) (kv.Page, error) {
	return m.read(ctx, &pb.RangeRequest{
		Key: []byte(from), RangeEnd: []byte(to), Revision: revision, Limit: limit, Serializable: true,
	})
}

// Revision implements [kv.Backend].
func (m *Member) Revision(ctx context.Context) (int64, error) {
	page, err := m.read(ctx, &pb.RangeRequest{Key: []byte{0}, CountOnly: true})
	return page.Revision, err
}

func (m *Member) read(ctx context.Context, req *pb.RangeRequest) (kv.Page, error) {
	if err := m.Err(); err != nil {
		return kv.Page{}, err
	}
	resp, err := m.server.Range(ctx, req)
	if err != nil {
		return kv.Page{}, m.translate(err)
	}
	page := kv.Page{Revision: resp.Header.Revision, More: resp.More, Count: resp.Count}
	page.Pairs = make([]kv.Pair, len(resp.Kvs))
	for i, p := range resp.Kvs {
		page.Pairs[i] = kv.Pair{Key: string(p.Key), Value: p.Value, Revision: p.ModRevision}
	}
	return page, nil
}

// Compact implements [kv.Backend].
func (m *Member) Compact(ctx context.Context, revision int64) error {
	if err := m.Err(); err != nil {
		return err
	}
	leave, err := m.room.enter(compact, 0)
	if err != nil {
		return err
	}
	defer leave(true)
	_, err = m.server.Compact(ctx, &pb.CompactionRequest{Revision: revision, Physical: true})
	return m.translate(err)
}

// worthwhile tells whether a defragmentation gives back enough to hold up
// writes for it.
func worthwhile(size, used int64) bool {
	return size > 128<<20 && used < size/2
}

// Maintain implements [kv.Backend].
func (m *Member) Maintain(ctx context.Context) error {
	if err := m.Err(); err != nil {
		return err
	}
	full := false
	for _, a := range m.server.Alarms() {
		full = full || a.Alarm == pb.AlarmType_NOSPACE
	}
	be := m.server.Backend()
	if !full && !worthwhile(be.Size(), be.SizeInUse()) {
		return nil
	}
	err := m.server.Defragment()
	m.room.defragmented()
	if err != nil {
		return fmt.Errorf("defragment etcd: %w", err)
	}
	quota := m.server.Cfg.QuotaBackendBytes
	if !full || m.server.Backend().Size() >= quota-quota/10 {
		return nil
	}
	_, err = m.server.Alarm(ctx, &pb.AlarmRequest{
		Action:   pb.AlarmRequest_DEACTIVATE,
		MemberID: uint64(m.server.MemberID()),
		Alarm:    pb.AlarmType_NOSPACE,
	})
	return m.translate(err)
}

// Snapshot implements [kv.Backend].
func (m *Member) Snapshot(_ context.Context, w io.Writer) error {
	if err := m.Err(); err != nil {
		return err
	}
	m.server.Backend().ForceCommit()
	snapshot := m.server.Backend().Snapshot()
	defer snapshot.Close()
	sum := newSum(w)
	if _, err := snapshot.WriteTo(sum); err != nil {
		return fmt.Errorf("write etcd snapshot: %w", err)
	}
	if _, err := w.Write(sum.hash.Sum(nil)); err != nil {
		return fmt.Errorf("write etcd snapshot: %w", err)
	}
	return nil
}

// Exclusive implements [kv.Backend]: one member, and no way in but this one.
func (m *Member) Exclusive() bool { return true }

// Failed implements [kv.Backend].
func (m *Member) Failed() <-chan struct{} { return m.fuse.Failed() }

// Err implements [kv.Backend].
func (m *Member) Err() error { return m.fuse.Err() }

// Close implements [kv.Backend].
func (m *Member) Close() error {
	m.close.Do(func() {
		broken := m.fuse.Err() != nil
		m.fuse.blow(kv.ErrStopped)
		if broken {
			// Its goroutines may have ended with locks held: the process will
			// end soon, and the log on disk is complete.
			go m.server.HardStop()
			return
		}
		m.server.HardStop()
		m.fuse.unlock()
	})
	return nil
}
