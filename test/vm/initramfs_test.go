//go:build vm

package vm

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ulikunitz/xz"
)

// archive writes the "new" cpio format, which the kernel unpacks at boot: a header of hexadecimal fields, the name and the content, each padded to four
// bytes (Documentation/driver-api/early-userspace/buffer-format.rst).
type archive struct {
	out   bytes.Buffer
	inode int
}

const (
	modeDir  = 0o040755
	modeFile = 0o100755
)

func (a *archive) add(name string, mode int, content []byte) {
	a.inode++
	fmt.Fprintf(&a.out, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", a.inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0)
	a.out.WriteString(name)
	a.out.WriteByte(0)
	a.pad()
	a.out.Write(content)
	a.pad()
}

func (a *archive) pad() {
	for a.out.Len()%4 != 0 {
		a.out.WriteByte(0)
	}
}

func (a *archive) bytes() []byte {
	a.add("TRAILER!!!", 0, nil)
	return a.out.Bytes()
}

// wanted are the modules that the machine needs, by the names of their files without ending; a name with * stands for all that match. What they
// need themselves is found in modules.dep.
var wanted = []string{
	"virtio_blk", "virtio_pci", "virtio_scsi", "sd_mod", "bfq", "cls_cgroup", "ext4", "overlay", "veth", "bridge", "br_netfilter", "dummy", "loop", "tun",
	"nf_tables", "nfnetlink", "nf_conntrack", "nf_conntrack_netlink", "nf_nat", "nft_*",
}

// modulesFor gives the paths of the wanted modules and of those below them in the order in which they are to be inserted. dep is the text of
// modules.dep: "module: needs needs", where what is needed stands last-first. A wanted module that is not listed is built in.
func modulesFor(dep string, wanted []string) []string {
	needs := map[string][]string{}
	var all []string
	for line := range strings.Lines(dep) {
		file, rest, ok := strings.Cut(strings.TrimSpace(line), ":")
		if ok {
			needs[file] = strings.Fields(rest)
			all = append(all, file)
		}
	}
	slices.Sort(all)
	var order []string
	seen := map[string]bool{}
	var visit func(file string)
	visit = func(file string) {
		if seen[file] {
			return
		}
		seen[file] = true
		for _, n := range slices.Backward(needs[file]) {
			visit(n)
		}
		order = append(order, file)
	}
	for _, pattern := range wanted {
		for _, file := range all {
			name, _, _ := strings.Cut(path.Base(file), ".")
			if ok, _ := path.Match(pattern, name); ok {
				visit(file)
			}
		}
	}
	return order
}

// initramfs is the first root: modules, and a script that inserts them and goes on from the disk.
func initramfs(busybox, modules string) ([]byte, error) {
	dep, err := os.ReadFile(filepath.Join(modules, "modules.dep"))
	if err != nil {
		return nil, fmt.Errorf("read the kernel's modules: %w", err)
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		return nil, err
	}
	var a archive
	for _, dir := range []string{"bin", "dev", "proc", "modules", "disk"} {
		a.add(dir, modeDir, nil)
	}
	a.add("bin/busybox", modeFile, program)
	script := "#!/bin/busybox sh\n/bin/busybox mount -t proc proc /proc\n/bin/busybox mount -t devtmpfs dev /dev\n"
	for _, file := range modulesFor(string(dep), wanted) {
		content, err := module(filepath.Join(modules, file))
		if err != nil {
			return nil, fmt.Errorf("read module %s: %w", file, err)
		}
		name, _, _ := strings.Cut(path.Base(file), ".")
		a.add("modules/"+name, modeFile, content)
		script += "/bin/busybox insmod /modules/" + name + " || echo 'no module " + name + "'\n"
	}
	script += "/bin/busybox mount -t ext4 /dev/vda /disk\n/bin/busybox umount /proc\nexec /bin/busybox switch_root /disk /sbin/init\n"
	a.add("init", modeFile, []byte(script))
	return a.bytes(), nil
}

// module reads a module file, compressed or not.
func module(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if !strings.HasSuffix(file, ".xz") {
		return io.ReadAll(f)
	}
	r, err := xz.NewReader(f)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}
