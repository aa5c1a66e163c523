package store

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	apiruntime "k8s.io/apimachinery/pkg/runtime"
)

// pad makes a value about the size of a pod.
func pad(key string) Value {
	v := object(key, "app=web", "node@n1", "pad="+fmt.Sprintf("%01500d", 7))
	return v
}

func BenchmarkCreate(b *testing.B) {
	for _, writers := range []int{1, 16} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s := start(b, b.TempDir())
			s.create("a/first")
			var n atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for range writers {
				wg.Go(func() {
					for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
						key := fmt.Sprintf("a/%d", i)
						if _, err := s.c.Create(s.ctx, key, pad(key)); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "creates/s")
		})
	}
}

func BenchmarkUpdate(b *testing.B) {
	s := start(b, b.TempDir())
	var n atomic.Int64
	b.SetParallelism(8)
	b.RunParallel(func(p *testing.PB) {
		key := fmt.Sprintf("a/%d", n.Add(1))
		e, err := s.c.Create(s.ctx, key, pad(key))
		for p.Next() {
			if err == nil {
				e, err = s.c.Update(s.ctx, key, e.Revision, pad(key))
			}
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}

func filled(b *testing.B, n int) *bench {
	s := start(b, b.TempDir())
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				key := fmt.Sprintf("ns-%d/thing-%d", i%10, i)
				if _, err := s.c.Create(s.ctx, key, pad(key)); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	return s
}

func BenchmarkGet(b *testing.B) {
	s := filled(b, 5000)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		for i := 1; p.Next(); i++ {
			n := i%5000 + 1
			if _, err := s.c.Get(s.ctx, fmt.Sprintf("ns-%d/thing-%d", n%10, n), 0); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkList5000(b *testing.B) {
	s := filled(b, 5000)
	b.ReportAllocs()
	for b.Loop() {
		if p := s.list(ListOptions{}); len(p.Entries) != 5000 {
			b.Fatal(len(p.Entries))
		}
	}
}

func BenchmarkListPages500(b *testing.B) {
	s := filled(b, 5000)
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for p := s.list(ListOptions{Limit: 500}); ; p = s.list(ListOptions{Limit: 500, Continue: p.Continue}) {
			n += len(p.Entries)
			if p.Continue == "" {
				break
			}
		}
		if n != 5000 {
			b.Fatal(n)
		}
	}
}

// Each event is encoded once and copied by each watcher, as a connection does.
func BenchmarkFanOut(b *testing.B) {
	const writers = 16
	for _, watchers := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("watchers=%d", watchers), func(b *testing.B) {
			s := start(b, b.TempDir())
			s.create("a/first")
			from := s.store.Revision()
			var delivered, calls atomic.Int64
			var readers, wg sync.WaitGroup
			want := int64(b.N)
			for range watchers {
				w := s.watch(WatchOptions{Since: from})
				readers.Go(func() {
					buffer := make([]byte, 0, 1<<20)
					for seen := int64(0); seen < want; {
						events, err := w.Next(s.ctx)
						if err != nil {
							b.Error(err)
							return
						}
						buffer = buffer[:0]
						for _, e := range events {
							bytes, err := e.Entry.Encoded("json", func(o apiruntime.Object) ([]byte, error) {
								return make([]byte, 2000), nil
							})
							if err != nil {
								b.Error(err)
							}
							buffer = append(buffer, bytes...)
						}
						seen += int64(len(events))
						delivered.Add(int64(len(events)))
						calls.Add(1)
					}
				})
			}
			var n atomic.Int64
			b.ResetTimer()
			for range writers {
				wg.Go(func() {
					for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
						for i-delivered.Load()/int64(watchers) > 4000 { // else it measures ErrSlow
							time.Sleep(time.Millisecond)
						}
						key := fmt.Sprintf("a/%d", i)
						if _, err := s.c.Create(s.ctx, key, pad(key)); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			readers.Wait()
			b.ReportMetric(float64(delivered.Load())/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(delivered.Load())/float64(calls.Load()), "events/batch")
		})
	}
}

// Time from a write's acknowledgement to its delivery, at a moderate pace.
func BenchmarkDelivery(b *testing.B) {
	s := start(b, b.TempDir())
	s.create("a/first")
	var latest atomic.Int64
	done, cancel := context.WithCancel(s.ctx)
	var wg sync.WaitGroup
	var sum, count atomic.Int64
	for range 100 {
		w := s.watch(WatchOptions{})
		wg.Go(func() {
			for {
				events, err := w.Next(done)
				if err != nil {
					return
				}
				sum.Add(time.Now().UnixNano() - latest.Load())
				count.Add(int64(len(events)))
			}
		})
	}
	for i := range b.N {
		key := fmt.Sprintf("a/%d", i)
		latest.Store(time.Now().UnixNano())
		if _, err := s.c.Create(s.ctx, key, pad(key)); err != nil {
			b.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	cancel()
	wg.Wait()
	b.ReportMetric(float64(sum.Load())/float64(count.Load())/1000, "µs/delivery")
}

func BenchmarkMemory(b *testing.B) {
	const n = 20000
	s := filled(b, 1)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	entries := make([]*Entry, n)
	for i := range entries {
		key := fmt.Sprintf("ns/thing-%d", i)
		v := pad(key)
		entries[i] = &Entry{Key: key, Object: v.Object, Revision: int64(i), codec: codec{}}
		s.c.tree.Set(entries[i])
	}
	objects := make([]apiruntime.Object, n)
	for i := range entries {
		objects[i] = entries[i].Object
	}
	entries = nil
	runtime.GC()
	runtime.ReadMemStats(&after)
	whole := after.HeapAlloc - before.HeapAlloc
	s.c.mu.Lock()
	s.c.reset()
	s.c.mu.Unlock()
	runtime.GC()
	runtime.ReadMemStats(&after)
	alone := after.HeapAlloc - before.HeapAlloc
	runtime.KeepAlive(objects)
	for b.Loop() {
	}
	b.ReportMetric(float64(whole-alone)/n, "B/entry-over-object")
}
