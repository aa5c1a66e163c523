package node

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// machineCapacity measures the machine; root is a directory on the disk that pods' files go to.
func machineCapacity(root string) (corev1.ResourceList, error) {
	kib, err := meminfo("MemTotal")
	if err != nil {
		return nil, err
	}
	out := corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewQuantity(int64(runtime.NumCPU()), resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(kib<<10, resource.BinarySI),
	}
	var fs unix.Statfs_t
	for dir := root; ; dir = filepath.Dir(dir) {
		if err := unix.Statfs(dir, &fs); err == nil {
			out[corev1.ResourceEphemeralStorage] = *resource.NewQuantity(int64(fs.Blocks)*fs.Bsize, resource.BinarySI)
			break
		}
		if dir == "/" || dir == "." {
			break
		}
	}
	entries, _ := os.ReadDir("/sys/kernel/mm/hugepages")
	for _, e := range entries {
		size, ok := strings.CutPrefix(e.Name(), "hugepages-")
		kb, err := strconv.ParseInt(strings.TrimSuffix(size, "kB"), 10, 64)
		if !ok || err != nil {
			continue
		}
		b, _ := os.ReadFile(filepath.Join("/sys/kernel/mm/hugepages", e.Name(), "nr_hugepages"))
		n, _ := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
		name := corev1.ResourceName(corev1.ResourceHugePagesPrefix + resource.NewQuantity(kb<<10, resource.BinarySI).String())
		out[name] = *resource.NewQuantity(n*kb<<10, resource.BinarySI)
	}
	return out, nil
}

// meminfo returns a line of /proc/meminfo in KiB.
func meminfo(key string) (int64, error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, fmt.Errorf("measure memory: %w", err)
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		fields := strings.Fields(sc.Text())
		if len(fields) >= 2 && fields[0] == key+":" {
			return strconv.ParseInt(fields[1], 10, 64)
		}
	}
	return 0, fmt.Errorf("measure memory: no %s in /proc/meminfo", key)
}

func machineInfo() corev1.NodeSystemInfo {
	read := func(path string) string {
		b, _ := os.ReadFile(path)
		return strings.TrimSpace(string(b))
	}
	info := corev1.NodeSystemInfo{OperatingSystem: runtime.GOOS, Architecture: runtime.GOARCH, MachineID: read("/etc/machine-id"),
		SystemUUID: read("/sys/class/dmi/id/product_uuid"), BootID: read("/proc/sys/kernel/random/boot_id"), OSImage: "Linux"}
	if info.SystemUUID == "" {
		info.SystemUUID = info.MachineID
	}
	var uts unix.Utsname
	if unix.Uname(&uts) == nil {
		info.KernelVersion = unix.ByteSliceToString(uts.Release[:])
	}
	for _, line := range strings.Split(read("/etc/os-release"), "\n") {
		if v, ok := strings.CutPrefix(line, "PRETTY_NAME="); ok {
			info.OSImage = strings.Trim(v, `"`)
		}
	}
	return info
}
