//go:build e2e

package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"nau/test/e2e/harness"
)

// crashes is how often TestCrashes kills nau; NAU_CRASHES asks for another number.
const crashes = 12

// underWay are what is under way when nau is killed: %d is the round's number.
var underWay = []string{
	"docker pull -q nginx",
	"docker pull -q alpine",
	"docker build -q -t built:%d many --build-arg N=%d",
	"docker commit -p victim committed:%d",
	"docker load -q -i both.tar",
	"cat tree.tar | docker import - imported:%d",
	"docker save nginx alpine | cat >saved.tar",
	"docker rmi -f nginx alpine committed:%d imported:%d",
	"docker cp tree.tar victim:/tmp/tree%d",
	"docker cp victim:/w back",
	"docker volume create v%d && docker run --rm -v v%d:/v -v /anonymous busybox sh -c 'head -c 500000 /dev/urandom >/v/x'",
	"docker network create n%d && docker run -d --network n%d -p %d:80 --name c%d busybox sleep 1000",
	"docker rm -fv c%d; docker network rm n%d",
	"docker run --rm --name fast%d busybox true",
}

// nau is killed over and over while everything that writes is under way, at moments of chance. After a start and a full prune nothing is left of it:
// no byte, no process, mount, namespace, cgroup, link or rule.
func TestCrashes(t *testing.T) {
	needDocker(t)
	m := harness.New(t)
	m.Registry()
	m.Up()
	run(t, m, []line{ // what is made once is made now
		{args: "pull -q busybox"},
		{args: "network create once"},
		{args: "run --rm --network once -p 8600:80 busybox true"},
		{args: "run --rm busybox true"},
		{args: "network rm once"},
		{args: "system prune -af --volumes"},
	})
	m.WaitNoVeth()
	empty, kernel := onDisk(t, m), m.Kernel()
	run(t, m, []line{
		{args: "pull -q busybox"},
		{args: "pull -q nginx"},
		{args: "pull -q alpine"},
		{args: "save -o both.tar nginx alpine"},
		{args: "run -d --name victim busybox sh -c 'head -c 3000000 /dev/urandom >/w; sleep 1000'"},
		{args: "export -o tree.tar victim"},
	})
	write(t, filepath.Join(m.Dir, "many", "Dockerfile"), "FROM busybox\nARG N\nRUN --mount=type=cache,target=/c head -c 1000000 /dev/urandom >/f$N; cp /f$N /c\nRUN cp /f$N /g\n")
	rounds := crashes
	if n, err := strconv.Atoi(os.Getenv("NAU_CRASHES")); err == nil {
		rounds = n
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	chance := rand.New(rand.NewPCG(seed, 0))
	for n := range rounds {
		var all sync.WaitGroup
		begun := make(chan struct{}, len(underWay))
		order := chance.Perm(len(underWay))
		for _, i := range order[:8] {
			all.Go(func() {
				deed := underWay[i]
				for strings.Contains(deed, "%d") {
					number := strconv.Itoa(n)
					if strings.Contains(deed, "-p %d") && strings.Index(deed, "%d") == strings.Index(deed, "-p %d")+3 {
						number = strconv.Itoa(9000 + n)
					}
					deed = strings.Replace(deed, "%d", number, 1)
				}
				begun <- struct{}{}
				m.Do("", "sh", "-c", deed)
			})
		}
		for range 8 {
			<-begun
		}
		moment := time.NewTimer(time.Duration(chance.IntN(400)) * time.Millisecond)
		<-moment.C
		m.Kill()
		all.Wait()
		m.Up()
	}
	if out := m.Must("docker", "ps", "-aq"); out != "" {
		m.Must("docker", append([]string{"rm", "-fv"}, strings.Fields(out)...)...)
	}
	run(t, m, []line{
		{args: "builder prune -af"},
		{args: "volume prune -af"},
		{args: "system prune -af --volumes", out: "Total reclaimed space"},
	})
	m.WaitNoVeth()
	u := diskUsage(t, m)
	if n := u.sum(); n != 0 || len(u.Images)+len(u.Containers)+len(u.Volumes)+len(u.BuildCache) > 0 {
		t.Errorf("after a full prune df tells of %d bytes: %+v", n, u)
	}
	// The journal of sandboxes is folded up at a start now and then: some bytes a round are its.
	if left := onDisk(t, m) - empty; left > 4*recordSpace+int64(rounds)*4096 {
		t.Errorf("after a full prune %d bytes are left:\n%s", left, m.Do("", "sh", "-c", "cd "+m.DataDir+"; du -a "+strings.Join(kept, " ")+" | sort -n | tail -40").Stdout)
	}
	nothingNew(t, m, kernel)
}

// nothingNew compares what the kernel holds, but for the log of nau and what the store of the cluster writes.
func nothingNew(t *testing.T, m *harness.Machine, before harness.Kernel) {
	t.Helper()
	var more []string
	for _, l := range m.Kernel() {
		if !slices.Contains(before, l) && !strings.HasPrefix(l, "file ") {
			more = append(more, l)
		}
	}
	if len(more) > 0 {
		t.Errorf("left in the kernel:\n%s", strings.Join(more, "\n"))
	}
}

// smallDisk gives a machine a data directory of its own small file system. The cluster's store has one beside it: a store that cannot write ends nau,
// and says so, while containers run on.
func smallDisk(t *testing.T, m *harness.Machine, size string) {
	t.Helper()
	store := filepath.Join(m.DataDir, "etcd")
	mount := func(dir, size string) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		m.Must("mount", "-t", "tmpfs", "-o", "mode=700,size="+size, "nau-small", dir)
	}
	mount(m.DataDir, size)
	mount(store, "256m")
	t.Cleanup(func() {
		m.Purge()
		m.Do("", "umount", store)
		m.Do("", "umount", m.DataDir)
	})
}

// The disk fills up during everything that writes: each says so, leaves nothing half-done, and does well once there is room.
func TestFullDisk(t *testing.T) {
	needDocker(t)
	m := harness.New(t)
	smallDisk(t, m, "96m")
	m.Registry()
	m.Up()
	m.Must("docker", "pull", "-q", "busybox")
	m.Must("docker", "run", "-d", "--name", "writer", "busybox", "sh", "-c", "while [ ! -e /go ]; do sleep 0.01; done; i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo line $i; done; sleep 1000")
	m.Must("docker", "run", "-d", "--name", "source", "busybox", "sh", "-c", "head -c 6000000 /dev/urandom >/w; sleep 1000")
	m.Until("6000000", "docker", "exec", "source", "wc", "-c", "/w")
	m.Must("docker", "save", "-o", "box.tar", "busybox")
	m.Must("docker", "export", "-o", "tree.tar", "source")
	write(t, filepath.Join(m.Dir, "big", "Dockerfile"), "FROM busybox\nRUN dd if=/dev/urandom of=/f bs=1M count=8\n")
	images := m.Must("docker", "images", "-aq")
	filler := filepath.Join(m.DataDir, "filler")
	m.Do("", "sh", "-c", fmt.Sprintf("cat /dev/zero >%s; truncate -s -2M %s", filler, filler))
	before := onDisk(t, m)
	for _, deed := range []string{
		"docker pull nginx",
		"docker build --force-rm --no-cache -t built big", // else the container of the step that failed stays
		"docker commit source committed",
		"docker import tree.tar imported",
		"docker cp tree.tar source:/tree",
		"docker run --rm -v data:/v busybox dd if=/dev/urandom of=/v/x bs=1M count=8",
	} {
		r := m.Do("", "sh", "-c", deed)
		if r.Code == 0 || !strings.Contains(r.Stdout+r.Stderr, "no space left on device") && !strings.Contains(r.Stdout+r.Stderr, "No space left on device") {
			t.Errorf("%s on a full disk: code %d\n%s%s", deed, r.Code, r.Stdout, r.Stderr)
		}
	}
	m.Must("docker", "exec", "writer", "true")
	m.Do("", "docker", "exec", "source", "rm", "-f", "/tree")
	m.Do("", "docker", "volume", "rm", "data")
	if after := onDisk(t, m); after > before+4*recordSpace {
		t.Errorf("what did not succeed holds %d bytes of disk:\n%s", after-before, m.Do("", "sh", "-c", "cd "+m.DataDir+"; du -a "+strings.Join(kept, " ")+" | sort -n | tail -20").Stdout)
	}
	if now := m.Must("docker", "images", "-aq"); now != images {
		t.Errorf("images that did not succeed are there: %s, want %s", now, images)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	run(t, m, []line{
		{args: "exec writer touch /go"},
		{args: "pull -q nginx"},
		{args: "build -q -t built big", out: "sha256:"},
		{args: "commit source committed", out: "sha256:"},
		{args: "load -q -i box.tar", out: "Loaded image: busybox:latest\n"},
		{args: "run --rm built true"},
	})
	m.Until("line 3000\n", "docker", "logs", "--tail", "1", "writer")
	run(t, m, []line{{args: "rm -fv writer source"}, {args: "volume prune -af"}, {args: "system prune -af --volumes"}})
	u := diskUsage(t, m)
	if n := u.sum(); n != 0 {
		t.Errorf("after a full prune df tells of %d bytes: %+v", n, u)
	}
}
