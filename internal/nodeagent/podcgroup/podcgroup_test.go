package podcgroup

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// tree is a tree over plain directories, which keep what is written to them.
func tree(t *testing.T, unified bool) (*Tree, string) {
	t.Helper()
	dir := t.TempDir()
	info := "30 20 0:25 / " + dir + "/unified rw - cgroup2 cgroup rw\n"
	mounts := []string{"unified"}
	if !unified {
		info += "31 20 0:26 / " + dir + "/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n" +
			"32 20 0:27 / " + dir + "/memory rw - cgroup cgroup rw,memory\n33 20 0:28 / " + dir + "/pids rw - cgroup cgroup rw,pids\n"
		mounts = append(mounts, "cpu,cpuacct", "memory", "pids", "freezer")
	}
	for _, m := range mounts {
		if err := os.Mkdir(filepath.Join(dir, m), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	tr, err := Find("/nau", []byte(info))
	if err != nil {
		t.Fatal(err)
	}
	tr.Pids = 100
	return tr, dir
}

func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "cgroup.subtree_control" {
			return err
		}
		b, err := os.ReadFile(path)
		out[strings.TrimPrefix(path, dir+"/")] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// emptied takes the files away, so that the next look shows what was written since.
func emptied(t *testing.T, dir string) {
	t.Helper()
	for f := range files(t, dir) {
		if err := os.Remove(filepath.Join(dir, f)); err != nil {
			t.Fatal(err)
		}
	}
}

func pod(request, limit string) *corev1.Pod {
	p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}}}
	p.UID = "1"
	r := &p.Spec.Containers[0].Resources
	if request != "" {
		r.Requests = corev1.ResourceList{"cpu": resource.MustParse(request)}
	}
	if limit != "" {
		r.Limits = corev1.ResourceList{"cpu": resource.MustParse(limit), "memory": resource.MustParse("64Mi")}
	}
	return p
}

func TestSettings(t *testing.T) {
	const at = "nau/kubepods/burstable/pod1/"
	for _, c := range []struct {
		name           string
		unified, again bool
		pod            *corev1.Pod
		want           map[string]string
	}{
		{"a pod that was just made has no limits to lift", false, false, pod("500m", ""),
			map[string]string{"cpu,cpuacct/" + at + "cpu.shares": "512", "pids/" + at + "pids.max": "100"}},
		{"one that may have had limits loses them", false, true, pod("500m", ""),
			map[string]string{"cpu,cpuacct/" + at + "cpu.shares": "512", "cpu,cpuacct/" + at + "cpu.cfs_quota_us": "-1", "memory/" + at + "memory.limit_in_bytes": "-1",
				"pids/" + at + "pids.max": "100"}},
		{"limits", false, false, pod("500m", "2"),
			map[string]string{"cpu,cpuacct/" + at + "cpu.shares": "512", "cpu,cpuacct/" + at + "cpu.cfs_period_us": "100000", "cpu,cpuacct/" + at + "cpu.cfs_quota_us": "200000",
				"memory/" + at + "memory.limit_in_bytes": "67108864", "pids/" + at + "pids.max": "100"}},
		{"version 2", true, false, pod("500m", "2"),
			map[string]string{"unified/" + at + "cpu.weight": "59", "unified/" + at + "cpu.max": "200000 100000", "unified/" + at + "memory.max": "67108864", "unified/" + at + "pids.max": "100"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr, dir := tree(t, c.unified)
			if c.again {
				if err := tr.Ensure(pod("", "1")); err != nil {
					t.Fatal(err)
				}
				if err := tr.Ensure(c.pod); err != nil {
					t.Fatal(err)
				}
				emptied(t, dir)
			}
			if err := tr.Ensure(c.pod); err != nil {
				t.Fatal(err)
			}
			if got := files(t, dir); !maps.Equal(got, c.want) {
				t.Errorf("wrote %v\nwant  %v", got, c.want)
			}
		})
	}
}

func TestTheClassIsWeighedWhenItsWeightChanges(t *testing.T) {
	tr, dir := tree(t, false)
	if err := tr.Prepare(2000); err != nil {
		t.Fatal(err)
	}
	const shares = "cpu,cpuacct/nau/kubepods/burstable/cpu.shares"
	for _, c := range []struct {
		milli int64
		want  string // "": nothing is written
	}{{0, ""}, {1, ""}, {500, "512"}, {500, ""}, {250, "256"}, {0, "2"}, {0, ""}} {
		emptied(t, dir)
		if err := tr.Burstable(c.milli); err != nil {
			t.Fatal(err)
		}
		if got := files(t, dir)[shares]; got != c.want {
			t.Errorf("%d milli-CPUs: wrote %q, want %q", c.milli, got, c.want)
		}
	}
}

func TestRemoveTakesWhatIsBelowAndTheRuntimesOwn(t *testing.T) {
	tr, dir := tree(t, false)
	p := pod("", "")
	if err := tr.Ensure(p); err != nil {
		t.Fatal(err)
	}
	const at = "nau/kubepods/besteffort/pod1"
	for _, d := range []string{"memory/" + at + "/c1/deep", "memory/" + at + "/c2", "freezer/" + at + "/c1"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if got := tr.Pods(); len(got) != 1 || got["1"] != "/"+at {
		t.Errorf("pods %v", got)
	}
	emptied(t, dir)
	if err := tr.Remove(p); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*", at))
	if err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	classes, _ := filepath.Glob(filepath.Join(dir, "*", "nau/kubepods/besteffort"))
	slices.Sort(classes)
	if len(classes) != 4 {
		t.Errorf("classes %v, want those of cpu, memory, pids and freezer to stay", classes)
	}
	if err := tr.Remove(p); err != nil {
		t.Errorf("remove again: %v", err)
	}
}
