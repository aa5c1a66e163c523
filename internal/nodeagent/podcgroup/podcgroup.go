package podcgroup

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"nau/internal/kernel"
	"nau/internal/nodeagent/life"
	"nau/internal/nodeagent/runspec"
)

// Tree is where cgroups are mounted.
type Tree struct {
	root    string
	unified string            // mount point of v2 if it governs cpu and memory, else ""
	v1      map[string]string // controller → mount point
	Pids    int64             // limit of processes a pod; 0: none

	mu        sync.Mutex
	burstable int64 // shares that the burstable class has
}

// controllers are those that a pod's own cgroup has settings for.
var controllers = []string{"cpu", "memory", "pids"}

// Find reads mountinfo (the content of /proc/self/mountinfo) and returns the tree below root, e.g. /nau.
func Find(root string, mountinfo []byte) (*Tree, error) {
	t := &Tree{root: root, v1: map[string]string{}}
	v2 := ""
	sc := bufio.NewScanner(bytes.NewReader(mountinfo))
	for sc.Scan() {
		left, right, ok := strings.Cut(sc.Text(), " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if !ok || len(l) < 5 || len(r) < 3 {
			continue
		}
		switch r[0] {
		case "cgroup2":
			v2 = l[4]
		case "cgroup":
			for _, c := range strings.Split(r[2], ",") {
				if slices.Contains(controllers, c) {
					t.v1[c] = l[4]
				}
			}
		}
	}
	if len(t.v1) == 0 {
		t.unified = v2
	}
	if t.unified == "" && len(t.v1) == 0 {
		return nil, errors.New("find cgroups: neither version is mounted")
	}
	return t, nil
}

// Unified tells whether cgroup v2 governs memory.
func (t *Tree) Unified() bool { return t.unified != "" }

// Path is a pod's cgroup, as CRI's cgroup_parent wants it.
func (t *Tree) Path(pod *corev1.Pod) string {
	switch life.QOS(pod) {
	case corev1.PodQOSGuaranteed:
		return filepath.Join(t.root, "kubepods", "pod"+string(pod.UID))
	case corev1.PodQOSBestEffort:
		return filepath.Join(t.root, "kubepods", "besteffort", "pod"+string(pod.UID))
	}
	return filepath.Join(t.root, "kubepods", "burstable", "pod"+string(pod.UID))
}

// Prepare makes the class cgroups; shares of kubepods are the allocatable milli-CPUs.
func (t *Tree) Prepare(allocatableMilli int64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.burstable = runspec.MinShares
	k := filepath.Join(t.root, "kubepods")
	return errors.Join(
		t.set(k, settings{shares: runspec.Shares(allocatableMilli)}),
		t.set(filepath.Join(k, "besteffort"), settings{shares: runspec.MinShares}),
		t.set(filepath.Join(k, "burstable"), settings{shares: runspec.MinShares}))
}

// Burstable weighs the burstable class by the sum of its pods' requests.
func (t *Tree) Burstable(milli int64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	shares := runspec.Shares(milli)
	if shares == t.burstable {
		return nil
	}
	if err := t.set(filepath.Join(t.root, "kubepods", "burstable"), settings{shares: shares}); err != nil {
		return err
	}
	t.burstable = shares
	return nil
}

// Ensure makes a pod's cgroup or brings it up to date.
func (t *Tree) Ensure(pod *corev1.Pod) error {
	req, lim := runspec.PodTotals(pod)
	s := settings{shares: runspec.Shares(req.Cpu().MilliValue()), memory: lim.Memory().Value(), pids: t.Pids}
	if q := lim.Cpu().MilliValue(); q > 0 {
		s.quota, s.period = runspec.Quota(q)
	}
	return t.set(t.Path(pod), s)
}

type settings struct{ shares, quota, period, memory, pids int64 } // 0 is "no limit"

func (t *Tree) set(path string, s settings) error {
	if t.unified != "" {
		return t.setUnified(path, s)
	}
	var errs []error
	for c, mount := range t.v1 {
		dir := filepath.Join(mount, path)
		fresh, err := mkdir(dir)
		if err != nil {
			errs = append(errs, fmt.Errorf("make cgroup %s: %w", dir, err))
			continue
		}
		// A cgroup that was just made has no limits to lift.
		unlimited := func(file string) {
			if !fresh {
				errs = append(errs, optional(write(dir, file, "-1")))
			}
		}
		switch c {
		case "cpu":
			errs = append(errs, write(dir, "cpu.shares", num(s.shares)))
			if s.quota > 0 {
				errs = append(errs, write(dir, "cpu.cfs_period_us", num(s.period)), write(dir, "cpu.cfs_quota_us", num(s.quota)))
			} else {
				unlimited("cpu.cfs_quota_us")
			}
		case "memory":
			if s.memory > 0 {
				errs = append(errs, write(dir, "memory.limit_in_bytes", num(s.memory)))
			} else {
				unlimited("memory.limit_in_bytes")
			}
		case "pids":
			if s.pids > 0 {
				errs = append(errs, write(dir, "pids.max", num(s.pids)))
			}
		}
	}
	return errors.Join(errs...)
}

// mkdir makes a directory and those above it; fresh: it was not there.
func mkdir(dir string) (fresh bool, err error) {
	err = os.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(dir), 0o755); err == nil {
			err = os.Mkdir(dir, 0o755)
		}
	}
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	return err == nil, err
}

func (t *Tree) setUnified(path string, s settings) error {
	dir := t.unified
	for _, part := range strings.Split(strings.Trim(path, "/"), "/") {
		// A controller that the parent cannot hand down shows in the writes below.
		for _, c := range controllers {
			_ = write(dir, "cgroup.subtree_control", "+"+c)
		}
		dir = filepath.Join(dir, part)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make cgroup %s: %w", dir, err)
		}
	}
	limit := func(v int64) string {
		if v <= 0 {
			return "max"
		}
		return num(v)
	}
	quota := "max 100000"
	if s.quota > 0 {
		quota = num(s.quota) + " " + num(s.period)
	}
	errs := []error{write(dir, "cpu.weight", strconv.FormatUint(kernel.CPUWeight(uint64(s.shares)), 10)), write(dir, "cpu.max", quota), write(dir, "memory.max", limit(s.memory))}
	if s.pids > 0 {
		errs = append(errs, write(dir, "pids.max", num(s.pids)))
	}
	return errors.Join(errs...)
}

func num(v int64) string { return strconv.FormatInt(v, 10) }

func write(dir, file, value string) error {
	if err := os.WriteFile(filepath.Join(dir, file), []byte(value), 0o644); err != nil {
		return fmt.Errorf("set cgroup: %w", err)
	}
	return nil
}

// optional forgives a kernel without the feature: no limit is what was asked for.
func optional(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

// Remove takes a pod's cgroup away in every hierarchy, also in those where only the runtime made it.
func (t *Tree) Remove(pod *corev1.Pod) error { return t.remove(t.Path(pod)) }

// Orphans lists the UIDs of pod cgroups that exist.
func (t *Tree) Pods() map[string]string {
	out := map[string]string{}
	for _, m := range t.mounts() {
		for _, class := range []string{"", "burstable", "besteffort"} {
			rel := filepath.Join(t.root, "kubepods", class)
			entries, _ := os.ReadDir(filepath.Join(m, rel))
			for _, e := range entries {
				if uid, ok := strings.CutPrefix(e.Name(), "pod"); ok && e.IsDir() {
					out[uid] = filepath.Join(rel, e.Name())
				}
			}
		}
	}
	return out
}

// RemovePath is Remove for a path that Pods returned.
func (t *Tree) RemovePath(path string) error { return t.remove(path) }

// RemoveAll takes the whole kubepods tree away.
func (t *Tree) RemoveAll() error { return t.remove(filepath.Join(t.root, "kubepods")) }

func (t *Tree) mounts() (out []string) {
	if t.unified != "" {
		return []string{t.unified}
	}
	for _, m := range t.v1 {
		if !slices.Contains(out, m) {
			out = append(out, m)
		}
	}
	// The runtime puts containers into the other hierarchies too; they are mounted beside these.
	parents := map[string]bool{}
	for _, m := range out {
		parents[filepath.Dir(m)] = true
	}
	for p := range parents {
		entries, _ := os.ReadDir(p)
		for _, e := range entries {
			if m := filepath.Join(p, e.Name()); e.IsDir() && !slices.Contains(out, m) {
				out = append(out, m)
			}
		}
	}
	return out
}

func (t *Tree) remove(path string) error {
	var errs []error
	for _, m := range t.mounts() {
		errs = append(errs, rmdirs(filepath.Join(m, path)))
	}
	return errors.Join(errs...)
}

// rmdirs removes a cgroup and those below it, deepest first. Most have none: that is tried first.
func rmdirs(dir string) error {
	if err := os.Remove(dir); err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := rmdirs(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove cgroup: %w", err)
	}
	return nil
}
