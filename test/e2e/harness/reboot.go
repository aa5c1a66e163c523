package harness

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Reboot does to the machine what a loss of power does: every process is killed
// at once, the network namespace, mounts, cgroups and the run directory are
// gone. Listeners of the test are to be opened anew.
func (m *Machine) Reboot() {
	m.t.Helper()
	m.Kill()
	m.end()
	m.unmount()
	for round := 0; round < 10; round++ { // children before their parents
		left := 0
		for _, line := range m.Kernel() {
			if path, ok := strings.CutPrefix(line, "cgroup "); ok && unix.Rmdir(path) != nil {
				left++
			}
		}
		if left == 0 {
			break
		}
	}
	if err := os.RemoveAll(m.RunDir); err != nil {
		m.t.Fatal(err)
	}
	m.netns.Close()
	m.netns = newNetns(m.t)
	m.Flags = nil
}

// end kills every process of the machine, and returns when they are gone.
func (m *Machine) end() {
	m.t.Helper()
	for round := 0; ; round++ {
		pids := m.processes()
		if len(pids) == 0 {
			break
		}
		if round == 100 {
			m.t.Fatalf("processes %v do not die", pids)
		}
		for _, pid := range pids {
			if fd, err := unix.PidfdOpen(pid, 0); err == nil {
				unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
				unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 1000)
				unix.Close(fd)
			}
		}
	}
}

// unmount takes the mounts below the machine's folder away.
func (m *Machine) unmount() {
	m.t.Helper()
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(m.Dir))
	if err != nil {
		m.t.Fatal(err)
	}
	for i := len(mounts) - 1; i >= 0; i-- {
		unix.Unmount(mounts[i].Mountpoint, unix.MNT_DETACH)
	}
}

// processes are those of the machine's instance: they name its directories, or
// are in its cgroups.
func (m *Machine) processes() []int {
	var pids []int
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range all {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		if pid == os.Getpid() {
			continue
		}
		line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || len(line) == 0 {
			continue // gone, or a zombie
		}
		groups, _ := os.ReadFile(filepath.Join(dir, "cgroup"))
		if bytes.Contains(line, []byte(m.Dir)) || bytes.Contains(groups, []byte("/"+m.tag())) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// WaitNoProcess waits until no process of the machine's containers has text in
// its command line.
func (m *Machine) WaitNoProcess(text string) {
	m.t.Helper()
	if !poll(func() bool {
		for _, pid := range m.processes() {
			line, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
			if bytes.Contains(bytes.ReplaceAll(line, []byte{0}, []byte{' '}), []byte(text)) {
				return false
			}
		}
		return true
	}) {
		m.t.Fatalf("a process %q stays", text)
	}
}
