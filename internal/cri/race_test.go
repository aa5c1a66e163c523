package cri

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestNoContainerStaysRunning lets starts, ends, kills, removals and deaths of the monitor meet each other in many ways. Whatever they come to, a
// container that does not run must not be told to run: what stays so for ever keeps its pod Terminating for ever.
func TestNoContainerStaysRunning(t *testing.T) {
	b := newBed(t)
	const workers, rounds = 4, 12
	scripts := []string{"exit 0", "kill -9 $$", "sleep 1000", "sleep 0.01; exit 3"}
	var finished atomic.Int64
	var wg sync.WaitGroup
	for w := range workers {
		sub := *b
		pc := sub.sandboxConfig(fmt.Sprint("race", w))
		pod := sub.pod(pc)
		wg.Go(func() {
			for round := range rounds {
				sub.race(pod, pc, scripts[(w+round)%len(scripts)], round)
				// The death of a monitor in the midst of what the others do.
				if finished.Add(1)%(workers*3) == workers {
					sub.killMonitor()
				}
			}
		})
	}
	wg.Wait()
	ctx := b.ctx()
	list, err := b.r.ListContainers(ctx, &runtimeapi.ListContainersRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range list.Containers {
		if _, err := b.r.StopContainer(ctx, &runtimeapi.StopContainerRequest{ContainerId: c.Id}); err != nil {
			t.Errorf("container %s, told to be %v, does not stop: %v", c.Id[:12], c.State, err)
			continue
		}
		if st := b.status(c.Id); st.State == runtimeapi.ContainerState_CONTAINER_RUNNING {
			t.Errorf("container %s stays running: %v", c.Id[:12], st)
		}
		if _, err := b.r.RemoveContainer(ctx, &runtimeapi.RemoveContainerRequest{ContainerId: c.Id}); err != nil {
			t.Errorf("container %s is not removed: %v", c.Id[:12], err)
		}
	}
	for _, left := range traces(t, b.cfg) {
		if strings.Contains(left, "sleep 1000") {
			t.Errorf("left: %s", left)
		}
	}
}

// race is one container's life with everything at once; errors are what happens to those who come too late or too early.
func (b *bed) race(pod string, pc *runtimeapi.PodSandboxConfig, script string, round int) {
	ctx := context.Background()
	c := &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: fmt.Sprint("c", round)}, Image: &runtimeapi.ImageSpec{Image: b.ref}, Command: []string{"sh", "-c", script},
		Linux: &runtimeapi.LinuxContainerConfig{SecurityContext: &runtimeapi.LinuxContainerSecurityContext{Seccomp: &runtimeapi.SecurityProfile{},
			NamespaceOptions: &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER}}},
	}
	r, err := b.r.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{PodSandboxId: pod, Config: c, SandboxConfig: pc})
	if err != nil {
		return
	}
	id := r.ContainerId
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = b.r.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: id}) })
	switch round % 4 {
	case 0: // stopped while it starts
		wg.Go(func() { _, _ = b.r.StopContainer(ctx, &runtimeapi.StopContainerRequest{ContainerId: id}) })
	case 1: // killed from outside as soon as it is there
		wg.Go(func() {
			if rec, err := b.e.Containers.Get(id); err == nil && rec.Pid > 0 {
				_ = unix.Kill(rec.Pid, unix.SIGKILL)
			}
		})
	case 2: // removed while it starts, by two
		for range 2 {
			wg.Go(func() { _, _ = b.r.RemoveContainer(ctx, &runtimeapi.RemoveContainerRequest{ContainerId: id}) })
		}
	}
	wg.Wait()
}

// killMonitor kills the monitor, if there is one just now.
func (b *bed) killMonitor() {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range all {
		line, _ := os.ReadFile(path)
		if args := strings.Split(string(line), "\x00"); len(args) > 2 && args[1] == "monitor" && strings.Contains(string(line), b.cfg.RunDir) {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
	}
}
