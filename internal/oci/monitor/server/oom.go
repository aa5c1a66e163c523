package server

import (
	"os"

	"nau/internal/oci/monitor"
)

// watchOOM tells each time the kernel has killed a process of the container for want of memory, until the container's
// end, which closes the watch.
func (c *container) watchOOM(watch *os.File) {
	seen := uint64(0)
	buf := make([]byte, 512)
	for {
		if _, err := watch.Read(buf); err != nil {
			return
		}
		// The notice comes before the killing is counted: what is not counted yet is told by the next, or by the exit.
		kills := c.backend.oomKills(c)
		if kills > seen {
			seen = kills
			c.mu.Lock()
			c.oom = true
			pid := c.pid
			c.mu.Unlock()
			c.tell(monitor.Event{Type: monitor.EventOOM, Pid: pid})
		}
	}
}

// beginWatch starts watchOOM where there is a limit to watch, and returns what ends it.
func (c *container) beginWatch() func() {
	b, ok := c.backend.(*builtin)
	if !ok {
		return func() {}
	}
	oc, err := b.load(c)
	if err != nil {
		return func() {}
	}
	watch, err := oc.WatchOOM()
	if err != nil || watch == nil {
		return func() {}
	}
	go c.watchOOM(watch)
	return func() { _ = watch.Close() }
}
