package server

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// exposition writes Prometheus' text format. Names are announced once.
type exposition struct {
	w     io.Writer
	known map[string]bool
}

func newExposition(w http.ResponseWriter) *exposition {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	return &exposition{w: w, known: map[string]bool{}}
}

func (e *exposition) emit(name, help, kind string, value float64, labels ...string) {
	e.stamped(name, help, kind, value, 0, labels...)
}

var escape = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// stamped writes one sample; at is in nanoseconds, 0: none.
func (e *exposition) stamped(name, help, kind string, value float64, at int64, labels ...string) {
	if !e.known[name] {
		e.known[name] = true
		fmt.Fprintf(e.w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
	}
	var pairs []string
	for i := 0; i+1 < len(labels); i += 2 {
		pairs = append(pairs, labels[i]+`="`+escape.Replace(labels[i+1])+`"`)
	}
	set := ""
	if len(pairs) > 0 {
		set = "{" + strings.Join(pairs, ",") + "}"
	}
	if at > 0 {
		fmt.Fprintf(e.w, "%s%s %v %d\n", name, set, value, at/int64(time.Millisecond))
		return
	}
	fmt.Fprintf(e.w, "%s%s %v\n", name, set, value)
}

func (h *handler) metrics(w http.ResponseWriter, _ *http.Request) {
	e := newExposition(w)
	h.Backend.Metrics(e.emit)
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	e.emit("go_goroutines", "Number of goroutines that currently exist.", "gauge", float64(runtime.NumGoroutine()))
	e.emit("go_memstats_heap_inuse_bytes", "Number of heap bytes that are in use.", "gauge", float64(m.HeapInuse))
	e.emit("process_start_time_seconds", "Start time of the process since unix epoch in seconds.", "gauge", processStart)
}

var processStart = float64(time.Now().UnixNano()) / 1e9

func (h *handler) probeMetrics(w http.ResponseWriter, _ *http.Request) {
	e := newExposition(w)
	h.Backend.Probes(func(probe, result string, n int64) {
		e.emit("prober_probe_total", "Cumulative number of a liveness, readiness or startup probe for a container by result.", "counter", float64(n), "probe_type", probe, "result", result)
	})
}

// resourceMetrics is what metrics-server reads. Source: KEP-727.
func (h *handler) resourceMetrics(w http.ResponseWriter, r *http.Request) {
	e := newExposition(w)
	pods, err := h.stats(r)
	if err != nil {
		e.emit("resource_scrape_error", "1 if there was an error while getting container metrics, 0 otherwise", "gauge", 1)
		return
	}
	type sample struct {
		labels []string
		cpu    *runtimeapi.CpuUsage
		mem    *runtimeapi.MemoryUsage
	}
	var containers, whole []sample
	for _, p := range pods {
		a := p.Attributes.GetMetadata()
		whole = append(whole, sample{[]string{"namespace", a.GetNamespace(), "pod", a.GetName()}, p.GetLinux().GetCpu(), p.GetLinux().GetMemory()})
		for _, c := range p.GetLinux().GetContainers() {
			containers = append(containers, sample{[]string{"container", c.GetAttributes().GetMetadata().GetName(), "namespace", a.GetNamespace(), "pod", a.GetName()}, c.Cpu, c.Memory})
		}
	}
	write := func(prefix, what string, list []sample) {
		for _, s := range list {
			if s.cpu != nil {
				e.stamped(prefix+"_cpu_usage_seconds_total", "Cumulative cpu time consumed by the "+what+" in core-seconds", "counter", float64(s.cpu.GetUsageCoreNanoSeconds().GetValue())/1e9, s.cpu.Timestamp, s.labels...)
			}
		}
		for _, s := range list {
			if s.mem != nil {
				e.stamped(prefix+"_memory_working_set_bytes", "Current working set of the "+what+" in bytes", "gauge", float64(s.mem.GetWorkingSetBytes().GetValue()), s.mem.Timestamp, s.labels...)
			}
		}
	}
	write("container", "container", containers)
	write("pod", "pod", whole)
	n := nodeUsage()
	e.stamped("node_cpu_usage_seconds_total", "Cumulative cpu time consumed by the node in core-seconds", "counter", n.cpuSeconds, n.at)
	e.stamped("node_memory_working_set_bytes", "Current working set of the node in bytes", "gauge", float64(n.workingSet), n.at)
	e.emit("resource_scrape_error", "1 if there was an error while getting container metrics, 0 otherwise", "gauge", 0)
}

func (h *handler) stats(r *http.Request) ([]*runtimeapi.PodSandboxStats, error) {
	res, err := h.Runtime.ListPodSandboxStats(r.Context(), &runtimeapi.ListPodSandboxStatsRequest{})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(res.Stats, func(a, b *runtimeapi.PodSandboxStats) int {
		return strings.Compare(a.GetAttributes().GetMetadata().GetNamespace()+"/"+a.GetAttributes().GetMetadata().GetName(), b.GetAttributes().GetMetadata().GetNamespace()+"/"+b.GetAttributes().GetMetadata().GetName())
	})
	return res.Stats, nil
}

type usage struct {
	at                                        int64
	cpuSeconds                                float64
	total, free, workingSet, rss, used, avail int64
}

// nodeUsage reads the machine's own counters.
func nodeUsage() (u usage) {
	u.at = time.Now().UnixNano()
	if b, err := os.ReadFile("/proc/stat"); err == nil {
		line, _, _ := strings.Cut(string(b), "\n")
		f := strings.Fields(line)
		for i := 1; i < len(f) && i <= 8; i++ {
			if i == 4 || i == 5 { // idle, iowait
				continue
			}
			var v float64
			_, _ = fmt.Sscan(f[i], &v)
			u.cpuSeconds += v / 100
		}
	}
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		m := map[string]int64{}
		for _, line := range strings.Split(string(b), "\n") {
			f := strings.Fields(line)
			if len(f) >= 2 {
				var v int64
				_, _ = fmt.Sscan(f[1], &v)
				m[strings.TrimSuffix(f[0], ":")] = v << 10
			}
		}
		u.total, u.free, u.avail = m["MemTotal"], m["MemFree"], m["MemAvailable"]
		u.used = u.total - u.free
		u.workingSet, u.rss = u.total-u.avail, m["AnonPages"]
	}
	return u
}

// summary is the kubelet's Summary API, as far as CRI tells. Source: k8s.io/kubelet/pkg/apis/stats/v1alpha1.
func (h *handler) summary(w http.ResponseWriter, r *http.Request) {
	pods, err := h.stats(r)
	if err != nil {
		h.fail(w, err)
		return
	}
	n := nodeUsage()
	stamp := func(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339) }
	cpu := func(c *runtimeapi.CpuUsage) any {
		if c == nil {
			return nil
		}
		return map[string]any{"time": stamp(c.Timestamp), "usageCoreNanoSeconds": c.GetUsageCoreNanoSeconds().GetValue(), "usageNanoCores": c.GetUsageNanoCores().GetValue()}
	}
	memory := func(m *runtimeapi.MemoryUsage) any {
		if m == nil {
			return nil
		}
		return map[string]any{"time": stamp(m.Timestamp), "usageBytes": m.GetUsageBytes().GetValue(), "workingSetBytes": m.GetWorkingSetBytes().GetValue(),
			"rssBytes": m.GetRssBytes().GetValue(), "pageFaults": m.GetPageFaults().GetValue(), "majorPageFaults": m.GetMajorPageFaults().GetValue(), "availableBytes": m.GetAvailableBytes().GetValue()}
	}
	list := []any{}
	for _, p := range pods {
		a := p.Attributes.GetMetadata()
		containers := []any{}
		for _, c := range p.GetLinux().GetContainers() {
			one := map[string]any{"name": c.GetAttributes().GetMetadata().GetName(), "cpu": cpu(c.Cpu), "memory": memory(c.Memory)}
			if l := c.WritableLayer; l != nil {
				one["rootfs"] = map[string]any{"time": stamp(l.Timestamp), "usedBytes": l.GetUsedBytes().GetValue(), "inodesUsed": l.GetInodesUsed().GetValue()}
			}
			containers = append(containers, one)
		}
		one := map[string]any{"podRef": map[string]any{"name": a.GetName(), "namespace": a.GetNamespace(), "uid": a.GetUid()}, "containers": containers,
			"cpu": cpu(p.GetLinux().GetCpu()), "memory": memory(p.GetLinux().GetMemory())}
		if d := p.GetLinux().GetNetwork().GetDefaultInterface(); d != nil {
			one["network"] = map[string]any{"time": stamp(p.GetLinux().GetNetwork().GetTimestamp()), "name": d.Name, "rxBytes": d.GetRxBytes().GetValue(), "rxErrors": d.GetRxErrors().GetValue(),
				"txBytes": d.GetTxBytes().GetValue(), "txErrors": d.GetTxErrors().GetValue()}
		}
		if c := p.GetLinux().GetProcess(); c != nil {
			one["process_stats"] = map[string]any{"process_count": c.GetProcessCount().GetValue()}
		}
		list = append(list, one)
	}
	writeJSON(w, map[string]any{"node": map[string]any{"nodeName": h.Node, "startTime": time.Unix(int64(processStart), 0).UTC().Format(time.RFC3339),
		"cpu":    map[string]any{"time": stamp(n.at), "usageCoreNanoSeconds": uint64(n.cpuSeconds * 1e9)},
		"memory": map[string]any{"time": stamp(n.at), "availableBytes": n.avail, "usageBytes": n.used, "workingSetBytes": n.workingSet, "rssBytes": n.rss}},
		"pods": list})
}
