package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Source is a volume as a container's mount sees it.
type Source struct {
	Path     string // on the node; "" for an image
	ReadOnly bool
	Image    *corev1.ImageVolumeSource // the runtime mounts it
	Block    string                    // device file of a block volume
}

// Keeper makes and removes the volumes of pods below Root.
type Keeper struct {
	Root        string
	Objects     Objects
	Allocatable func() corev1.ResourceList
	Now         func() time.Time
}

// Prepare makes the place for secrets; once per start of the agent.
func (k *Keeper) Prepare() error {
	dir := filepath.Join(k.Root, "secrets")
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return fmt.Errorf("make secrets' place: %w", err)
	}
	return ensureTmpfs(dir, "mode=0711")
}

func (k *Keeper) podDir(pod *corev1.Pod) string {
	return filepath.Join(k.Root, "pods", string(pod.UID))
}

func (k *Keeper) dir(pod *corev1.Pod, v *corev1.Volume) string {
	switch {
	case v.Secret != nil, v.Projected != nil:
		return filepath.Join(k.Root, "secrets", string(pod.UID), v.Name)
	}
	return filepath.Join(k.podDir(pod), "volumes", "kubernetes.io~"+kind(v), v.Name)
}

func kind(v *corev1.Volume) string {
	switch {
	case v.EmptyDir != nil:
		return "empty-dir"
	case v.ConfigMap != nil:
		return "configmap"
	case v.Secret != nil:
		return "secret"
	case v.DownwardAPI != nil:
		return "downward-api"
	case v.Projected != nil:
		return "projected"
	}
	return "other"
}

// written tells whether the agent writes the volume's content from the API.
func written(v *corev1.Volume) bool {
	return v.ConfigMap != nil || v.Secret != nil || v.DownwardAPI != nil || v.Projected != nil
}

// Mount makes all volumes of pod, or finds them made, and brings their contents up to date. next is when Mount has to be
// called again although nothing changed (a token grows old), zero: never. Errors name the volume as upstream's
// FailedMount events do, and all volumes are tried.
func (k *Keeper) Mount(ctx context.Context, pod *corev1.Pod) (out map[string]Source, next time.Time, err error) {
	out = make(map[string]Source, len(pod.Spec.Volumes))
	var errs []error
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		src, at, err := k.mount(ctx, pod, v)
		if err != nil {
			errs = append(errs, &Failure{Volume: v.Name, Err: err})
			continue
		}
		out[v.Name] = src
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return out, next, errors.Join(errs...)
}

// Failure is one volume that could not be made.
type Failure struct {
	Volume string
	Err    error
}

func (f *Failure) Error() string {
	return fmt.Sprintf("MountVolume.SetUp failed for volume %q : %v", f.Volume, f.Err)
}

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

func (k *Keeper) mount(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) (Source, time.Time, error) {
	var never time.Time
	switch {
	case v.EmptyDir != nil, v.VolumeSource == (corev1.VolumeSource{}):
		s, err := k.emptyDir(pod, v)
		return s, never, err
	case v.HostPath != nil:
		return Source{Path: v.HostPath.Path}, never, hostPath(v.HostPath)
	case v.Image != nil:
		return Source{Image: v.Image, ReadOnly: true}, never, nil
	case v.PersistentVolumeClaim != nil:
		s, err := k.claim(ctx, pod, v.PersistentVolumeClaim.ClaimName, v.PersistentVolumeClaim.ReadOnly)
		return s, never, err
	case v.Ephemeral != nil:
		s, err := k.claim(ctx, pod, pod.Name+"-"+v.Name, false)
		return s, never, err
	case written(v):
		next, err := k.write(ctx, pod, v)
		return Source{Path: k.dir(pod, v), ReadOnly: true}, next, err
	}
	return Source{}, never, errors.New("no volume plugin matched")
}

func (k *Keeper) write(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) (time.Time, error) {
	dir := k.dir(pod, v)
	p, next, err := payload(ctx, pod, v, k.Objects, k.Allocatable(), k.Now(), func(path string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, dataLink, path))
		if err != nil {
			return nil
		}
		return b
	})
	if err != nil {
		return next, err
	}
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := makeDir(dir, 0o777, fsGroup(pod)); err != nil {
			return next, err
		}
	}
	_, err = writeAtomic(dir, p, fsGroup(pod))
	return next, err
}

// makeDir makes a volume's directory with exactly this mode; the way to it is for the agent only.
func makeDir(dir string, mode fs.FileMode, gid *int64) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o750); err != nil {
		return fmt.Errorf("make volume: %w", err)
	}
	if err := os.Mkdir(dir, mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make volume: %w", err)
	}
	if gid != nil {
		if err := os.Lchown(dir, -1, int(*gid)); err != nil {
			return fmt.Errorf("make volume: %w", err)
		}
		mode |= fs.ModeSetgid
	}
	if err := os.Chmod(dir, mode); err != nil {
		return fmt.Errorf("make volume: %w", err)
	}
	return nil
}

func fsGroup(pod *corev1.Pod) *int64 {
	if pod.Spec.SecurityContext == nil {
		return nil
	}
	return pod.Spec.SecurityContext.FSGroup
}

func (k *Keeper) emptyDir(pod *corev1.Pod, v *corev1.Volume) (Source, error) {
	dir := k.dir(pod, v)
	src := v.EmptyDir
	if src == nil {
		src = &corev1.EmptyDirVolumeSource{}
	}
	made := false
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := makeDir(dir, 0o777, fsGroup(pod)); err != nil {
			return Source{}, err
		}
		made = true
	}
	if src.Medium == corev1.StorageMediumMemory {
		opts := "mode=0777"
		if n := memorySize(pod, src); n > 0 {
			opts += fmt.Sprintf(",size=%d", n)
		}
		if g := fsGroup(pod); g != nil {
			opts = fmt.Sprintf("%s,gid=%d", opts[:5]+"2"+opts[6:], *g)
		}
		if err := ensureTmpfs(dir, opts); err != nil {
			return Source{}, err
		}
	} else if src.Medium != corev1.StorageMediumDefault {
		if made {
			_ = os.Remove(dir)
		}
		return Source{}, fmt.Errorf("make emptyDir: medium %q is not offered by this node", src.Medium)
	}
	return Source{Path: dir}, nil
}

// memorySize is the size of a memory emptyDir: the smaller of its own limit and the pod's memory limit; 0: the kernel's
// default. Source: KEP-1967.
func memorySize(pod *corev1.Pod, src *corev1.EmptyDirVolumeSource) int64 {
	var limit int64
	for i := range pod.Spec.Containers {
		m := pod.Spec.Containers[i].Resources.Limits.Memory().Value()
		if m == 0 {
			limit = 0
			break
		}
		limit += m
	}
	if src.SizeLimit != nil && src.SizeLimit.Value() > 0 && (limit == 0 || src.SizeLimit.Value() < limit) {
		limit = src.SizeLimit.Value()
	}
	return limit
}

// hostPath checks or makes what a hostPath volume names.
func hostPath(src *corev1.HostPathVolumeSource) error {
	if src.Type == nil || *src.Type == corev1.HostPathUnset {
		return nil
	}
	st, err := os.Stat(src.Path)
	missing := errors.Is(err, fs.ErrNotExist)
	bad := func(what string) error {
		return fmt.Errorf("hostPath type check failed: %s is not a %s", src.Path, what)
	}
	var m fs.FileMode
	if err == nil {
		m = st.Mode()
	}
	switch *src.Type {
	case corev1.HostPathDirectoryOrCreate:
		if missing {
			return os.MkdirAll(src.Path, 0o755)
		}
		if !m.IsDir() {
			return bad("directory")
		}
	case corev1.HostPathDirectory:
		if !m.IsDir() {
			return bad("directory")
		}
	case corev1.HostPathFileOrCreate:
		if missing {
			f, err := os.OpenFile(src.Path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o644)
			if err != nil {
				return fmt.Errorf("make hostPath file: %w", err)
			}
			return f.Close()
		}
		if !m.IsRegular() {
			return bad("file")
		}
	case corev1.HostPathFile:
		if missing || !m.IsRegular() {
			return bad("file")
		}
	case corev1.HostPathSocket:
		if m&fs.ModeSocket == 0 {
			return bad("socket file")
		}
	case corev1.HostPathCharDev:
		if m&fs.ModeCharDevice == 0 {
			return bad("character device")
		}
	case corev1.HostPathBlockDev:
		if m&fs.ModeDevice == 0 || m&fs.ModeCharDevice != 0 {
			return bad("block device")
		}
	}
	return nil
}

// claim resolves a claim whose volume is a directory of the node.
func (k *Keeper) claim(ctx context.Context, pod *corev1.Pod, name string, readOnly bool) (Source, error) {
	pv, block, err := k.Objects.Claim(ctx, pod.Namespace, name)
	if err != nil {
		return Source{}, err
	}
	path := ""
	switch {
	case pv.Spec.HostPath != nil:
		path = pv.Spec.HostPath.Path
		if err := hostPath(pv.Spec.HostPath); err != nil {
			return Source{}, err
		}
		if pv.Spec.HostPath.Type == nil || *pv.Spec.HostPath.Type == "" {
			if err := os.MkdirAll(path, 0o777); err != nil {
				return Source{}, fmt.Errorf("make volume %q: %w", pv.Name, err)
			}
		}
	case pv.Spec.Local != nil:
		path = pv.Spec.Local.Path
		if _, err := os.Stat(path); err != nil {
			return Source{}, fmt.Errorf("path %q does not exist", path)
		}
		if g := fsGroup(pod); g != nil && !readOnly {
			if err := chgrp(path, *g, pod); err != nil {
				return Source{}, err
			}
		}
	default:
		return Source{}, fmt.Errorf("mount volume %q: no volume plugin matched", pv.Name)
	}
	if block {
		return Source{Block: path, ReadOnly: readOnly}, nil
	}
	return Source{Path: path, ReadOnly: readOnly}, nil
}

// chgrp gives a directory tree to fsGroup; with OnRootMismatch only if its root is not the group's yet.
func chgrp(root string, gid int64, pod *corev1.Pod) error {
	if p := pod.Spec.SecurityContext.FSGroupChangePolicy; p != nil && *p == corev1.FSGroupChangeOnRootMismatch && groupOf(root) == gid {
		return nil
	}
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := os.Lchown(path, -1, int(gid)); err != nil {
			return err
		}
		if d.Type()&fs.ModeSymlink != 0 {
			return nil
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		m := st.Mode() | 0o660
		if d.IsDir() {
			m |= 0o110 | fs.ModeSetgid
		}
		return os.Chmod(path, m)
	})
}

// Unmount takes away all that Mount and SubPath made for a pod, and the pod's directory.
func (k *Keeper) Unmount(uid string) error {
	pod := filepath.Join(k.Root, "pods", uid)
	if err := detachBelow(pod); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(pod), os.RemoveAll(filepath.Join(k.Root, "secrets", uid)))
}

// Pods lists the UIDs that have something below the root.
func (k *Keeper) Pods() []string {
	seen := map[string]bool{}
	for _, d := range []string{"pods", "secrets"} {
		entries, _ := os.ReadDir(filepath.Join(k.Root, d))
		for _, e := range entries {
			seen[e.Name()] = true
		}
	}
	var out []string
	for uid := range seen {
		out = append(out, uid)
	}
	return out
}

// ReadFile reads a file of an emptyDir for a fileKeyRef, never through a link that leaves the volume.
func (k *Keeper) ReadFile(pod *corev1.Pod, volume, path string, limit int64) ([]byte, error) {
	for i := range pod.Spec.Volumes {
		if v := &pod.Spec.Volumes[i]; v.Name == volume {
			return readBeneath(k.dir(pod, v), path, limit)
		}
	}
	return nil, fmt.Errorf("read file: volume %q not found", volume)
}
