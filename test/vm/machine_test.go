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

// tools are the parts that any machine is made of.
type tools struct {
	qemu, mke2fs, busybox, kernel, modules string
	source                                 string // the repository's root
}

// find looks for all tools; the error joins one harness.Lacking for each that is not there.
func find() (tools, error) {
	var t tools
	var errs []error
	look := func(at *string, name, pack string) {
		var err error
		*at, err = program(name, pack)
		errs = append(errs, err)
	}
	look(&t.qemu, "qemu-system-x86_64", "qemu-system-x86")
	look(&t.busybox, "busybox", "busybox-static")
	look(&t.mke2fs, "mke2fs", "e2fsprogs")
	kernels, _ := filepath.Glob("/boot/vmlinuz-*-cloud-amd64")
	if len(kernels) == 0 {
		errs = append(errs, harness.Lacking{What: "/boot/vmlinuz-*-cloud-amd64", Remedy: harness.Package("linux-image-cloud-amd64")})
	} else {
		t.kernel = kernels[len(kernels)-1]
		t.modules = filepath.Join("/lib/modules", strings.TrimPrefix(filepath.Base(t.kernel), "vmlinuz-"))
	}
	dir, err := filepath.Abs("../..")
	t.source = dir
	return t, errors.Join(append(errs, err)...)
}

// program finds a program of Debian's package pack, also where only root's path leads.
func program(name, pack string) (string, error) {
	for _, path := range []string{name, "/usr/sbin/" + name, "/sbin/" + name} {
		if found, err := exec.LookPath(path); err == nil {
			return found, nil
		}
	}
	return "", harness.Lacking{What: name, Remedy: harness.Package(pack)}
}

// lacks skips where what is asked for is not on this machine.
func lacks(t *testing.T, errs ...error) {
	t.Helper()
	err := errors.Join(errs...)
	var lacking harness.Lacking
	if errors.As(err, &lacking) {
		t.Skip(err)
	}
	must(t, err)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// vm is a machine that is switched off: a disk and an initramfs.
type vm struct {
	tools
	dir     string
	drives  []string // further arguments to qemu
	allowed time.Duration
}

// contents is what a machine's disk has beside a plain system's folders and busybox.
type contents struct {
	files map[string]string // path in the machine → path here; all are executable
	run   string            // shell lines: what the machine is booted for, in /src, after the mounts but for cgroups
}

// first is what the disk's /sbin/init does: the mounts of a plain system, then what the machine is for, then off.
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
ip link set lo up
ip link add uplink type dummy
ip addr add 192.0.2.10/24 dev uplink
ip link set uplink up
hostname guest
for word in $(cat /proc/cmdline); do
  case $word in vm.run=*) run=${word#vm.run=} ;; esac
done
cd /src
. /src/run
echo "guest exit code: $?"
sync
poweroff -f
`

// build makes a machine. The disk is a sparse file with a file system that mke2fs fills from a folder.
func build(t *testing.T, found tools, c contents) *vm {
	t.Helper()
	v := &vm{tools: found, dir: t.TempDir(), allowed: 20 * time.Minute}
	root := filepath.Join(v.dir, "root")
	for _, dir := range []string{"bin", "sbin", "etc", "dev", "proc", "sys", "run", "root", "tmp", "var/lib"} {
		must(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	c.files["bin/busybox"] = v.busybox
	for to, from := range c.files {
		content, err := os.ReadFile(from)
		must(t, err)
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(root, to)), 0o755))
		must(t, os.WriteFile(filepath.Join(root, to), content, 0o755))
	}
	applets, err := exec.Command(v.busybox, "--list").Output()
	must(t, err)
	for _, name := range strings.Fields(string(applets)) {
		if _, own := c.files["bin/"+name]; !own {
			must(t, os.Symlink("busybox", filepath.Join(root, "bin", name)))
		}
	}
	for name, text := range map[string]string{"sbin/init": first, "src/run": c.run, "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n", "etc/hosts": "127.0.0.1 localhost guest\n"} {
		must(t, os.WriteFile(filepath.Join(root, name), []byte(text), 0o755))
	}
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

// compile runs the go command in the repository and gives the file that it made; how ends in what is compiled.
func (found tools) compile(t *testing.T, name string, how ...string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), name)
	cmd := exec.Command("go", append([]string{how[0], "-o", to}, how[1:]...)...)
	cmd.Dir = found.source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("compile %s: %v: %s", name, err, out)
	}
	return to
}

func (v *vm) disk() string      { return filepath.Join(v.dir, "disk") }
func (v *vm) initramfs() string { return filepath.Join(v.dir, "initramfs") }

// boot switches the machine on, has it run the guest's tests that match run, and gives their exit code, or -1 where the machine was switched off before they
// ended. Every line of its console goes to the log and to see, which says when to pull the plug.
func (v *vm) boot(t *testing.T, run string, see func(line string) (off bool)) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), v.allowed)
	defer cancel()
	args := []string{"-accel", accelerator(), "-cpu", "max", "-smp", "2", "-m", "3072", "-nic", "none", "-no-reboot",
		"-display", "none", "-monitor", "none", "-serial", "stdio", "-kernel", v.kernel, "-initrd", v.initramfs(),
		"-drive", "file=" + v.disk() + ",if=virtio,format=raw,cache=writeback",
		"-append", "console=ttyS0 quiet panic=-1 vm.run=" + run}
	cmd := exec.CommandContext(ctx, v.qemu, append(args, v.drives...)...)
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
