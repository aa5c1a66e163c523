// Package cgroup makes, limits, freezes, reads and removes a container's cgroup, whatever way the host mounts cgroups:
// version 1, version 2, or hybrid. What a limit means in files is decided by pure functions (plan_v1.go, plan_v2.go); this
// file and its neighbours only carry plans out.
//
// It is not a manager of cgroup trees: a Cgroup is one path. Only internal/oci and below import it.
package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"nau/internal/kernel"
)

// Cgroup is one cgroup in all hierarchies.
type Cgroup struct {
	// Path is the cgroup's name below every hierarchy's root; Own holds those hierarchies where it differs.
	Path   string
	layout *kernel.CgroupLayout
}

// Open names a cgroup without making it. path is absolute below the hierarchies' roots.
func Open(cgroupPath string) (*Cgroup, error) {
	layout, err := kernel.Cgroups()
	if err != nil {
		return nil, err
	}
	return &Cgroup{Path: path.Clean("/" + cgroupPath), layout: layout}, nil
}

// Mode is the host's.
func (c *Cgroup) Mode() kernel.CgroupMode { return c.layout.Mode }

// v2 tells whether limits are set in the version 2 hierarchy.
func (c *Cgroup) v2() bool { return c.layout.Mode == kernel.CgroupV2 }

// Dir is the cgroup's folder for a controller ("" for version 2), or empty where the host has none.
func (c *Cgroup) Dir(controller string) string {
	if h, ok := c.hierarchy(controller); ok {
		return h.Dir(c.Path)
	}
	return ""
}

func (c *Cgroup) hierarchy(controller string) (kernel.CgroupHierarchy, bool) {
	if controller == "" || c.v2() {
		return c.layout.Unified()
	}
	return c.layout.Controller(controller)
}

// Hierarchies are those the cgroup lives in, with its folder in each.
func (c *Cgroup) Hierarchies() []kernel.CgroupHierarchy { return c.layout.Hierarchies }

// Create makes the cgroup's folders, and those above. Folders that exist are used. made tells whether this call made the
// cgroup itself.
func (c *Cgroup) Create() (made bool, err error) {
	for _, h := range c.layout.Hierarchies {
		dir := h.Dir(c.Path)
		switch err := os.Mkdir(dir, 0o755); {
		case err == nil:
			made = true
		case errors.Is(err, fs.ErrExist):
		case errors.Is(err, fs.ErrNotExist):
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return made, fmt.Errorf("make cgroup: %w", err)
			}
			made = true
		default:
			return made, fmt.Errorf("make cgroup: %w", err)
		}
		for _, controller := range h.Controllers {
			if controller == "cpuset" {
				if _, err := inheritCpuset(h.Mount, dir); err != nil {
					return made, err
				}
			}
		}
	}
	if c.v2() {
		h, _ := c.layout.Unified()
		if err := enableControllers(h.Mount, h.Dir(c.Path)); err != nil {
			return made, err
		}
	}
	return made, nil
}

// inheritCpuset gives a version 1 cpuset that has no processors or memory nodes those of its parent, from the top down:
// a task cannot join an empty one. It returns what the cpuset has then.
func inheritCpuset(root, dir string) (has [2]string, err error) {
	files := [2]string{"cpuset.cpus", "cpuset.mems"}
	for i, file := range files {
		if has[i], err = readString(dir, file); err != nil {
			return has, err
		}
	}
	if dir == root || has[0] != "" && has[1] != "" {
		return has, nil
	}
	parent, err := inheritCpuset(root, filepath.Dir(dir))
	if err != nil {
		return has, err
	}
	for i, file := range files {
		if has[i] == "" {
			if err := writeFile(dir, file, parent[i]); err != nil {
				return has, err
			}
			has[i] = parent[i]
		}
	}
	return has, nil
}

// enableControllers turns on in every cgroup above dir what the cgroup above it offers.
func enableControllers(root, dir string) error {
	rel, err := filepath.Rel(root, dir)
	if err != nil {
		return err
	}
	at := root
	for _, part := range strings.Split(rel, "/") {
		have, err := os.ReadFile(filepath.Join(at, "cgroup.controllers"))
		if err != nil {
			return fmt.Errorf("read cgroup controllers: %w", err)
		}
		on, err := os.ReadFile(filepath.Join(at, "cgroup.subtree_control"))
		if err != nil {
			return fmt.Errorf("read cgroup controllers: %w", err)
		}
		for _, controller := range missing(string(have), string(on)) {
			// One by one: a controller that cannot be turned on (real-time tasks and cpu, say) must not keep the others off.
			_ = writeFile(at, "cgroup.subtree_control", "+"+controller)
		}
		at = filepath.Join(at, part)
	}
	return nil
}

func missing(have, on string) (names []string) {
	enabled := map[string]bool{}
	for _, n := range strings.Fields(on) {
		enabled[n] = true
	}
	for _, n := range strings.Fields(have) {
		if !enabled[n] {
			names = append(names, n)
		}
	}
	return names
}

// OpenUnified opens the version 2 folder, for a process to be made in it; -1 where there is none.
func (c *Cgroup) OpenUnified() (int, error) {
	h, ok := c.layout.Unified()
	if !ok {
		return -1, nil
	}
	return kernel.OpenPath(h.Dir(c.Path))
}

// Add moves a process into the cgroup, everywhere or only where Tasks does not lead it.
func (c *Cgroup) Add(pid int, everywhere bool) error {
	for _, h := range c.layout.Hierarchies {
		if !h.Unified && !everywhere {
			continue
		}
		if err := writeFile(h.Dir(c.Path), "cgroup.procs", strconv.Itoa(pid)); err != nil {
			return err
		}
	}
	return nil
}

// Tasks opens the files by which a process of one thread takes itself into the cgroup, by writing Self to each. In version
// 2 it is made in the cgroup (OpenUnified), so these are version 1's. That a thread moves itself is the one way that waits
// for nothing: to move another process the kernel waits for a grace period, of some milliseconds.
func (c *Cgroup) Tasks() (fds []int, err error) {
	for _, h := range c.layout.Hierarchies {
		if h.Unified {
			continue
		}
		path := h.Dir(c.Path) + "/tasks"
		fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			kernel.Close(fds...)
			return nil, fmt.Errorf("open cgroup file %s: %w", path, err)
		}
		fds = append(fds, fd)
	}
	return fds, nil
}

// Self is what a thread writes to move itself.
const Self = "0"

// Apply sets limits. Nil fields stay as they are. devices tells whether the device rules are set too, which an update
// leaves alone. What this host's kernel has nothing for is left out and named in lost.
func (c *Cgroup) Apply(r *specs.LinuxResources, devices bool) (lost []string, err error) {
	if r == nil {
		r = &specs.LinuxResources{}
	}
	if c.layout.Mode == kernel.CgroupNone {
		return nil, nil
	}
	if err := c.fits(r.Memory); err != nil {
		return nil, err
	}
	if lost, err = c.limit(r); err != nil || !devices {
		return lost, err
	}
	if c.v2() {
		return lost, applyDeviceFilter(c.Dir(""), r.Devices)
	}
	dir := c.Dir("devices")
	if dir == "" {
		return lost, nil
	}
	var o open
	defer o.close()
	for _, w := range PlanDevicesV1(r.Devices) {
		if err := o.write(dir+"/"+w.File, w.Value); err != nil {
			return lost, err
		}
	}
	return lost, nil
}

// fits refuses a limit below what is in use, if that is asked for (memory.checkBeforeUpdate). Version 1 refuses it by itself.
func (c *Cgroup) fits(m *specs.LinuxMemory) error {
	if m == nil || m.CheckBeforeUpdate == nil || !*m.CheckBeforeUpdate || m.Limit == nil || *m.Limit <= 0 || !c.v2() {
		return nil
	}
	used, err := readString(c.Dir(""), "memory.current")
	if err != nil {
		return err
	}
	if n, err := strconv.ParseInt(used, 10, 64); err != nil || n > *m.Limit {
		return fmt.Errorf("set memory limit %d: %s bytes are in use", *m.Limit, used)
	}
	return nil
}

// limit makes the planned writes.
func (c *Cgroup) limit(r *specs.LinuxResources) (lost []string, err error) {
	var writes []Write
	if c.v2() {
		writes, err = PlanV2(r)
	} else {
		writes, err = PlanV1(r)
	}
	if err != nil {
		return nil, err
	}
	held := false
	for _, w := range writes {
		held = held && w.Or
		dir := c.Dir(w.Controller)
		if dir == "" && !w.Optional && w.File != "" {
			return lost, fmt.Errorf("set %s: no %s cgroup on this host", w.File, w.Controller)
		}
		if dir == "" || w.File == "" {
			if w.Lost != "" && !held {
				lost = append(lost, w.Lost)
			}
			continue
		}
		err := writeFile(dir, w.File, w.Value)
		if err != nil && w.Retry != nil {
			// Two limits bind each other: where one order is refused the other works.
			if again := writeFile(dir, w.Retry.File, w.Retry.Value); again == nil {
				err = writeFile(dir, w.File, w.Value)
			}
		}
		if err != nil && !(w.Optional && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EOPNOTSUPP))) {
			return lost, err
		}
		if held = held || err == nil; !held && w.Lost != "" {
			lost = append(lost, w.Lost)
		}
	}
	return lost, nil
}

// Freeze stops all processes in the cgroup; it returns when they have stopped.
func (c *Cgroup) Freeze() error { return c.freeze(true) }

// Thaw lets them go on.
func (c *Cgroup) Thaw() error { return c.freeze(false) }

func (c *Cgroup) freeze(frozen bool) error {
	if dir := c.Dir("freezer"); dir != "" && !c.v2() {
		state := "THAWED"
		if frozen {
			state = "FROZEN"
		}
		for try := 0; ; try++ {
			if err := writeFile(dir, "freezer.state", state); err != nil {
				return err
			}
			now, err := readString(dir, "freezer.state")
			if err != nil {
				return err
			}
			if now == state {
				return nil
			}
			// FREEZING: version 1 tells nobody when it is done, and needs to be asked again for tasks that forked meanwhile.
			if try > 1000 {
				_ = writeFile(dir, "freezer.state", "THAWED")
				return fmt.Errorf("freeze cgroup %s: still %s", c.Path, now)
			}
			time.Sleep(time.Millisecond)
		}
	}
	dir := c.Dir("")
	if dir == "" {
		return errors.New("freeze cgroup: this host mounts no freezer")
	}
	value := "0"
	if frozen {
		value = "1"
	}
	events, err := os.Open(filepath.Join(dir, "cgroup.events"))
	if err != nil {
		return fmt.Errorf("open cgroup events: %w", err)
	}
	defer events.Close()
	if err := writeFile(dir, "cgroup.freeze", value); err != nil {
		return err
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		b := make([]byte, 256)
		n, _ := unix.Pread(int(events.Fd()), b, 0)
		if strings.Contains(string(b[:n]), "frozen "+value) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("freeze cgroup %s: not done in 10 s", c.Path)
		}
		// The file polls as exceptional when it changes.
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(events.Fd()), Events: unix.POLLPRI}}, 100)
	}
}

// Frozen tells whether the cgroup is frozen.
func (c *Cgroup) Frozen() bool {
	if dir := c.Dir("freezer"); dir != "" && !c.v2() {
		s, _ := readString(dir, "freezer.state")
		return s == "FROZEN" || s == "FREEZING"
	}
	s, _ := readString(c.Dir(""), "cgroup.freeze")
	return s == "1"
}

// anyDir is a folder that lists the cgroup's processes: the one that version 1 would have, else version 2's.
func (c *Cgroup) anyDir() string {
	for _, controller := range []string{"pids", "freezer", "devices", "memory", "cpu", "name=systemd"} {
		if dir := c.Dir(controller); dir != "" {
			return dir
		}
	}
	return c.Dir("")
}

// Processes lists the cgroup's processes and those of cgroups below.
func (c *Cgroup) Processes() ([]int, error) {
	var pids []int
	err := filepath.WalkDir(c.anyDir(), func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		if !d.IsDir() {
			return nil
		}
		f, err := os.Open(filepath.Join(p, "cgroup.procs"))
		if err != nil {
			return nil
		}
		defer f.Close()
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			if pid, err := strconv.Atoi(lines.Text()); err == nil {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list processes of cgroup %s: %w", c.Path, err)
	}
	return pids, nil
}

// Signal sends a signal to every process of the cgroup, except those listed.
func (c *Cgroup) Signal(sig unix.Signal, except ...int) error {
	if sig == unix.SIGKILL && len(except) == 0 {
		if dir := c.Dir(""); dir != "" {
			if err := writeFile(dir, "cgroup.kill", "1"); err == nil && c.v2() {
				return nil
			}
		}
	}
	// A process that forks while it is being killed has a child that the list does not hold: ask until none is left.
	for try := 0; try < 64; try++ {
		pids, err := c.Processes()
		if err != nil || len(pids) == 0 {
			return err
		}
		sent := 0
		for _, pid := range pids {
			if contains(except, pid) {
				continue
			}
			switch err := unix.Kill(pid, sig); err {
			case nil:
				sent++
			case unix.ESRCH:
			default:
				return fmt.Errorf("signal process %d: %w", pid, err)
			}
		}
		if sig != unix.SIGKILL || sent == 0 {
			return nil
		}
		if try > 2 {
			time.Sleep(time.Duration(try) * time.Millisecond)
		}
	}
	return nil
}

func contains(list []int, n int) bool {
	for _, x := range list {
		if x == n {
			return true
		}
	}
	return false
}

// Remove takes the cgroup's folders away, with those below. It waits a moment for processes that are ending.
func (c *Cgroup) Remove() error {
	var errs []error
	for _, h := range c.layout.Hierarchies {
		dir := h.Dir(c.Path)
		if dir == h.Mount {
			continue
		}
		if err := removeTree(dir); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func removeTree(dir string) error {
	for try := 0; ; try++ {
		err := unix.Rmdir(dir)
		switch {
		case err == nil || err == unix.ENOENT:
			return nil
		case err != unix.EBUSY || try == 60:
			return fmt.Errorf("remove cgroup %s: %w", dir, err)
		}
		below, _ := os.ReadDir(dir)
		for _, d := range below {
			if d.IsDir() {
				_ = removeTree(filepath.Join(dir, d.Name()))
			}
		}
		if try > 0 {
			// A zombie's cgroup is busy until the zombie is reaped, and nothing tells.
			time.Sleep(time.Duration(min(try, 20)) * time.Millisecond)
		}
	}
}

// Exists tells whether the cgroup is there.
func (c *Cgroup) Exists() bool {
	_, err := os.Stat(c.anyDir())
	return err == nil
}

func writeFile(dir, file, value string) error {
	var o open
	defer o.close()
	return o.write(dir+"/"+file, value)
}

// open is the file written to last: writes that follow each other often go to the same one. The zero value is ready.
type open struct {
	path string
	fd   int
}

func (o *open) write(path, value string) (err error) {
	if path != o.path {
		o.close()
		// The raw call: these are thousands of one-line writes, and a File would be registered with the poller for each.
		if o.fd, err = unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0); err != nil {
			return fmt.Errorf("open cgroup file %s: %w", path, err)
		}
		o.path = path
	}
	for {
		_, err = unix.Write(o.fd, []byte(value))
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("write %q to %s: %w", value, path, err)
	}
	return nil
}

func (o *open) close() {
	if o.path != "" {
		_ = unix.Close(o.fd)
		o.path = ""
	}
}

func readString(dir, file string) (string, error) {
	fd, err := unix.Open(dir+"/"+file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("open cgroup file %s/%s: %w", dir, file, err)
	}
	defer unix.Close(fd)
	var text []byte
	b := make([]byte, 512)
	for {
		n, err := unix.Read(fd, b)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return "", fmt.Errorf("read cgroup file %s/%s: %w", dir, file, err)
		case n == 0:
			return strings.TrimSpace(string(text)), nil
		default:
			text = append(text, b[:n]...)
		}
	}
}
