package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nau/internal/nodeagent/images"
	"nau/internal/nodeagent/life"
	"nau/internal/nodeagent/runspec"
	"nau/internal/nodeagent/userns"
	"nau/internal/nodeagent/wheel"
)

// restState is what belongs to no single pod.
type restState struct {
	mu        sync.Mutex
	weighing  *wheel.Timer
	resolv    runspec.Resolv
	resolvAt  time.Time
	imageSeen map[string]time.Time
	imageUsed map[string]time.Time
}

// reapOrphans removes what pods left that the API server no longer knows: records in the runtime, volumes, cgroups and logs.
func (a *Agent) reapOrphans(ctx context.Context) {
	a.mu.Lock()
	orphans := a.found
	a.found = map[string]*life.Observed{}
	known := map[string]bool{}
	for uid := range a.workers {
		known[uid] = true
	}
	a.mu.Unlock()
	for uid, o := range orphans {
		if known[uid] || a.cfg.ManifestDir != "" && a.staticLater(uid) {
			continue
		}
		a.spawn(func() { a.reap(ctx, uid, o) })
	}
	if a.cfg.Simulated {
		return
	}
	var left []string
	for _, uid := range a.volumes.Pods() {
		if !known[uid] && orphans[uid] == nil {
			left = append(left, uid)
		}
	}
	cgroups := map[string]string{}
	if a.cgroups != nil {
		for uid, path := range a.cgroups.Pods() {
			if !known[uid] && orphans[uid] == nil {
				cgroups[uid] = path
			}
		}
	}
	if len(left)+len(cgroups) == 0 {
		return
	}
	a.spawn(func() {
		for _, uid := range left {
			if err := a.volumes.Unmount(uid); err != nil {
				a.cfg.Log.Warn("remove orphaned volumes", "uid", uid, "err", err)
			}
		}
		for uid, path := range cgroups {
			if err := a.cgroups.RemovePath(path); err != nil {
				a.cfg.Log.Warn("remove orphaned cgroup", "uid", uid, "err", err)
			}
		}
	})
}

// orphanGrace is what an orphan's containers get to end, in seconds.
const orphanGrace = 30

// reap stops and removes the records of a pod that nobody knows.
func (a *Agent) reap(ctx context.Context, uid string, o *life.Observed) {
	var wg sync.WaitGroup
	for _, c := range o.Containers {
		if c.State != life.Running {
			continue
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			_, _ = a.cfg.Runtime.StopContainer(ctx, &runtimeapi.StopContainerRequest{ContainerId: c.ID, Timeout: orphanGrace})
		}()
	}
	wg.Wait()
	var errs []error
	for _, c := range o.Containers {
		_, err := a.cfg.Runtime.RemoveContainer(ctx, &runtimeapi.RemoveContainerRequest{ContainerId: c.ID})
		errs = append(errs, err)
	}
	logs := ""
	for _, s := range o.Sandboxes {
		if st, err := a.cfg.Runtime.PodSandboxStatus(ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: s.ID}); err == nil && logs == "" {
			m := st.GetStatus().GetMetadata()
			logs = filepath.Join(a.cfg.LogDir, m.GetNamespace()+"_"+m.GetName()+"_"+uid)
		}
		_, err := a.cfg.Runtime.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: s.ID})
		errs = append(errs, err)
		_, err = a.cfg.Runtime.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: s.ID})
		errs = append(errs, err)
	}
	errs = append(errs, a.volumes.Unmount(uid))
	if a.cgroups != nil {
		if path, ok := a.cgroups.Pods()[uid]; ok {
			errs = append(errs, a.cgroups.RemovePath(path))
		}
	}
	if logs != "" && !a.cfg.Simulated && !strings.Contains(uid, "/") {
		errs = append(errs, os.RemoveAll(logs))
	}
	if err := errors.Join(errs...); err != nil {
		a.cfg.Log.Warn("remove orphaned pod", "uid", uid, "err", err)
	}
}

// weighBurstable brings the weight of the burstable class up to date, soon.
func (a *Agent) weighBurstable() {
	if a.cgroups == nil {
		return
	}
	a.rest.mu.Lock()
	defer a.rest.mu.Unlock()
	if a.rest.weighing != nil {
		return
	}
	a.rest.weighing = a.wheel.At(a.cfg.Clock.Now().Add(burstableDelay), func() {
		a.rest.mu.Lock()
		a.rest.weighing = nil
		a.rest.mu.Unlock()
		go func() {
			var milli int64
			for _, pod := range a.admitted("") {
				if life.QOS(pod) == corev1.PodQOSBurstable {
					req, _ := runspec.PodTotals(pod)
					milli += req.Cpu().MilliValue()
				}
			}
			if err := a.cgroups.Burstable(milli); err != nil {
				a.cfg.Log.Warn("weigh burstable pods", "err", err)
			}
		}()
	})
}

// resolv is the node's own resolver configuration, read anew when it is older than a few seconds.
func (a *Agent) resolv() runspec.Resolv {
	a.rest.mu.Lock()
	defer a.rest.mu.Unlock()
	now := a.cfg.Clock.Now()
	if a.cfg.Simulated || !a.rest.resolvAt.IsZero() && now.Sub(a.rest.resolvAt) < 5*time.Second {
		return a.rest.resolv
	}
	a.rest.resolvAt = now
	if b, err := os.ReadFile(a.cfg.ResolvConf); err == nil {
		a.rest.resolv = runspec.ParseResolv(b)
	}
	return a.rest.resolv
}

// handler is the runtime handler of the pod's runtime class.
func (a *Agent) handler(pod *corev1.Pod) (string, error) {
	if pod.Spec.RuntimeClassName == nil || *pod.Spec.RuntimeClassName == "" {
		return "", nil
	}
	rc, err := a.cfg.Client.NodeV1().RuntimeClasses().Get(a.ctx, *pod.Spec.RuntimeClassName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "", fmt.Errorf("RuntimeClass %q not found", *pod.Spec.RuntimeClassName)
	}
	if err != nil {
		return "", err
	}
	return rc.Handler, nil
}

// userns gives a pod a block of host ids of its own.
func (a *Agent) userns(pod *corev1.Pod, handler string) (*runtimeapi.UserNamespace, error) {
	if pod.Spec.HostUsers == nil || *pod.Spec.HostUsers {
		return nil, nil
	}
	// A runtime that does not know the field would run the pod as the host's users.
	if !a.node.UserNamespaces(handler) {
		return nil, fmt.Errorf("can't set `spec.hostUsers: false`, RuntimeClass handler %q does not support user namespaces", handler)
	}
	first, err := a.blocks.Of(string(pod.UID))
	if err != nil {
		return nil, err
	}
	m := []*runtimeapi.IDMapping{{ContainerId: 0, HostId: first, Length: userns.Size}}
	return &runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_POD, Uids: m, Gids: m}, nil
}

const (
	imageLook = 5 * time.Minute
	logLook   = 10 * time.Second
)

// housekeep looks after the image disk, and after logs where the runtime does not.
func (a *Agent) housekeep(ctx context.Context) {
	if a.cfg.Simulated {
		return
	}
	period := imageLook
	if a.cfg.RotateLogs {
		period = logLook
	}
	t := a.cfg.Clock.NewTicker(period)
	defer t.Stop()
	last := a.cfg.Clock.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C():
		}
		if a.cfg.RotateLogs {
			a.rotateLogs(ctx)
		}
		if now := a.cfg.Clock.Now(); now.Sub(last) >= imageLook {
			last = now
			if err := a.collectImages(ctx, now); err != nil && ctx.Err() == nil {
				a.cfg.Log.Warn("collect images", "err", err)
			}
		}
	}
}

// collectImages removes unused images when the disk that holds them is nearly full.
func (a *Agent) collectImages(ctx context.Context, now time.Time) error {
	info, err := a.cfg.Images.ImageFsInfo(ctx, &runtimeapi.ImageFsInfoRequest{})
	if err != nil || len(info.ImageFilesystems) == 0 {
		return err
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(info.ImageFilesystems[0].GetFsId().GetMountpoint(), &fs); err != nil {
		return fmt.Errorf("measure image disk: %w", err)
	}
	capacity, free := int64(fs.Blocks)*fs.Bsize, int64(fs.Bavail)*fs.Bsize
	res, err := a.cfg.Images.ListImages(ctx, &runtimeapi.ListImagesRequest{})
	if err != nil {
		return err
	}
	used, err := a.cfg.Runtime.ListContainers(ctx, &runtimeapi.ListContainersRequest{})
	if err != nil {
		return err
	}
	inUse := map[string]bool{}
	for _, c := range used.Containers {
		inUse[c.ImageRef], inUse[c.ImageId], inUse[c.GetImage().GetImage()] = true, true, true
	}
	a.rest.mu.Lock()
	if a.rest.imageSeen == nil {
		a.rest.imageSeen, a.rest.imageUsed = map[string]time.Time{}, map[string]time.Time{}
	}
	var list []images.Candidate
	for _, img := range res.Images {
		if a.rest.imageSeen[img.Id].IsZero() {
			a.rest.imageSeen[img.Id] = now
		}
		use := inUse[img.Id] || slices.ContainsFunc(append(slices.Clone(img.RepoTags), img.RepoDigests...), func(n string) bool { return inUse[n] })
		if use {
			a.rest.imageUsed[img.Id] = now
		}
		list = append(list, images.Candidate{ID: img.Id, Size: int64(img.Size), Pinned: img.Pinned, InUse: use, Seen: a.rest.imageSeen[img.Id], LastUsed: a.rest.imageUsed[img.Id]})
	}
	a.rest.mu.Unlock()
	for _, id := range images.Victims(list, capacity-free, capacity, a.cfg.ImageGCHigh, a.cfg.ImageGCLow, now) {
		if _, err := a.cfg.Images.RemoveImage(ctx, &runtimeapi.RemoveImageRequest{Image: &runtimeapi.ImageSpec{Image: id}}); err != nil {
			return fmt.Errorf("remove image %s: %w", id, err)
		}
		a.node.ImagesChanged()
	}
	return nil
}

// rotateLogs renames logs that have grown too large and has the runtime open new ones.
func (a *Agent) rotateLogs(ctx context.Context) {
	for _, pod := range a.Pods() {
		w := a.worker(string(pod.UID))
		if w == nil {
			continue
		}
		for _, c := range w.observed().Containers {
			if c.State != life.Running {
				continue
			}
			path := filepath.Join(runspec.LogDirectory(a.cfg.LogDir, pod), runspec.LogPath(c.Name, c.Attempt))
			st, err := os.Stat(path)
			if err != nil || st.Size() < a.cfg.LogMaxSize {
				continue
			}
			old := path + "." + a.cfg.Clock.Now().Format("20060102-150405")
			if err := os.Rename(path, old); err != nil {
				continue
			}
			if _, err := a.cfg.Runtime.ReopenContainerLog(ctx, &runtimeapi.ReopenContainerLogRequest{ContainerId: c.ID}); err != nil {
				_ = os.Rename(old, path)
				continue
			}
			rotated, _ := filepath.Glob(path + ".*")
			slices.Sort(rotated)
			for len(rotated) > max(a.cfg.LogMaxFiles-1, 1) {
				_ = os.Remove(rotated[0])
				rotated = rotated[1:]
			}
		}
	}
}
