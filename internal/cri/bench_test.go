package cri

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// phase collects durations of one step, and reports their median and worst.
type phase struct {
	mu  sync.Mutex
	all []time.Duration
}

func (p *phase) add(began time.Time) {
	p.mu.Lock()
	p.all = append(p.all, time.Since(began))
	p.mu.Unlock()
}

func (p *phase) report(b *testing.B, name string) {
	slices.Sort(p.all)
	b.ReportMetric(float64(p.all[len(p.all)/2].Microseconds())/1000, name+"-p50-ms")
	b.ReportMetric(float64(p.all[len(p.all)-1].Microseconds())/1000, name+"-max-ms")
}

type phases struct{ run, create, start, stop, remove, total phase }

// pod runs one pod of one container, and takes the time of each step.
func (ph *phases) pod(b *bed, name string) (pod, id string) {
	pc := b.sandboxConfig(name)
	began := time.Now()
	pod = b.pod(pc)
	ph.run.add(began)
	at := time.Now()
	r, err := b.r.CreateContainer(b.ctx(), &runtimeapi.CreateContainerRequest{PodSandboxId: pod, SandboxConfig: pc, Config: &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: "c"}, Image: &runtimeapi.ImageSpec{Image: b.ref}, Command: []string{"sleep", "1000"}, LogPath: "c/0.log",
		Linux: &runtimeapi.LinuxContainerConfig{SecurityContext: &runtimeapi.LinuxContainerSecurityContext{
			NamespaceOptions: &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER}, Seccomp: &runtimeapi.SecurityProfile{}}}}})
	if err != nil {
		b.t.Error(err)
		return pod, ""
	}
	ph.create.add(at)
	at = time.Now()
	if _, err := b.r.StartContainer(b.ctx(), &runtimeapi.StartContainerRequest{ContainerId: r.ContainerId}); err != nil {
		b.t.Error(err)
	}
	ph.start.add(at)
	ph.total.add(began)
	return pod, r.ContainerId
}

func (ph *phases) gone(b *bed, pod string) {
	at := time.Now()
	if _, err := b.r.StopPodSandbox(b.ctx(), &runtimeapi.StopPodSandboxRequest{PodSandboxId: pod}); err != nil {
		b.t.Error(err)
	}
	ph.stop.add(at)
	at = time.Now()
	if _, err := b.r.RemovePodSandbox(b.ctx(), &runtimeapi.RemovePodSandboxRequest{PodSandboxId: pod}); err != nil {
		b.t.Error(err)
	}
	ph.remove.add(at)
}

func (ph *phases) report(b *testing.B) {
	ph.run.report(b, "run")
	ph.create.report(b, "create")
	ph.start.report(b, "start")
	ph.total.report(b, "running")
	ph.stop.report(b, "stop")
	ph.remove.report(b, "remove")
}

// BenchmarkPod: a sandbox with one container, one after the other: create → running, and its end.
func BenchmarkPod(b *testing.B) {
	bed := newBed(b)
	var ph phases
	n := 0
	for b.Loop() {
		n++
		pod, _ := ph.pod(bed, fmt.Sprint("bench", n))
		ph.gone(bed, pod)
	}
	ph.report(b)
}

// BenchmarkThirtyPods: thirty asked for together, until the last one runs.
func BenchmarkThirtyPods(b *testing.B) {
	bed := newBed(b)
	var ph phases
	n := 0
	for b.Loop() {
		n++
		pods := make([]string, 30)
		var wg sync.WaitGroup
		for i := range pods {
			wg.Go(func() { pods[i], _ = ph.pod(bed, fmt.Sprint("bench", n, "-", i)) })
		}
		wg.Wait()
		b.StopTimer()
		for _, p := range pods {
			wg.Go(func() { ph.gone(bed, p) })
		}
		wg.Wait()
		b.StartTimer()
	}
	ph.report(b)
}
