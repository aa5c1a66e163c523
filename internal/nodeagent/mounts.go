package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nau/internal/nodeagent/environ"
	"nau/internal/nodeagent/images"
	"nau/internal/nodeagent/runspec"
)

const hostsPath = "/etc/hosts"

// containerMounts is everything that is mounted into one run of a container: its volumes, the hosts file and the place of
// its termination message.
func (w *worker) containerMounts(ctx context.Context, pod *corev1.Pod, c *corev1.Container, attempt uint32, ips []string, sc *sandboxConfig, vars map[string]string) (mounts []*runtimeapi.Mount, devices []*runtimeapi.Device, err error) {
	a := w.agent
	if w.mounts == nil && len(pod.Spec.Volumes) > 0 {
		if _, err := w.mount(ctx, pod); err != nil {
			return nil, nil, err
		}
	}
	hosts := true
	for i := range c.VolumeMounts {
		m := &c.VolumeMounts[i]
		if filepath.Clean(m.MountPath) == hostsPath {
			hosts = false
		}
		src, ok := w.mounts[m.Name]
		if !ok {
			return nil, nil, fmt.Errorf("cannot find volume %q to mount into container %q", m.Name, c.Name)
		}
		sub := m.SubPath
		if m.SubPathExpr != "" {
			var missing []string
			if sub, missing = environ.ExpandStrict(m.SubPathExpr, ownVars(c, vars)); len(missing) > 0 {
				return nil, nil, fmt.Errorf("expand subPathExpr %q of container %q: missing value for %q", m.SubPathExpr, c.Name, strings.Join(missing, ","))
			}
		}
		out := &runtimeapi.Mount{ContainerPath: m.MountPath, HostPath: src.Path, Readonly: m.ReadOnly || src.ReadOnly}
		if !filepath.IsAbs(out.ContainerPath) {
			out.ContainerPath = "/" + out.ContainerPath
		}
		switch {
		case src.Image != nil:
			if out.Image, err = w.imageVolume(ctx, pod, c, src.Image, sc); err != nil {
				return nil, nil, err
			}
			out.ImageSubPath = sub
		case sub != "":
			if out.HostPath, err = a.volumes.SubPath(w.uid, m.Name, src.Path, sub, c.Name, i); err != nil {
				return nil, nil, err
			}
		}
		if m.MountPropagation != nil {
			switch *m.MountPropagation {
			case corev1.MountPropagationHostToContainer:
				out.Propagation = runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER
			case corev1.MountPropagationBidirectional:
				out.Propagation = runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL
			}
		}
		if out.Readonly && m.RecursiveReadOnly != nil && *m.RecursiveReadOnly != corev1.RecursiveReadOnlyDisabled {
			out.RecursiveReadOnly = *m.RecursiveReadOnly == corev1.RecursiveReadOnlyEnabled || a.node.RecursiveReadOnly(sc.handler)
		}
		mounts = append(mounts, out)
	}
	// Whatever is mounted is the host's on disk, and has the pod's ids in the pod.
	defer func() {
		if ns := sc.config.GetLinux().GetSecurityContext().GetNamespaceOptions().GetUsernsOptions(); ns != nil && ns.Mode == runtimeapi.NamespaceMode_POD {
			for _, m := range mounts {
				m.UidMappings, m.GidMappings = ns.Uids, ns.Gids
			}
		}
	}()
	for _, d := range c.VolumeDevices {
		src := w.mounts[d.Name]
		if src.Block == "" {
			return nil, nil, fmt.Errorf("cannot find block volume %q to map into container %q", d.Name, c.Name)
		}
		perm := "mrw"
		if src.ReadOnly {
			perm = "r"
		}
		devices = append(devices, &runtimeapi.Device{HostPath: src.Block, ContainerPath: d.DevicePath, Permissions: perm})
	}
	if a.cfg.Simulated {
		return mounts, devices, nil
	}
	dir := filepath.Join(a.cfg.RootDir, "pods", w.uid)
	if hosts {
		path := filepath.Join(dir, "etc-hosts")
		if err := w.writeHosts(path, pod, ips, sc); err != nil {
			return nil, nil, err
		}
		mounts = append(mounts, &runtimeapi.Mount{ContainerPath: hostsPath, HostPath: path, Readonly: false})
	}
	if c.TerminationMessagePath != "" {
		path := filepath.Join(dir, "containers", c.Name, fmt.Sprintf("message-%d", attempt))
		if err := emptyFile(path); err != nil {
			return nil, nil, err
		}
		mounts = append(mounts, &runtimeapi.Mount{ContainerPath: c.TerminationMessagePath, HostPath: path})
		if attempt > 1 {
			_ = os.Remove(filepath.Join(dir, "containers", c.Name, fmt.Sprintf("message-%d", attempt-2)))
		}
	}
	return mounts, devices, nil
}

// ownVars are the variables of the container's own env, which are all that subPathExpr may use.
func ownVars(c *corev1.Container, vars map[string]string) map[string]string {
	out := make(map[string]string, len(c.Env))
	for _, e := range c.Env {
		if v, ok := vars[e.Name]; ok {
			out[e.Name] = v
		}
	}
	return out
}

// emptyFile makes a file that any user of the container may write.
func emptyFile(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return fmt.Errorf("make termination message: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o666)
	if err != nil {
		return fmt.Errorf("make termination message: %w", err)
	}
	return errors.Join(f.Chmod(0o666), f.Close())
}

// writeHosts writes the pod's hosts file once; a container may have changed it since.
func (w *worker) writeHosts(path string, pod *corev1.Pod, ips []string, sc *sandboxConfig) error {
	var host []byte
	if pod.Spec.HostNetwork {
		host, _ = os.ReadFile(hostsPath)
	}
	want := runspec.Hosts(pod, ips, sc.hostname, sc.domain, host)
	if have, err := os.ReadFile(path); err == nil && string(have) == string(want) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return fmt.Errorf("write hosts file: %w", err)
	}
	if err := os.WriteFile(path, want, 0o644); err != nil {
		return fmt.Errorf("write hosts file: %w", err)
	}
	return os.Chmod(path, 0o644)
}

// imageVolume brings the image of an image volume.
func (w *worker) imageVolume(ctx context.Context, pod *corev1.Pod, c *corev1.Container, v *corev1.ImageVolumeSource, sc *sandboxConfig) (*runtimeapi.ImageSpec, error) {
	a := w.agent
	p := w.pulls[v.Reference]
	img, err := a.puller.Ensure(ctx, images.Request{Image: v.Reference, Policy: volumePolicy(v), Handler: sc.handler, Secrets: w.credentials(ctx, pod), Sandbox: sc.config,
		BackOff: p.backoff, Last: p.last, Event: func(kind, reason, message string) { w.event(pod, c.Name, kind, reason, message) }})
	if err != nil {
		var problem *images.Problem
		if errors.As(err, &problem) && problem.Pulled {
			w.backOffPull(v.Reference, problem.Message, a.cfg.Clock.Now())
		}
		return nil, err
	}
	return &runtimeapi.ImageSpec{Image: img.Id, UserSpecifiedImage: v.Reference, RuntimeHandler: sc.handler}, nil
}

func volumePolicy(v *corev1.ImageVolumeSource) corev1.PullPolicy {
	if v.PullPolicy != "" {
		return v.PullPolicy
	}
	if strings.HasSuffix(v.Reference, ":latest") {
		return corev1.PullAlways
	}
	return corev1.PullIfNotPresent
}

// removeLogs removes a pod's log directory.
func removeLogs(root string, pod *corev1.Pod) error {
	err := os.RemoveAll(runspec.LogDirectory(root, pod))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
