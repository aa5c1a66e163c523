package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"nau/internal/kernel"
	"nau/internal/oci"
)

type createFlags struct {
	bundle, console, pidFile string
	preserve                 int
	noPivot, noKeyring       bool
}

func (c *createFlags) bind(f *flag.FlagSet) {
	f.StringVar(&c.bundle, "bundle", "", "folder of config.json (default: the current one)")
	f.StringVar(&c.bundle, "b", "", "bundle")
	f.StringVar(&c.console, "console-socket", "", "unix socket that is sent the terminal's outer end")
	f.StringVar(&c.pidFile, "pid-file", "", "file the process's number is written to")
	f.IntVar(&c.preserve, "preserve-fds", 0, "descriptors from 3 on to pass on")
	f.BoolVar(&c.noPivot, "no-pivot", false, "change root without pivot_root")
	f.BoolVar(&c.noKeyring, "no-new-keyring", false, "keep the session keyring")
	_ = f.Bool("no-subreaper", false, "ignored")
}

func (c *createFlags) options(id string) oci.CreateOptions {
	bundle := c.bundle
	if bundle == "" {
		bundle = "."
	}
	if extra, err := strconv.Atoi(os.Getenv("LISTEN_FDS")); err == nil && extra > 0 {
		c.preserve += extra
	}
	return oci.CreateOptions{ID: id, Bundle: bundle, Stdio: [3]int{0, 1, 2}, PreserveFDs: c.preserve, NoPivot: c.noPivot, NoKeyring: c.noKeyring}
}

func create(g *global, args []string) error {
	if err := seal(); err != nil {
		return err
	}
	var c createFlags
	f := newFlags("create")
	c.bind(f)
	id, err := one(f, args)
	if err != nil {
		return err
	}
	container, err := g.create(&c, id)
	if err != nil {
		return err
	}
	kernel.Close(container.Pidfd, container.Console)
	return nil
}

// create makes a container and hands out its terminal and number.
func (g *global) create(c *createFlags, id string) (*oci.Container, error) {
	container, err := g.runtime().Create(c.options(id))
	if err != nil {
		return nil, err
	}
	err = func() error {
		if c.console != "" {
			if container.Console < 0 {
				return errors.New("send terminal: the configuration asks for none")
			}
			if err := sendTerminal(c.console, container.Console); err != nil {
				return err
			}
		}
		if c.pidFile != "" {
			return writePid(c.pidFile, container.Pid())
		}
		return nil
	}()
	if err != nil {
		return nil, errors.Join(err, container.Delete(true))
	}
	return container, nil
}

// writePid appears whole or not at all: others watch for the file.
func writePid(path string, pid int) error {
	fresh := filepath.Join(filepath.Dir(path), "."+filepath.Base(path))
	if err := os.WriteFile(fresh, []byte(strconv.Itoa(pid)), 0o644); err != nil {
		return fmt.Errorf("write pid file: %w", err)
	}
	return os.Rename(fresh, path)
}

// sendTerminal passes a descriptor over a unix socket, with a name as its message.
func sendTerminal(path string, master int) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return fmt.Errorf("send terminal: connect %s: %w", path, err)
	}
	if err := unix.Sendmsg(fd, []byte("/dev/ptmx"), unix.UnixRights(master), nil, 0); err != nil {
		return fmt.Errorf("send terminal: %w", err)
	}
	return nil
}

func start(g *global, args []string) error {
	c, err := g.load("start", args)
	if err != nil {
		return err
	}
	return c.Start()
}

// passedOn are the signals that a container in the foreground gets from us. Not all there are: each costs a system call at
// the start, and real-time signals are nobody's way to reach a container.
var passedOn = []os.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGCONT, unix.SIGTSTP,
	unix.SIGTTIN, unix.SIGTTOU, unix.SIGWINCH}

func run(g *global, args []string) error {
	if err := seal(); err != nil {
		return err
	}
	var c createFlags
	f := newFlags("run")
	c.bind(f)
	var detach, keep bool
	f.BoolVar(&detach, "detach", false, "return when the program runs")
	f.BoolVar(&detach, "d", false, "detach")
	f.BoolVar(&keep, "keep", false, "do not delete the container when it has ended")
	id, err := one(f, args)
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 64)
	if !detach {
		signal.Notify(signals, passedOn...)
	}
	container, err := g.create(&c, id)
	if err != nil {
		return err
	}
	defer kernel.Close(container.Pidfd)
	if detach {
		kernel.Close(container.Console)
		if err := container.Start(); err != nil {
			return errors.Join(err, container.Delete(true))
		}
		return nil
	}
	term := joinTerminal(container.Console, c.console == "")
	defer term.restore()
	if err := container.Start(); err != nil {
		return errors.Join(err, container.Delete(true))
	}
	code := supervise(container.Pid(), container.Pidfd, signals, term)
	if !keep {
		if err := container.Delete(true); err != nil {
			return err
		}
	}
	if code != 0 {
		return exitCode(code)
	}
	return nil
}

func execCommand(g *global, args []string) error {
	if err := seal(); err != nil {
		return err
	}
	f := newFlags("exec")
	var (
		console, pidFile, processFile, cwd, user, apparmor, label, sub string
		tty, detach, nnp, ignoredBool                                  bool
		preserve                                                       int
		env, caps, groups                                              list_
	)
	f.StringVar(&console, "console-socket", "", "unix socket that is sent the terminal's outer end")
	f.StringVar(&pidFile, "pid-file", "", "file the process's number is written to")
	f.StringVar(&processFile, "process", "", "file with the process's configuration")
	f.StringVar(&processFile, "p", "", "process")
	f.StringVar(&cwd, "cwd", "", "working directory")
	f.StringVar(&user, "user", "", "UID[:GID]")
	f.StringVar(&user, "u", "", "user")
	f.StringVar(&apparmor, "apparmor", "", "AppArmor profile")
	f.StringVar(&label, "process-label", "", "SELinux label")
	f.StringVar(&sub, "cgroup", "", "refused unless empty")
	f.BoolVar(&tty, "tty", false, "give it a terminal")
	f.BoolVar(&tty, "t", false, "tty")
	f.BoolVar(&detach, "detach", false, "return when the program runs")
	f.BoolVar(&detach, "d", false, "detach")
	f.BoolVar(&nnp, "no-new-privs", false, "set no_new_privs")
	f.BoolVar(&ignoredBool, "ignore-paused", false, "ignored")
	f.IntVar(&preserve, "preserve-fds", 0, "descriptors from 3 on to pass on")
	f.Var(&env, "env", "NAME=VALUE, repeatable")
	f.Var(&env, "e", "env")
	f.Var(&caps, "cap", "capability to add, repeatable")
	f.Var(&caps, "c", "cap")
	f.Var(&groups, "additional-gids", "additional group, repeatable")
	f.Var(&groups, "g", "additional-gids")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() < 1 || processFile == "" && f.NArg() < 2 {
		return errors.New("exec: a container id and a command are expected")
	}
	if sub != "" && sub != "/" {
		return fmt.Errorf("exec: %w: --cgroup", oci.ErrUnsupported)
	}
	c, err := g.runtime().Load(f.Arg(0))
	if err != nil {
		return err
	}
	var p *specs.Process
	if processFile != "" {
		b, err := os.ReadFile(processFile)
		if err != nil {
			return fmt.Errorf("exec: read process: %w", err)
		}
		p = &specs.Process{}
		if err := json.Unmarshal(b, p); err != nil {
			return fmt.Errorf("exec: decode process: %w", err)
		}
	} else {
		own := specs.Process{Cwd: "/"}
		if configured := c.Spec().Process; configured != nil {
			own = *configured
		}
		p = &own
		p.Args, p.Terminal = f.Args()[1:], tty
		p.Env = append(append([]string{}, p.Env...), env...)
		if cwd != "" {
			p.Cwd = cwd
		}
		if nnp {
			p.NoNewPrivileges = true
		}
		if apparmor != "" {
			p.ApparmorProfile = apparmor
		}
		if label != "" {
			p.SelinuxLabel = label
		}
		if user != "" {
			if err := parseUser(user, &p.User); err != nil {
				return err
			}
		}
		for _, text := range groups {
			n, err := strconv.ParseUint(text, 10, 32)
			if err != nil {
				return fmt.Errorf("exec: additional group %q: %w", text, err)
			}
			p.User.AdditionalGids = append(p.User.AdditionalGids, uint32(n))
		}
		if len(caps) > 0 {
			p.Capabilities = addCapabilities(p.Capabilities, caps)
		}
	}
	signals := make(chan os.Signal, 64)
	if !detach {
		signal.Notify(signals, passedOn...)
	}
	process, err := c.Exec(oci.ExecOptions{Process: p, Stdio: [3]int{0, 1, 2}, PreserveFDs: preserve})
	if err != nil {
		g.fail(err)
		return exitCode(255)
	}
	defer kernel.Close(process.Pidfd)
	if console != "" && process.Console >= 0 {
		if err := sendTerminal(console, process.Console); err != nil {
			return err
		}
	}
	if pidFile != "" {
		if err := writePid(pidFile, process.Pid); err != nil {
			return err
		}
	}
	if detach {
		return nil
	}
	term := joinTerminal(process.Console, console == "")
	defer term.restore()
	if code := supervise(process.Pid, process.Pidfd, signals, term); code != 0 {
		return exitCode(code)
	}
	return nil
}

// list_ is a flag that may be given often, with commas too.
type list_ []string

func (l *list_) String() string { return strings.Join(*l, ",") }

func (l *list_) Set(v string) error {
	*l = append(*l, v)
	return nil
}

func parseUser(text string, u *specs.User) error {
	uid, gid, both := strings.Cut(text, ":")
	n, err := strconv.ParseUint(uid, 10, 32)
	if err != nil {
		return fmt.Errorf("exec: user %q: a number is expected", text)
	}
	u.UID = uint32(n)
	if both {
		if n, err = strconv.ParseUint(gid, 10, 32); err != nil {
			return fmt.Errorf("exec: group in %q: a number is expected", text)
		}
		u.GID = uint32(n)
	}
	return nil
}

func addCapabilities(have *specs.LinuxCapabilities, add []string) *specs.LinuxCapabilities {
	c := specs.LinuxCapabilities{}
	if have != nil {
		c = *have
	}
	c.Bounding = append(append([]string{}, c.Bounding...), add...)
	c.Effective = append(append([]string{}, c.Effective...), add...)
	c.Permitted = append(append([]string{}, c.Permitted...), add...)
	return &c
}
