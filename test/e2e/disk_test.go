//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"nau/test/e2e/harness"
)

// kept are the folders of the data directory that hold what docker makes.
var kept = []string{"build", "containers", "content", "layers", "sandboxes", "volumes"}

// onDisk measures what docker made, in blocks, each file once; mounts are not entered.
func onDisk(t *testing.T, m *harness.Machine) (total int64) {
	t.Helper()
	var root syscall.Stat_t
	if err := syscall.Stat(m.DataDir, &root); err != nil {
		t.Fatal(err)
	}
	seen := map[uint64]bool{}
	for _, name := range kept {
		err := filepath.WalkDir(filepath.Join(m.DataDir, name), func(_ string, d fs.DirEntry, err error) error {
			if err != nil {
				if os.IsNotExist(err) {
					return nil
				}
				return err
			}
			info, err := d.Info()
			if err != nil {
				return nil
			}
			st := info.Sys().(*syscall.Stat_t)
			if st.Dev != root.Dev && d.IsDir() {
				return fs.SkipDir
			}
			if !seen[st.Ino] {
				seen[st.Ino] = true
				total += st.Blocks * 512
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return total
}

// usage is what /system/df says, in the form of API 1.47.
type usage struct {
	LayersSize  int64
	BuilderSize int64
	Images      []struct{ ID string }
	Containers  []struct{ SizeRw int64 }
	Volumes     []struct{ UsageData struct{ Size int64 } }
	BuildCache  []struct {
		Size   int64
		Shared bool
	}
}

func (u usage) sum() (n int64) {
	n = u.LayersSize
	for _, c := range u.Containers {
		n += c.SizeRw
	}
	for _, v := range u.Volumes {
		n += v.UsageData.Size
	}
	for _, b := range u.BuildCache {
		if !b.Shared { // what is shared is an image's layer, and counted there
			n += b.Size
		}
	}
	return n
}

func diskUsage(t *testing.T, m *harness.Machine) (u usage) {
	t.Helper()
	out := m.Must("curl", "-s", "--unix-socket", filepath.Join(m.RunDir, "docker.sock"), "http://docker/v1.47/system/df")
	if err := json.Unmarshal([]byte(out), &u); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	return u
}

// recordSpace is what folders and records take beside the bytes that are told of: a few blocks a thing.
const recordSpace = 24 << 10

// stuff makes a bit of everything that takes disk.
func stuff(t *testing.T, m *harness.Machine) {
	t.Helper()
	folder := filepath.Join(m.Dir, "context")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	file := "FROM busybox\nRUN head -c 3000000 /dev/urandom > /three\nRUN --mount=type=cache,target=/c head -c 2000000 /dev/urandom > /c/two\n"
	if err := os.WriteFile(filepath.Join(folder, "Dockerfile"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, m, []line{
		{args: "pull -q nginx"},
		{args: "build -q -t built:1 " + folder},
		{args: "run --name writer -v data:/v built:1 sh -c 'head -c 5000000 /dev/urandom > /w; head -c 4000000 /dev/urandom > /v/x; head -c 1000000 /dev/urandom | od'"},
		{args: "create -v /anonymous nginx"},
	})
}

// What `docker system df` tells is what is on the disk, and what a prune says it freed is what the disk got back.
func TestDiskUsage(t *testing.T) {
	needDocker(t)
	m := harness.New(t)
	m.Registry()
	m.Up()
	empty := onDisk(t, m)
	stuff(t, m)
	check := func(when string) {
		t.Helper()
		u, disk := diskUsage(t, m), onDisk(t, m)-empty
		things := int64(len(u.Images)*8 + len(u.Containers)*2 + len(u.Volumes)*2 + len(u.BuildCache) + 4)
		if diff := disk - u.sum(); diff < -recordSpace || diff > things*recordSpace {
			t.Errorf("%s: df tells %d bytes, the disk has %d: %d bytes of %d things are unaccounted for", when, u.sum(), disk, diff, things)
		}
	}
	check("with everything")
	for _, prune := range []string{"container prune -f", "volume prune -af", "builder prune -af", "image prune -af"} {
		before := onDisk(t, m)
		said := reclaimed(t, m.Must("docker", strings.Fields(prune)...))
		if got := before - onDisk(t, m); got < said-recordSpace || got > said+8*recordSpace+said/50 {
			t.Errorf("%s says it freed %d bytes; the disk got %d back", prune, said, got)
		}
		check("after " + prune)
	}
	if left := onDisk(t, m) - empty; left > 4*recordSpace {
		t.Errorf("after all prunes %d bytes are left", left)
	}
}

// reclaimed reads the last line of a prune: "Total reclaimed space: 5.3MB".
func reclaimed(t *testing.T, out string) int64 {
	t.Helper()
	i := strings.LastIndexAny(strings.TrimSpace(out), ":\t")
	text := strings.TrimSpace(out[i+1:])
	var n float64
	var unit string
	if _, err := fmt.Sscanf(text, "%f%s", &n, &unit); err != nil {
		t.Fatalf("no size in %q", out)
	}
	for _, u := range []struct {
		name string
		by   float64
	}{{"B", 1}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}} {
		if u.name == unit {
			return int64(n * u.by)
		}
	}
	t.Fatalf("no unit in %q", out)
	return 0
}

// nau is killed amid fifty pulls and builds at once: a full prune leaves no byte, no mount and no record.
func TestKillDuringPullsAndBuilds(t *testing.T) {
	needDocker(t)
	m := harness.New(t)
	m.Registry()
	m.Up()
	empty := onDisk(t, m)
	m.Must("docker", "pull", "-q", "busybox")
	folder := filepath.Join(m.Dir, "many")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "Dockerfile"), []byte("FROM busybox\nARG N\nRUN head -c 2000000 /dev/urandom > /f$N\nRUN --mount=type=cache,target=/c,id=c$N head -c 100000 /dev/urandom > /c/x; cp /f$N /g\nRUN sleep 5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.Must("docker", "run", "-d", "--name", "victim", "busybox", "sh", "-c", "head -c 3000000 /dev/urandom > /w; sleep 1000")
	var all sync.WaitGroup
	begun := make(chan struct{}, 64)
	for i := range 50 {
		all.Go(func() {
			args := []string{"build", "-q", "--build-arg", fmt.Sprintf("N=%d", i), folder}
			switch {
			case i%5 < 2:
				args = []string{"pull", "-q", []string{"nginx", "alpine", "nginx:alpine"}[i%3]}
			case i == 49:
				args = []string{"commit", "victim", "committed:1"}
			case i == 48:
				args = []string{"rm", "-f", "victim"}
			}
			begun <- struct{}{}
			m.Do("", "docker", args...)
		})
	}
	for range 50 {
		<-begun
	}
	m.Until("s", "sh", "-c", "ls "+filepath.Join(m.DataDir, "layers")+" | grep ^s | tail -n +4") // builds are at work
	m.Kill()
	all.Wait()
	m.Up()
	run(t, m, []line{
		{args: "system df -v", out: "Images space usage"},
		{args: "rm -f victim"},
		{args: "builder prune -af"},
		{args: "system prune -af --volumes", out: "Total reclaimed space"},
	})
	u := diskUsage(t, m)
	if n := u.sum(); n != 0 || len(u.Images)+len(u.Containers)+len(u.Volumes)+len(u.BuildCache) > 0 {
		t.Errorf("after a full prune df tells of %d bytes: %+v", n, u)
	}
	if left := onDisk(t, m) - empty; left > 4*recordSpace {
		t.Errorf("after a full prune %d bytes are left:\n%s", left, m.Do("", "sh", "-c", "cd "+m.DataDir+"; du -a "+strings.Join(kept, " ")+" | sort -n | tail -40").Stdout)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(mounts)) {
		for _, name := range kept {
			if strings.Contains(l, " "+filepath.Join(m.DataDir, name)+"/") {
				t.Errorf("a mount is left: %s", l)
			}
		}
	}
}

// The data directory can be moved while nau is down: everything is there again under its new name.
func TestMovedDataDirectory(t *testing.T) {
	needDocker(t)
	m := harness.New(t)
	m.Registry()
	m.Up()
	run(t, m, []line{
		{args: "pull -q nginx"},
		{args: "network create --subnet 172.30.40.0/24 town"},
		{args: "run -d --name web --restart always --network town -p 8400:80 -v data:/data -v /anonymous nginx"},
		{args: "exec web sh -c 'echo kept > /data/file; echo written > /file; echo hidden > /anonymous/file'"},
		{args: "create --name made nginx"},
	})
	m.Down()
	moved := filepath.Join(m.Dir, "elsewhere")
	if err := os.Rename(m.DataDir, moved); err != nil {
		t.Fatal(err)
	}
	m.DataDir = moved
	m.Up()
	m.Until("running", "docker", "inspect", "-f", "{{.State.Status}}", "web")
	m.Answers("http://127.0.0.1:8400/", "nginx")
	run(t, m, []line{
		{args: "exec web cat /data/file /file /anonymous/file", out: "kept\nwritten\nhidden\n"},
		{args: "logs web"},
		{args: "inspect -f {{.LogPath}} web", out: moved},
		{args: "volume inspect -f {{.Mountpoint}} data", out: moved},
		{args: "inspect -f '{{range .Mounts}}{{println .Source}}{{end}}' web", out: moved},
		{args: "start made"},
		{args: "exec made true"},
		{args: "restart -t 0 web"},
		{args: "exec web cat /file", out: "written\n"},
		{args: "rm -f web made"},
	})
}

// Containers of restart policies, their ports, names and volumes come through a kill of nau untouched, and come back after a reboot.
// unforced takes away what engine records say that was not forced to disk, as a loss of power may.
func unforced(t *testing.T, m *harness.Machine) {
	t.Helper()
	file := filepath.Join(m.DataDir, "sandboxes", "journal")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	forced := bytes.LastIndex(text, []byte(" commit "))
	forced += bytes.IndexByte(text[max(forced, 0):], '\n') + 1
	if lost := text[forced:]; !bytes.Contains(lost, []byte(" put ")) {
		t.Fatalf("no record was put only: %q", lost)
	}
	if err := os.Truncate(file, int64(forced)); err != nil {
		t.Fatal(err)
	}
}

func TestPoliciesAndPortsSurvive(t *testing.T) {
	needDocker(t)
	m := harness.New(t)
	m.Registry()
	m.Up()
	run(t, m, []line{
		{args: "pull -q nginx"},
		{args: "pull -q alpine"},
		{args: "network create town"},
		{args: "run -d --name always --restart always --network town -p 8500:80 -v data:/data nginx"},
		{args: "run -d --name unless --restart unless-stopped --network town nginx"},
		{args: "run -d --name stopped --restart unless-stopped nginx"},
		{args: "stop -t 0 stopped"},
		{args: "run -d --name never nginx"},
		{args: "exec always sh -c 'echo kept > /data/file'"},
	})
	pid := m.Must("docker", "inspect", "-f", "{{.State.Pid}}", "always")
	m.Kill()
	m.Answers("http://127.0.0.1:8500/", "nginx") // while nobody is there
	m.Up()
	m.Answers("http://127.0.0.1:8500/", "nginx")
	run(t, m, []line{
		{args: "inspect -f {{.State.Pid}} always", out: pid},
		{args: "exec unless wget -qO- http://always/", out: "nginx"},
		{args: "run -d --name rival -p 8500:80 nginx", code: 125, err: "port is already allocated"},
		{args: "rm -f rival"},
		{args: "restart -t 0 unless"}, // after which nothing is forced to disk
	})
	m.Reboot()
	unforced(t, m)
	m.Up()
	m.Until("running", "docker", "inspect", "-f", "{{.State.Status}}", "always")
	m.Until("running", "docker", "inspect", "-f", "{{.State.Status}}", "unless")
	m.Answers("http://127.0.0.1:8500/", "nginx")
	run(t, m, []line{
		{args: "exec always cat /data/file", out: "kept"},
		{args: "exec unless wget -qO- http://always/", out: "nginx"},
		{args: "ps -a --filter name=stopped --format {{.State}}", out: "exited"},
		{args: "ps -a --filter name=never --format {{.State}}", out: "exited"},
		{args: "start never"},
	})
}
