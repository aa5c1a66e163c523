//go:build vm

package vm

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"nau/test/e2e/harness"
)

// tools are the parts that the machine is made of.
type tools struct {
	qemu, mke2fs, busybox, kernel, modules string
	kubectl, docker, nau                   string
	source                                 string // the repository's root
}

// find looks for all tools; the error joins one harness.Lacking for each that is not there.
func find() (tools, error) {
	var t tools
	var lacks []error
	program := func(at *string, name, pack string) {
		path, err := exec.LookPath(name)
		if err != nil {
			lacks = append(lacks, harness.Lacking{What: name, Remedy: harness.Package(pack)})
		}
		*at = path
	}
	program(&t.qemu, "qemu-system-x86_64", "qemu-system-x86")
	program(&t.busybox, "busybox", "busybox-static")
	program(&t.kubectl, "kubectl", "kubernetes-client")
	program(&t.docker, "docker", "docker-cli")
	if t.mke2fs = "/sbin/mke2fs"; !exists(t.mke2fs) {
		lacks = append(lacks, harness.Lacking{What: "mke2fs", Remedy: harness.Package("e2fsprogs")})
	}
	kernels, _ := filepath.Glob("/boot/vmlinuz-*-cloud-amd64")
	if len(kernels) == 0 {
		lacks = append(lacks, harness.Lacking{What: "/boot/vmlinuz-*-cloud-amd64", Remedy: harness.Package("linux-image-cloud-amd64")})
	} else {
		t.kernel = kernels[len(kernels)-1]
		t.modules = filepath.Join("/lib/modules", strings.TrimPrefix(filepath.Base(t.kernel), "vmlinuz-"))
	}
	dir, err := filepath.Abs("../..")
	if err != nil {
		return t, err
	}
	t.source = dir
	if t.nau = os.Getenv("NAU"); t.nau == "" {
		t.nau = filepath.Join(dir, "bin", "nau")
	}
	return t, errors.Join(lacks...)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// vm is a machine that is switched off: a disk and an initramfs.
type vm struct {
	tools
	dir string
}

// first is what the disk's /sbin/init does: the mounts of a plain system with cgroup version 2 alone, then the tests that the kernel's command
// line names, then off.
const first = `#!/bin/sh
export PATH=/bin:/sbin:/usr/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm /dev/mqueue
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs run /run
mount -t mqueue mqueue /dev/mqueue
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
ip link add uplink type dummy
ip addr add 192.0.2.10/24 dev uplink
ip link set uplink up
hostname guest
for word in $(cat /proc/cmdline); do
  case $word in vm.run=*) run=${word#vm.run=} ;; esac
done
cd /src/test/vm/guest
NAU=/src/bin/nau TEST_HTTPD=/src/httpd /src/guest.test -test.v -test.timeout 15m -test.run "$run"
echo "guest exit code: $?"
sync
poweroff -f
`

// build makes a machine. The disk is a sparse file with a file system that mke2fs fills from a folder.
func build(t *testing.T) *vm {
	t.Helper()
	found, err := find()
	var lacking harness.Lacking
	if errors.As(err, &lacking) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	if !exists(found.nau) {
		t.Fatalf("no program to test at %s: `make build` makes it", found.nau)
	}
	v := &vm{found, t.TempDir()}
	root := filepath.Join(v.dir, "root")
	for _, dir := range []string{"bin", "sbin", "usr/bin", "etc", "dev", "proc", "sys", "run", "root", "tmp", "var/lib", "src/bin", "src/test/vm/guest"} {
		must(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	for from, to := range map[string]string{v.nau: "src/bin/nau", v.busybox: "bin/busybox", v.kubectl: "usr/bin/kubectl", v.docker: "usr/bin/docker", filepath.Join(v.source, "go.mod"): "src/go.mod"} {
		content, err := os.ReadFile(from)
		must(t, err)
		must(t, os.WriteFile(filepath.Join(root, to), content, 0o755))
	}
	applets, err := exec.Command(v.busybox, "--list").Output()
	must(t, err)
	for _, name := range strings.Fields(string(applets)) {
		if name != "busybox" {
			must(t, os.Symlink("busybox", filepath.Join(root, "bin", name)))
		}
	}
	must(t, os.WriteFile(filepath.Join(root, "sbin", "init"), []byte(first), 0o755))
	must(t, os.WriteFile(filepath.Join(root, "etc", "passwd"), []byte("root:x:0:0:root:/root:/bin/sh\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(root, "etc", "hosts"), []byte("127.0.0.1 localhost guest\n"), 0o644))
	v.compile(t, filepath.Join(root, "src", "guest.test"), "test", "-c", "-tags", "vm", "-o")
	v.compile(t, filepath.Join(root, "src", "httpd"), "build", "-ldflags=-s -w", "-o")
	must(t, exec.Command("cp", "-a", filepath.Join(v.source, "test", "e2e", "testdata"), filepath.Join(root, "src", "test")).Run())
	out, err := exec.Command(v.mke2fs, "-q", "-t", "ext4", "-E", "lazy_itable_init=1", "-d", root, v.disk(), "6G").CombinedOutput()
	if err != nil {
		t.Fatalf("make the disk: %v: %s", err, out)
	}
	image, err := initramfs(v.busybox, v.modules)
	must(t, err)
	must(t, os.WriteFile(v.initramfs(), image, 0o644))
	return v
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// compile runs the go command; what is compiled follows from the last word of how it is asked.
func (v *vm) compile(t *testing.T, to string, how ...string) {
	t.Helper()
	what := "./test/vm/guest"
	if how[0] == "build" {
		what = "./test/images/httpd"
	}
	cmd := exec.Command("go", append(how, to, what)...)
	cmd.Dir = v.source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("compile %s: %v: %s", what, err, out)
	}
}

func (v *vm) disk() string      { return filepath.Join(v.dir, "disk") }
func (v *vm) initramfs() string { return filepath.Join(v.dir, "initramfs") }

// boot switches the machine on, has it run the guest's tests that match run, and gives their exit code, or -1 where the machine was switched off before they
// ended. Every line of its console goes to the log and to see, which says when to pull the plug.
func (v *vm) boot(t *testing.T, run string, see func(line string) (off bool)) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, v.qemu, "-accel", accelerator(), "-cpu", "max", "-smp", "2", "-m", "3072", "-nic", "none", "-no-reboot",
		"-display", "none", "-monitor", "none", "-serial", "stdio", "-kernel", v.kernel, "-initrd", v.initramfs(),
		"-drive", "file="+v.disk()+",if=virtio,format=raw,cache=writeback",
		"-append", "console=ttyS0 quiet panic=-1 vm.run="+run)
	out, err := cmd.StdoutPipe()
	must(t, err)
	cmd.Stderr = os.Stderr
	must(t, cmd.Start())
	code := -1
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), "\r")
		t.Log(line)
		if rest, ok := strings.CutPrefix(line, "guest exit code: "); ok {
			if code, err = strconv.Atoi(rest); err != nil {
				t.Fatalf("read the guest's exit code: %v", err)
			}
		}
		if see != nil && see(line) {
			_ = cmd.Process.Kill()
		}
	}
	cmd.Wait()
	if ctx.Err() != nil {
		t.Fatalf("the machine did not end in time")
	}
	return code
}

// accelerator is how instructions are run. The kernel's virtual machines are asked for by VM_ACCEL=kvm only: on a machine that is virtual itself
// they may be offered and not work.
func accelerator() string {
	if a := os.Getenv("VM_ACCEL"); a != "" {
		return a
	}
	return "tcg,thread=multi"
}
