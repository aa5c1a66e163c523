package nft

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nau/internal/proxy"
)

// many are n services of 50 endpoints each.
func many(n int) []*proxy.Port {
	all := make([]*proxy.Port, n)
	for i := range all {
		q := &proxy.Port{Key: proxy.Key{Namespace: "ns", Service: fmt.Sprint("s", i), Port: "p", Protocol: proxy.TCP},
			ClusterIP: netip.AddrFrom4([4]byte{10, 43, byte(i >> 8), byte(i)}), Number: 80}
		for j := range 50 {
			k := i*50 + j
			q.Internal = append(q.Internal, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 42 + byte(k>>16), byte(k >> 8), byte(k)}), 8080))
		}
		q.Cluster = q.Internal
		all[i] = q
	}
	return all
}

// BenchmarkChange is one endpoint that goes or comes back, among many services. Besides the time on the clock it tells the time of the
// CPU, nearly all of it the kernel's: on a busy machine the slowest changes are those that had to wait for a CPU.
//
// The kernel's share grows with the table: a rule that is new makes it look at every chain that a verdict map leads to, and at
// every element of the map that the rule looks keys up in.
func BenchmarkChange(b *testing.B) {
	for _, n := range []int{50, 500, 5000} {
		b.Run(fmt.Sprintf("services=%d", n), func(b *testing.B) {
			p := newPlace(b)
			var table *Table
			p.must(p.in(func() (err error) {
				table, err = Open(Config{ServiceCIDRs: serviceNets, PodCIDRs: podNets})
				return err
			}))
			defer table.Close()
			all := many(n)
			begin := time.Now()
			p.must(table.Replace(all))
			b.ReportMetric(float64(time.Since(begin).Milliseconds()), "cold-ms")
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			var wall, cpu []time.Duration
			i := 0
			for b.Loop() {
				was := all[i%n]
				is := *was
				if len(was.Internal) == 50 {
					is.Internal = was.Internal[1:]
				} else {
					first := was.Internal[0].Addr().Prev()
					is.Internal = append([]netip.AddrPort{netip.AddrPortFrom(first, 8080)}, was.Internal...)
				}
				is.Cluster = is.Internal
				begin, used := time.Now(), threadTime(b)
				p.must(table.Apply([]proxy.Change{{Old: was, New: &is}}))
				wall, cpu = append(wall, time.Since(begin)), append(cpu, threadTime(b)-used)
				all[i%n] = &is
				i++
			}
			for what, list := range map[string][]time.Duration{"wall": wall, "cpu": cpu} {
				slices.Sort(list)
				b.ReportMetric(float64(list[len(list)/2].Microseconds())/1000, what+"-p50-ms")
				b.ReportMetric(float64(list[len(list)-1].Microseconds())/1000, what+"-worst-ms")
			}
		})
	}
}

// threadTime is the CPU time of the calling thread.
func threadTime(b *testing.B) time.Duration {
	b.Helper()
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return time.Duration(t.Nano())
}

// A change among many services is about its own objects, and the table is right after a row of them.
func TestManyServicesAndARowOfChanges(t *testing.T) {
	p := newPlace(t)
	var table *Table
	p.must(p.in(func() (err error) {
		table, err = Open(Config{ServiceCIDRs: serviceNets, PodCIDRs: podNets})
		return err
	}))
	defer table.Close()
	all := many(100)
	p.must(table.Replace(all))
	chains, slots := len(table.chains), len(table.slots)
	for i, was := range all {
		is := *was
		is.Internal = is.Internal[1:]
		is.Cluster = is.Internal
		b := newBatch(1)
		table.change(b, []proxy.Change{{Old: was, New: &is}})
		if n := len(b.buf); n > 2048 {
			t.Fatalf("one endpoint less is a transaction of %d bytes", n)
		}
		p.must(table.sock.commit(b))
		all[i] = &is
	}
	if len(table.chains) != chains || len(table.slots) != slots {
		t.Errorf("%d chains and %d elements after the changes, want %d and %d", len(table.chains), len(table.slots), chains, slots)
	}
	var gone []proxy.Change
	for _, was := range all {
		gone = append(gone, proxy.Change{Old: was})
	}
	p.must(table.Apply(gone))
	if len(table.chains)+len(table.slots) != 0 {
		t.Errorf("%d chains and %d elements are left of nothing", len(table.chains), len(table.slots))
	}
}
