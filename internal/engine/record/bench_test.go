package record

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// A record of a thousand is put while the file is written anew: how long the longest waits.
func BenchmarkPutWhileWrittenAnew(b *testing.B) {
	d, err := Open[thing](b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	v := &thing{strings.Repeat("x", 6<<10)}
	for i := range 1000 {
		if err := d.Put(fmt.Sprint(i), v); err != nil {
			b.Fatal(err)
		}
	}
	var waits []time.Duration
	for b.Loop() {
		done := make(chan struct{})
		for range restful/(6<<10) + 2 {
			if err := d.Put("0", v); err != nil {
				b.Fatal(err)
			}
		}
		go func() {
			d.j.renew()
			close(done)
		}()
		for running := true; running; {
			start := time.Now()
			if err := d.Put("1", v); err != nil {
				b.Fatal(err)
			}
			waits = append(waits, time.Since(start))
			select {
			case <-done:
				running = false
			default:
			}
		}
	}
	slices.Sort(waits)
	b.ReportMetric(waits[len(waits)*99/100].Seconds()*1000, "ms-p99-put")
	b.ReportMetric(waits[len(waits)-1].Seconds()*1000, "ms-longest-put")
}
