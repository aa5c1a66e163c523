package oci

import (
	"errors"
	"fmt"
	"os"
	"path"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"nau/internal/kernel"
	"nau/internal/kernel/child"
	"nau/internal/oci/capability"
	"nau/internal/oci/seccomp"
)

// identity is what a process becomes just before it is executed.
type identity struct {
	process  *specs.Process
	caps     capability.Sets
	filter   *seccomp.Filter
	slave    int // terminal, or -1
	stdio    [3]int
	keyring  string // name of a new session keyring, or ""
	label    string // for /proc/self/attr/…, with labelAt
	labelAt  string
	persona  uintptr
	persona2 bool // persona is to be set
	memory   *memoryPolicy
	first    bool // of its container: the working directory is made where it is missing
}

// planIdentity decides what of the configuration can be given here.
func (r *Runtime) planIdentity(spec *specs.Spec, p *specs.Process, userns bool) (*identity, error) {
	id := &identity{process: p, slave: -1}
	own := capability.Own()
	if userns {
		own = ^capability.Set(0) // a new user namespace's root has them all, there
	}
	var warnings []string
	id.caps, warnings = capability.Plan(p.Capabilities, own)
	for _, w := range warnings {
		r.warn("%s", w)
	}
	if l := spec.Linux; l != nil {
		if l.Seccomp != nil {
			f, err := seccomp.Compile(l.Seccomp)
			if errors.Is(err, seccomp.ErrNotify) {
				return nil, fmt.Errorf("%w: %w", ErrUnsupported, err)
			}
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
			}
			if err := kernel.Seccomp.Check(); err != nil {
				return nil, err
			}
			id.filter = f
		}
		if l.Personality != nil {
			switch l.Personality.Domain {
			case specs.PerLinux:
				id.persona = 0
			case specs.PerLinux32:
				id.persona = 0x0008
			default:
				return nil, fmt.Errorf("%w: personality %q", ErrInvalid, l.Personality.Domain)
			}
			id.persona2 = true
		}
		var err error
		if id.memory, err = planMemoryPolicy(l.MemoryPolicy); err != nil {
			return nil, err
		}
	}
	switch {
	case p.ApparmorProfile != "" && kernel.AppArmor.Can():
		id.label, id.labelAt = "exec "+p.ApparmorProfile, "apparmor/exec"
	case p.ApparmorProfile != "":
		return nil, fmt.Errorf("%w: apparmorProfile %q: %w", ErrUnsupported, p.ApparmorProfile, kernel.AppArmor.Check())
	case p.SelinuxLabel != "" && kernel.SELinux.Can():
		id.label, id.labelAt = p.SelinuxLabel, "exec"
	case p.SelinuxLabel != "":
		return nil, fmt.Errorf("%w: selinuxLabel %q: %w", ErrUnsupported, p.SelinuxLabel, kernel.SELinux.Check())
	}
	return id, nil
}

// prepare adds the steps that need no privilege to be dropped: streams, terminal, working directory.
func (id *identity) prepare(p *child.Program) error {
	if id.slave >= 0 {
		for n := 0; n < 3; n++ {
			p.Call("set up terminal", unix.SYS_DUP3, uintptr(id.slave), uintptr(n), 0)
		}
		p.Call("take terminal", unix.SYS_IOCTL, 0, unix.TIOCSCTTY, 0)
	} else {
		for n, fd := range id.stdio {
			if fd == n {
				p.Call("keep stream", unix.SYS_FCNTL, uintptr(n), unix.F_SETFD, 0)
			} else {
				p.Call("set up stream", unix.SYS_DUP3, uintptr(fd), uintptr(n), 0)
			}
		}
	}
	if id.keyring != "" {
		name, err := p.String(id.keyring)
		if err != nil {
			return err
		}
		p.Call("join session keyring", unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, name).Tolerate(unix.ENOSYS, unix.EPERM, unix.EDQUOT)
	}
	if id.persona2 {
		p.Call("set personality", unix.SYS_PERSONALITY, id.persona)
	}
	id.memory.set(p)
	cwd := id.process.Cwd
	if cwd == "" {
		cwd = "/"
	}
	dir, err := p.String(cwd)
	if err != nil {
		return err
	}
	if id.first {
		if err := makeFolder(p, cwd); err != nil {
			return err
		}
	}
	p.Call("change to working directory "+cwd, unix.SYS_CHDIR, dir)
	p.Inside()
	umask := uintptr(0o022)
	if m := id.process.User.Umask; m != nil {
		umask = uintptr(*m)
	}
	p.Call("set umask", unix.SYS_UMASK, umask)
	if id.label != "" {
		root, err := kernel.Proc()
		if err != nil {
			return err
		}
		path, err := p.String("thread-self/attr/" + id.labelAt)
		if err != nil {
			return err
		}
		// The handle of procfs was proven by its parent; a process can label only itself.
		p.Call("open security label", unix.SYS_OPENAT, uintptr(root), path, unix.O_WRONLY|unix.O_CLOEXEC).Save(0)
		p.Call("set security label", unix.SYS_WRITE, 0, p.Bytes([]byte(id.label)), uintptr(len(id.label))).Load(0)
	}
	return nil
}

// makeFolder adds the steps that make a folder and those above it, for what the mounts hid or brought: a volume may lie there. No magic link is
// followed, as it could lead to a descriptor of the host's.
func makeFolder(p *child.Program, name string) error {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_MAGICLINKS}
	here := unix.AT_FDCWD
	above := "/"
	for _, part := range strings.Split(strings.Trim(path.Clean("/"+name), "/"), "/") {
		if part == "" {
			break
		}
		at, err := p.String(above)
		if err != nil {
			return err
		}
		last, err := p.String(part)
		if err != nil {
			return err
		}
		above = path.Join(above, part)
		why := "make working directory " + above
		p.Call(why, unix.SYS_OPENAT2, uintptr(here), at, p.Bytes(unsafe.Slice((*byte)(unsafe.Pointer(&how)), unsafe.Sizeof(how))), unsafe.Sizeof(how)).Save(0)
		p.Call(why, unix.SYS_MKDIRAT, 0, last, 0o755).Load(0).Tolerate(unix.EEXIST, unix.EROFS)
		p.Call(why, unix.SYS_CLOSE).Load(0)
	}
	return nil
}

// drop adds the steps that make the process what it will be.
func (id *identity) drop(p *child.Program) error {
	user := &id.process.User
	if id.process.NoNewPrivileges {
		p.Call("set no_new_privs", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1)
	} else {
		// Needs a privilege that the following steps take away.
		id.install(p)
	}
	for n := 0; n <= capability.Last(); n++ {
		if !id.caps.Bounding.Has(n) {
			p.Call("drop capability", unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, uintptr(n))
		}
	}
	p.Call("keep capabilities", unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1)
	groups := user.AdditionalGids
	set := p.Call("set additional groups", unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(child.Slice(p, groups))))
	if len(groups) == 0 {
		set.Tolerate(unix.EPERM) // a user namespace that denies setgroups has none to lose
	}
	p.Call("set group "+strconv.Itoa(int(user.GID)), unix.SYS_SETRESGID, uintptr(user.GID), uintptr(user.GID), uintptr(user.GID))
	p.Call("set user "+strconv.Itoa(int(user.UID)), unix.SYS_SETRESUID, uintptr(user.UID), uintptr(user.UID), uintptr(user.UID))
	header := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := []unix.CapUserData{
		{Effective: uint32(id.caps.Effective), Permitted: uint32(id.caps.Permitted), Inheritable: uint32(id.caps.Inheritable)},
		{Effective: uint32(id.caps.Effective >> 32), Permitted: uint32(id.caps.Permitted >> 32), Inheritable: uint32(id.caps.Inheritable >> 32)},
	}
	p.Call("set capabilities", unix.SYS_CAPSET, child.Pointer(p, header), uintptr(unsafe.Pointer(child.Slice(p, data))))
	p.Call("clear ambient capabilities", unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL).Tolerate(unix.EINVAL)
	for n := 0; n <= capability.Last(); n++ {
		if id.caps.Ambient.Has(n) {
			p.Call("set ambient capability", unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(n))
		}
	}
	if id.process.NoNewPrivileges {
		id.install(p)
	}
	return nil
}

// install adds the system call filter.
func (id *identity) install(p *child.Program) {
	if id.filter == nil {
		return
	}
	program := &unix.SockFprog{Len: uint16(len(id.filter.Program)), Filter: child.Slice(p, id.filter.Program)}
	p.Call("install seccomp filter", unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(id.filter.Flags), child.Pointer(p, program))
}

// programs are the files to try for a command, in order: itself if it has a slash, else below each folder of PATH.
func programs(command string, env []string) []string {
	if strings.Contains(command, "/") {
		return []string{command}
	}
	search := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			search = v
		}
	}
	var list []string
	for _, dir := range strings.Split(search, ":") {
		if dir == "" {
			dir = "."
		}
		list = append(list, path.Join(dir, command))
		if dir == "." {
			list[len(list)-1] = "./" + command
		}
	}
	return list
}

// findProgram looks in the calling thread's root for a file that can be executed, for an error that comes early and
// clearly. The process looks again, with its own rights.
func findProgram(p *specs.Process) error {
	command := p.Args[0]
	if command == "" {
		return &ProgramError{Program: command, Err: errNotInPath}
	}
	var last error = unix.ENOENT
	for _, c := range programs(command, p.Env) {
		if !path.IsAbs(c) {
			c = path.Join(p.Cwd, c)
		}
		var st unix.Stat_t
		if err := unix.Stat(c, &st); err != nil {
			// A link through /proc/self leads this thread, which is no process of the container, nowhere.
			if unix.Lstat(c, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK || strings.HasPrefix(c, "/proc/") {
				return nil
			}
			if last == unix.ENOENT {
				last = err
			}
			continue
		}
		switch {
		case st.Mode&unix.S_IFMT == unix.S_IFDIR:
			last = unix.EISDIR
		case st.Mode&0o111 == 0:
			last = unix.EACCES
		default:
			return nil
		}
	}
	if !strings.Contains(command, "/") && last == unix.ENOENT {
		return &ProgramError{Program: command, Err: errNotInPath}
	}
	return &ProgramError{Program: command, Err: last}
}

var errNotInPath = fmt.Errorf("executable file not found in $PATH: %w", unix.ENOENT)

// ProgramError: the container's program cannot be executed. The words are those that engines look for.
type ProgramError struct {
	Program string
	Err     error
}

func (e *ProgramError) Error() string { return fmt.Sprintf("exec: %q: %v", e.Program, e.Err) }
func (e *ProgramError) Unwrap() error { return e.Err }

// environment adds HOME from the container's own list of users if it is not set.
func environment(root int, p *specs.Process) []string {
	for _, e := range p.Env {
		if strings.HasPrefix(e, "HOME=") {
			return p.Env
		}
	}
	return append(append([]string{}, p.Env...), "HOME="+homeOf(root, p.User.UID))
}

// homeOf reads /etc/passwd inside the root; "/" if it does not tell.
func homeOf(root int, uid uint32) string {
	fd, err := kernel.OpenFileInRoot(root, "/etc/passwd")
	if err != nil {
		return "/"
	}
	f := os.NewFile(uintptr(fd), "passwd")
	defer f.Close()
	buf := make([]byte, 1<<20)
	n := 0
	for n < len(buf) {
		k, err := f.Read(buf[n:])
		if n += k; err != nil {
			break
		}
	}
	return parseHome(string(buf[:n]), uid)
}

func parseHome(passwd string, uid uint32) string {
	for line := range strings.Lines(passwd) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) >= 6 && f[2] == strconv.FormatUint(uint64(uid), 10) && f[5] != "" {
			return f[5]
		}
	}
	return "/"
}

// limits are set from outside, while the process waits.
func (r *Runtime) setLimits(pid int, p *specs.Process) error {
	for _, l := range p.Rlimits {
		n, ok := limits[l.Type]
		if !ok {
			return fmt.Errorf("%w: rlimit %q is unknown", ErrInvalid, l.Type)
		}
		limit := &unix.Rlimit{Cur: l.Soft, Max: l.Hard}
		err := unix.Prlimit(pid, n, limit, nil)
		if err == unix.EPERM && !kernel.RaiseLimits.Can() {
			// Without the right to raise, as much as there is.
			var old unix.Rlimit
			if unix.Prlimit(pid, n, nil, &old) == nil {
				r.warn("rlimit %s: hard limit %d cannot be raised to %d here and stays", l.Type, old.Max, l.Hard)
				limit = &unix.Rlimit{Cur: min(l.Soft, old.Max), Max: min(l.Hard, old.Max)}
				err = unix.Prlimit(pid, n, limit, nil)
			}
		}
		if err != nil {
			return fmt.Errorf("set rlimit %s: %w", l.Type, err)
		}
	}
	if p.OOMScoreAdj != nil {
		err := kernel.WriteProc(strconv.Itoa(pid)+"/oom_score_adj", strconv.Itoa(*p.OOMScoreAdj))
		if errors.Is(err, unix.EACCES) && !kernel.RaiseLimits.Can() {
			r.warn("oom_score_adj %d is below what may be set here and left out", *p.OOMScoreAdj)
			err = nil
		}
		if err != nil {
			return fmt.Errorf("set oom_score_adj: %w", err)
		}
	}
	if s := p.Scheduler; s != nil {
		if err := setScheduler(pid, s); err != nil {
			return err
		}
	}
	if io := p.IOPriority; io != nil {
		class, ok := map[specs.IOPriorityClass]int{specs.IOPRIO_CLASS_RT: 1, specs.IOPRIO_CLASS_BE: 2, specs.IOPRIO_CLASS_IDLE: 3}[io.Class]
		if !ok {
			return fmt.Errorf("%w: ioPriority class %q is unknown", ErrInvalid, io.Class)
		}
		if _, _, e := unix.Syscall(unix.SYS_IOPRIO_SET, 1, uintptr(pid), uintptr(class<<13|io.Priority)); e != 0 {
			return fmt.Errorf("set I/O priority: %w", e)
		}
	}
	return nil
}

var limits = map[string]int{"RLIMIT_CPU": unix.RLIMIT_CPU, "RLIMIT_FSIZE": unix.RLIMIT_FSIZE, "RLIMIT_DATA": unix.RLIMIT_DATA,
	"RLIMIT_STACK": unix.RLIMIT_STACK, "RLIMIT_CORE": unix.RLIMIT_CORE, "RLIMIT_RSS": unix.RLIMIT_RSS, "RLIMIT_NPROC": unix.RLIMIT_NPROC,
	"RLIMIT_NOFILE": unix.RLIMIT_NOFILE, "RLIMIT_MEMLOCK": unix.RLIMIT_MEMLOCK, "RLIMIT_AS": unix.RLIMIT_AS, "RLIMIT_LOCKS": unix.RLIMIT_LOCKS,
	"RLIMIT_SIGPENDING": unix.RLIMIT_SIGPENDING, "RLIMIT_MSGQUEUE": unix.RLIMIT_MSGQUEUE, "RLIMIT_NICE": unix.RLIMIT_NICE,
	"RLIMIT_RTPRIO": unix.RLIMIT_RTPRIO, "RLIMIT_RTTIME": unix.RLIMIT_RTTIME}

var policies = map[specs.LinuxSchedulerPolicy]uint32{specs.SchedOther: 0, specs.SchedFIFO: 1, specs.SchedRR: 2, specs.SchedBatch: 3, specs.SchedISO: 4,
	specs.SchedIdle: 5, specs.SchedDeadline: 6}

var schedulerFlags = map[specs.LinuxSchedulerFlag]uint64{specs.SchedFlagResetOnFork: 1, specs.SchedFlagReclaim: 2, specs.SchedFlagDLOverrun: 4,
	specs.SchedFlagKeepPolicy: 8, specs.SchedFlagKeepParams: 16, specs.SchedFlagUtilClampMin: 32, specs.SchedFlagUtilClampMax: 64}

func setScheduler(pid int, s *specs.Scheduler) error {
	policy, ok := policies[s.Policy]
	if !ok {
		return fmt.Errorf("%w: scheduler policy %q is unknown", ErrInvalid, s.Policy)
	}
	// struct sched_attr of linux/sched/types.h, its first version.
	attr := struct {
		size, policy              uint32
		flags                     uint64
		nice                      int32
		priority                  uint32
		runtime, deadline, period uint64
	}{policy: policy, nice: s.Nice, priority: uint32(s.Priority), runtime: s.Runtime, deadline: s.Deadline, period: s.Period}
	attr.size = uint32(unsafe.Sizeof(attr))
	for _, f := range s.Flags {
		bit, ok := schedulerFlags[f]
		if !ok {
			return fmt.Errorf("%w: scheduler flag %q is unknown", ErrInvalid, f)
		}
		attr.flags |= bit
	}
	_, _, e := unix.Syscall(unix.SYS_SCHED_SETATTR, uintptr(pid), uintptr(unsafe.Pointer(&attr)), 0)
	runtime.KeepAlive(&attr)
	if e != 0 {
		return fmt.Errorf("set scheduler: %w", e)
	}
	return nil
}
