//go:build e2e

package e2e

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"nau/test/e2e/harness"
)

// remapRange is what the test's dockremap has: the ids begin at 700000.
const remapRange = "dockremap:700000:65536\n"

// giveRanges shows this machine other files of ranges, by mounts, for as long as the test runs.
func giveRanges(t *testing.T, m *harness.Machine) {
	t.Helper()
	own := filepath.Join(m.Dir, "ranges")
	write(t, own, remapRange)
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
			write(t, file, "")
			t.Cleanup(func() { os.Remove(file) })
		}
		if err := syscall.Mount(own, file, "", syscall.MS_BIND, ""); err != nil {
			t.Fatalf("show ranges at %s: %v", file, err)
		}
		t.Cleanup(func() { syscall.Unmount(file, syscall.MNT_DETACH) })
	}
}

// hostOwner is who owns a file of this machine.
func hostOwner(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%d:%d", st.Uid, st.Gid)
}

// hostUser is who runs a container's first process, as this machine sees it.
func hostUser(t *testing.T, m *harness.Machine, container string) string {
	t.Helper()
	pid := strings.TrimSpace(m.Must("docker", "inspect", "-f", "{{.State.Pid}}", container))
	b, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "\nUid:\t")
	id, _, _ := strings.Cut(rest, "\t")
	return id
}

// With --userns-remap a container's root is nobody on the host, and everything that leaves a container or enters one has the container's ids.
func TestUsernsRemap(t *testing.T) {
	needDocker(t)
	m := harness.New(t)
	giveRanges(t, m)
	m.Registry()
	m.Up("--userns-remap", "default")
	m.Must("docker", "pull", "-q", "busybox")

	t.Run("who runs", func(t *testing.T) {
		m := m.In(t)
		run(t, m, []line{
			{args: "info -f '{{.SecurityOptions}}'", out: "name=userns"},
			{args: "run -d --name one busybox sleep 1000"},
			{args: "exec one cat /proc/self/uid_map /proc/self/gid_map", out: "         0     700000      65536\n         0     700000      65536\n"},
			{args: "exec one id -u", out: "0\n"},
			{args: "exec -u 1000:1001 one id", out: "uid=1000 gid=1001"},
			{args: "exec one stat -c %u:%g /bin /etc/hosts /dev/shm /dev/null /dev/fd /dev/mqueue", out: strings.Repeat("0:0\n", 6)},
			{args: "run -d --name two --userns host busybox sleep 1000"},
			{args: "exec two cat /proc/self/uid_map", out: "4294967295\n"},
			{args: "inspect -f '{{.HostConfig.UsernsMode}}' two", out: "host\n"},
			{args: "run -d --name joined --network container:one --pid container:one busybox sleep 999"},
			{args: "exec joined ps", out: "sleep 1000"},
			{args: "run --rm --pid container:two busybox true", code: 125, err: "other owners"},
		})
		if got := hostUser(t, m, "one"); got != "700000" {
			t.Errorf("the container's root is user %s of the host", got)
		}
		if got := hostUser(t, m, "two"); got != "0" {
			t.Errorf("with --userns host root is user %s", got)
		}
		// Their namespaces are their own: no power over each other's.
		ns := func(name string) string {
			return m.Must("docker", "exec", name, "readlink", "/proc/self/ns/user")
		}
		if ns("one") == ns("two") || ns("one") != ns("joined") {
			t.Errorf("user namespaces %s %s %s", ns("one"), ns("two"), ns("joined"))
		}
		m.Must("docker", "rm", "-f", "one", "two", "joined")
	})
	t.Run("refused", func(t *testing.T) {
		run(t, m.In(t), []line{
			{args: "run --rm --privileged busybox true", code: 125, err: "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running privileged mode"},
			{args: "run --rm --network host busybox true", code: 125, err: "cannot share the host's network namespace when user namespaces are enabled"},
			{args: "run --rm --pid host busybox true", code: 125, err: "cannot share the host PID namespace when user namespaces are enabled"},
			{args: "run --rm --privileged --network host --pid host --userns host busybox true"},
		})
	})
	t.Run("what root may not", func(t *testing.T) {
		disk := blockDevice()
		if disk == "" {
			harness.Skip(t, harness.Lacking{What: "block device", Remedy: "a machine with a disk that has a node in /dev"})
		}
		run(t, m.In(t), []line{
			{args: "run --rm --cap-add ALL busybox mknod /disk b 8 0", code: 1, err: "Operation not permitted"},
			{args: "run --rm --cap-add ALL --security-opt systempaths=unconfined busybox sh -c 'echo 1 >/proc/sys/kernel/panic'", code: 1, err: "Permission denied"},
			{args: "run --rm --cap-add ALL -v /sys/fs/cgroup:/cg busybox sh -c 'mkdir /cg/x || mkdir /cg/cpu/x'", code: 1, err: "Permission denied"},
			// The host's node, with the host's owner: its mode decides.
			{args: "run --rm --device " + disk + ":/dev/m busybox head -c 1 /dev/m", code: 1, err: "Permission denied"},
			{args: "run --rm --device /dev/zero:/dev/z busybox sh -c 'head -c 3 /dev/z | wc -c'", out: "3\n"},
			// A program that becomes root becomes the container's.
			{args: "run --rm -u 1000 busybox sh -c 'cp /bin/busybox /tmp/su 2>/dev/null; grep ^CapEff /proc/self/status'", out: "0000000000000000"},
		})
		secret := filepath.Join(m.Dir, "secret")
		write(t, secret, "the host's")
		if err := os.Chmod(secret, 0o600); err != nil {
			t.Fatal(err)
		}
		run(t, m.In(t), []line{{args: "run --rm --cap-add ALL -v " + secret + ":/secret busybox cat /secret", code: 1, err: "Permission denied"}})
	})
	t.Run("files", func(t *testing.T) {
		m := m.In(t)
		run(t, m, []line{
			{args: "run -d --name files -w /work/here busybox sh -c 'mkdir /made; echo x >/made/f; chown 1000:1001 /made/f; rm /etc/group; chmod u+s /made/f; exec sleep 1000'"},
			{args: "exec files stat -c %u:%g /work /work/here", out: "0:0\n0:0\n"},
		})
		m.Until("1000:1001", "docker", "exec", "files", "stat", "-c", "%u:%g", "/made/f")
		if got := owners(t, m, "cp", "files:/made", "-"); got["made/"] != "0:0" || got["made/f"] != "1000:1001" {
			t.Errorf("cp out: %v", got)
		}
		if got := owners(t, m, "export", "files"); got["made/f"] != "1000:1001" || got["bin/"] != "0:0" {
			t.Errorf("export: %v %v", got["made/f"], got["bin/"])
		}
		in := filepath.Join(m.Dir, "in")
		write(t, filepath.Join(in, "deep", "file"), "text")
		if err := os.Lchown(filepath.Join(in, "deep", "file"), 77, 78); err != nil {
			t.Fatal(err)
		}
		run(t, m, []line{
			{args: "cp " + in + " files:/in"},
			{args: "exec files stat -c %u:%g /in /in/deep /in/deep/file", out: "0:0\n0:0\n77:78\n"},
			{args: "diff files", out: "A /made/f\n"},
			{args: "diff files", out: "D /etc/group\n"},
			{args: "commit files kept:1"},
			{args: "run --rm --userns host kept:1 stat -c '%u:%g %a' /made/f", out: "1000:1001 4"},
			{args: "run --rm kept:1 stat -c %u:%g /made /made/f", out: "0:0\n1000:1001\n"},
			{args: "run --rm kept:1 ls /etc/group", code: 1, err: "No such file"},
			{args: "stop -t 0 files"},
		})
		// Of one that has stopped it is the same.
		if got := owners(t, m, "cp", "files:/made", "-"); got["made/f"] != "1000:1001" {
			t.Errorf("cp out of a stopped container: %v", got)
		}
		run(t, m, []line{
			{args: "cp " + in + "/deep files:/made/deep"},
			{args: "start files"},
			{args: "exec files stat -c %u:%g /made/deep/file", out: "77:78\n"},
			{args: "rm -f files"},
		})
	})
	t.Run("volumes and binds", func(t *testing.T) {
		m := m.In(t)
		bind := filepath.Join(m.Dir, "bind")
		write(t, filepath.Join(bind, "f"), "text")
		made := filepath.Join(m.Dir, "made", "by")
		run(t, m, []line{
			{args: "run --rm -v vol:/v -v " + bind + ":/b -v " + made + ":/m busybox sh -c 'touch /v/x /m/x; chown 5:6 /v/x; stat -c %u:%g /v /v/x /m /b'", out: "0:0\n5:6\n0:0\n65534:65534\n"},
			{args: "run --rm -v " + bind + ":/b busybox touch /b/new", code: 1, err: "Permission denied"},
			{args: "run --rm -v filled:/etc busybox stat -c %u:%g /etc /etc/passwd", out: "0:0\n0:0\n"},
			{args: "run --rm --userns host -v vol:/v busybox stat -c %u:%g /v /v/x", out: "700000:700000\n700005:700006\n"},
			{args: "run --rm --tmpfs /t --mount type=tmpfs,target=/u busybox stat -c %u:%g /t /u", out: "0:0\n0:0\n"},
		})
		for path, want := range map[string]string{bind: "0:0", made: "700000:700000", filepath.Dir(made): "700000:700000",
			filepath.Join(m.DataDir, "volumes", "vol", "_data"): "700000:700000"} {
			if got := hostOwner(t, path); got != want {
				t.Errorf("%s belongs to %s, want %s", path, got, want)
			}
		}
	})
	t.Run("build", func(t *testing.T) {
		m := m.In(t)
		dir := filepath.Join(m.Dir, "build")
		write(t, filepath.Join(dir, "given"), "text")
		write(t, filepath.Join(dir, "Dockerfile"), `FROM busybox AS base
COPY --chown=7:8 given /given
RUN mkdir /run-made && touch /run-made/f && chown 9:10 /run-made/f && cat /proc/self/uid_map >/map
FROM busybox
RUN --mount=type=bind,target=/ctx --mount=type=bind,from=base,target=/base --mount=type=bind,from=base,source=/run-made,target=/w,rw \
  --mount=type=cache,target=/cache --mount=type=tmpfs,target=/tmpfs \
  stat -c %u:%g /ctx/given /base/given /base/run-made/f /w/f /cache >/seen && touch /w/new /cache/new && stat -c %u:%g /w/new /cache/new >>/seen
COPY --from=base /map /run-made /
`)
		run(t, m, []line{
			{args: "build -q -t built " + dir},
			{args: "run --rm --userns host built cat /map", out: "700000"},
			{args: "run --rm --userns host built stat -c %u:%g /f /seen", out: "9:10\n0:0\n"},
			{args: "run --rm built cat /seen", out: "0:0\n7:8\n9:10\n9:10\n0:0\n0:0\n0:0\n"},
		})
	})
	t.Run("after a restart", func(t *testing.T) {
		m := m.In(t)
		run(t, m, []line{{args: "run -d --restart always --name stays busybox sh -c 'touch /mine; exec sleep 1000'"}})
		m.Until("0:0", "docker", "exec", "stays", "stat", "-c", "%u:%g", "/mine")
		m.Down()
		// Without the flag what was made with it is what it was; what is new is the host's.
		m.Up()
		run(t, m, []line{
			{args: "start stays"},
			{args: "exec stays stat -c %u:%g /mine", out: "0:0\n"},
			{args: "run --rm busybox cat /proc/self/uid_map", out: "4294967295"},
		})
		if got := hostUser(t, m, "stays"); got != "700000" {
			t.Errorf("the container's root is user %s of the host", got)
		}
	})
}

// owners are the owners in an archive that a docker command writes.
func owners(t *testing.T, m *harness.Machine, args ...string) map[string]string {
	t.Helper()
	out := map[string]string{}
	r := tar.NewReader(strings.NewReader(m.Must("docker", args...)))
	for {
		h, err := r.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out[h.Name] = fmt.Sprintf("%d:%d", h.Uid, h.Gid)
	}
}
