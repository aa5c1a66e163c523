package docker

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	dc "github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"

	"nau/internal/engine/container"
)

// userHz is the unit of /proc/stat. Source: proc(5); 100 on every architecture that Go runs on.
const userHz = 100

// systemUsage is the processor time that the machine has had, in nanoseconds.
func systemUsage() uint64 {
	f, err := os.Open("/proc/stat")
	if err != nil {
		return 0
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	if !sc.Scan() {
		return 0
	}
	var sum uint64
	for i, v := range strings.Fields(sc.Text()) {
		if i == 0 || i > 7 {
			continue
		}
		n, _ := strconv.ParseUint(v, 10, 64)
		sum += n
	}
	return sum * (uint64(time.Second) / userHz)
}

// getStats answers GET /containers/{id}/stats.
func (s *Server) getStats(c *call) error {
	r, err := s.byID(c)
	if err != nil {
		return err
	}
	stream, once := c.flagOr("stream", true), c.flag("one-shot")
	var last *dc.StatsResponse
	take := func() (*dc.StatsResponse, error) {
		doc, err := s.figures(c.ctx(), r.ID)
		if err == nil && last != nil {
			doc.PreRead, doc.PreCPUStats = last.Read, last.CPUStats
		}
		last = doc
		return doc, err
	}
	if !stream {
		doc, err := take()
		if err == nil && !once && !doc.Read.IsZero() {
			if err := pause(c.ctx(), time.Second); err != nil {
				return nil
			}
			doc, err = take()
		}
		if err != nil {
			return err
		}
		return c.json(http.StatusOK, doc)
	}
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(http.StatusOK)
	out := http.NewResponseController(c.w)
	enc := json.NewEncoder(c.w)
	for {
		doc, err := take()
		if err != nil || enc.Encode(doc) != nil || out.Flush() != nil {
			return nil
		}
		if err := pause(c.ctx(), time.Second); err != nil || s.life.Err() != nil {
			return nil
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// figures are a container's at this moment; those of one that does not run are empty.
func (s *Server) figures(ctx context.Context, id string) (*dc.StatsResponse, error) {
	r, err := s.find(id)
	if err != nil {
		return nil, err
	}
	doc := &dc.StatsResponse{ID: r.ID, Name: "/" + r.Config.Name, OSType: "linux"}
	if !running(r) {
		return doc, nil
	}
	st, err := s.e.Containers.Stats(ctx, id)
	if err != nil {
		if errors.Is(err, container.ErrNotFound) || st.Run == nil {
			return doc, nil
		}
		return nil, err
	}
	if st.Run == nil {
		return doc, nil
	}
	run := st.Run
	doc.Read = st.Time
	doc.CPUStats = dc.CPUStats{CPUUsage: dc.CPUUsage{TotalUsage: run.CPU.Usage, UsageInKernelmode: run.CPU.System, UsageInUsermode: run.CPU.User, PercpuUsage: run.CPU.PerCPU}, SystemUsage: systemUsage(),
		OnlineCPUs:     uint32(runtime.NumCPU()),
		ThrottlingData: dc.ThrottlingData{Periods: run.CPU.Periods, ThrottledPeriods: run.CPU.ThrottledPeriods, ThrottledTime: run.CPU.ThrottledTime}}
	limit := run.Memory.Limit
	if total := memTotal(); limit == 0 || limit > total {
		limit = total
	}
	inactive := "inactive_file"
	if !s.e.Host().CgroupV2 {
		inactive = "total_inactive_file"
	}
	doc.MemoryStats = dc.MemoryStats{Usage: run.Memory.Usage, MaxUsage: run.Memory.MaxUsage, Limit: limit,
		Stats: map[string]uint64{inactive: run.Memory.InactiveFile, "rss": run.Memory.RSS, "cache": run.Memory.Cache, "pgfault": run.Memory.PageFaults, "pgmajfault": run.Memory.MajorFaults, "swap": run.Memory.Swap}}
	doc.PidsStats = dc.PidsStats{Current: run.Pids.Current, Limit: run.Pids.Limit}
	for _, d := range run.IO {
		bytes := func(op string, v uint64) dc.BlkioStatEntry {
			return dc.BlkioStatEntry{Major: d.Major, Minor: d.Minor, Op: op, Value: v}
		}
		doc.BlkioStats.IoServiceBytesRecursive = append(doc.BlkioStats.IoServiceBytesRecursive, bytes("read", d.ReadBytes), bytes("write", d.WriteBytes))
		doc.BlkioStats.IoServicedRecursive = append(doc.BlkioStats.IoServicedRecursive, bytes("read", d.ReadOps), bytes("write", d.WriteOps))
	}
	if sb := s.placeOf(r); sb != nil && s.e.Networks != nil {
		for _, e := range sb.Endpoints {
			n, err := s.e.Networks.Stats(e, s.e.Sandboxes.NetnsPath(sb.ID))
			if err != nil {
				continue
			}
			if doc.Networks == nil {
				doc.Networks = map[string]dc.NetworkStats{}
			}
			doc.Networks[e.Link] = dc.NetworkStats{RxBytes: n.RxBytes, RxPackets: n.RxPackets, RxErrors: n.RxErrors, RxDropped: n.RxDropped,
				TxBytes: n.TxBytes, TxPackets: n.TxPackets, TxErrors: n.TxErrors, TxDropped: n.TxDropped}
		}
	}
	return doc, nil
}

func memTotal() uint64 {
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) != nil {
		return 0
	}
	return si.Totalram * uint64(max(si.Unit, 1))
}
