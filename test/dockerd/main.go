// Command dockerd stands where other projects' tests start a daemon of their own by that name: it starts `nau up` with what the flags mean
// there, and does to it what Docker's daemon does to itself. Without --live-restore containers end with it. It is for tests only and decides
// nothing about containers. A flag without a counterpart is refused, so that a test which needs it fails by it.
//
//	NAU=PROGRAM         what to start
//	NAU_DAEMONS=FOLDER  where each data root gets a number, and with it ports and ranges of its own; a line there says where it lives
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "dockerd:", err)
		os.Exit(1)
	}
}

// lacking begins what is said of a setting that Nau does not have.
const lacking = "no counterpart in nau"

// daemon is what the flags ask for.
type daemon struct {
	root, execRoot, pidFile, config string
	hosts                           []string
	liveRestore                     bool
	nau                             []string // flags of `nau up`
}

// ignored are flags whose meaning has no place in Nau: it has no containerd, proxy process or rules in the tables that they are about.
var ignored = []string{"containerd", "containerd-namespace", "containerd-plugins-namespace", "userland-proxy", "iptables", "ip6tables", "oom-score-adjust"}

// passed are those that `nau up` has by the name on the right.
var passed = map[string]string{
	"insecure-registry": "insecure-registry", "cdi-spec-dir": "cdi-spec-dir", "userns-remap": "userns-remap",
	"default-runtime": "default-runtime", "add-runtime": "runtime",
}

func (d *daemon) flags() *flag.FlagSet {
	f := flag.NewFlagSet("dockerd", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&d.root, "data-root", "", "")
	f.StringVar(&d.execRoot, "exec-root", "", "")
	f.StringVar(&d.pidFile, "pidfile", "", "")
	f.StringVar(&d.config, "config-file", "", "")
	f.BoolVar(&d.liveRestore, "live-restore", false, "")
	host := func(text string) error { d.hosts = append(d.hosts, text); return nil }
	f.Func("host", "", host)
	f.Func("H", "", host)
	debug := func(string) error { d.nau = append(d.nau, "--log-level=debug"); return nil }
	f.BoolFunc("debug", "", debug)
	f.BoolFunc("D", "", debug)
	f.Func("log-level", "", func(level string) error { d.nau = append(d.nau, "--log-level="+level); return nil })
	f.BoolFunc("experimental", "", func(text string) error { d.nau = append(d.nau, "--experimental="+text); return nil })
	f.Func("registry-mirror", "", func(url string) error {
		d.nau = append(d.nau, "--registry-mirror=docker.io="+url)
		return nil
	})
	for _, name := range ignored {
		f.Func(name, "", func(string) error { return nil })
	}
	for name, to := range passed {
		f.Func(name, "", func(text string) error { d.nau = append(d.nau, "--"+to+"="+text); return nil })
	}
	return f
}

// lists are the settings of daemon.json that hold many of a flag.
var lists = map[string]string{"hosts": "host", "registry-mirrors": "registry-mirror", "insecure-registries": "insecure-registry", "cdi-spec-dirs": "cdi-spec-dir"}

// configured reads daemon.json, whose settings have the names of the flags.
func (d *daemon) configured(f *flag.FlagSet) error {
	if d.config == "" {
		return nil
	}
	text, err := os.ReadFile(d.config)
	if err != nil || len(text) == 0 {
		return err
	}
	var settings map[string]any
	if err := json.Unmarshal(text, &settings); err != nil {
		return fmt.Errorf("read %s: %w", d.config, err)
	}
	for name, value := range settings {
		values := []any{value}
		if one, ok := lists[name]; ok {
			if values, ok = value.([]any); !ok {
				return fmt.Errorf("setting %s of %s: no list", name, d.config)
			}
			name = one
		}
		for _, v := range values {
			if err := f.Set(name, fmt.Sprint(v)); err != nil {
				return fmt.Errorf("%s: setting %s of %s: %w", lacking, name, d.config, err)
			}
		}
	}
	return nil
}

func run(args []string) error {
	d := &daemon{}
	f := d.flags()
	if err := f.Parse(args); err != nil {
		return fmt.Errorf("%s: %w", lacking, err)
	}
	if err := d.configured(f); err != nil {
		return err
	}
	folder := os.Getenv("NAU_DAEMONS")
	if folder == "" {
		return errors.New(lacking + ": NAU_DAEMONS is not set: no daemons here")
	}
	number, fresh, err := d.number(folder)
	if err != nil {
		return err
	}
	for _, host := range d.hosts {
		path, local := strings.CutPrefix(host, "unix://")
		if !local {
			return fmt.Errorf("%s: --host %s: only unix:// is known here", lacking, host)
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.Symlink(filepath.Join(d.execRoot, "docker.sock"), path); err != nil {
			return err
		}
	}
	if !d.liveRestore && !fresh {
		if err := d.down(); err != nil { // what a daemon that was killed left behind
			return err
		}
	}
	if err := os.WriteFile(d.pidFile, []byte(strconv.Itoa(os.Getpid())), 0o644); err != nil {
		return err
	}
	return d.up(number)
}

// number is the root's own among the daemons of this machine, from its first start on.
func (d *daemon) number(folder string) (n int, fresh bool, err error) {
	if err := os.MkdirAll(d.root, 0o711); err != nil {
		return 0, false, err
	}
	kept := filepath.Join(d.root, "number")
	if text, err := os.ReadFile(kept); err == nil {
		n, err = strconv.Atoi(string(text))
		return n, false, err
	}
	for n = 1; ; n++ {
		f, err := os.OpenFile(filepath.Join(folder, strconv.Itoa(n)), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return 0, false, err
		}
		fmt.Fprintf(f, "%s\n%s\n", d.root, d.execRoot)
		if err := f.Close(); err != nil {
			return 0, false, err
		}
		return n, true, os.WriteFile(kept, []byte(strconv.Itoa(n)), 0o644)
	}
}

func (d *daemon) command(verb string, flags ...string) *exec.Cmd {
	cmd := exec.Command(os.Getenv("NAU"), slices.Concat([]string{verb, "--data-dir", d.root, "--run-dir", d.execRoot}, flags)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd
}

func (d *daemon) down() error { return d.command("down").Run() }

// up runs Nau until it ends, by itself or by a signal that comes here.
func (d *daemon) up(number int) error {
	runtime.LockOSThread() // the one whose end is Nau's
	cmd := d.command("up", slices.Concat(d.nau, []string{
		"--node-name", fmt.Sprintf("daemon-%d", number),
		"--api-port", strconv.Itoa(20000 + 3*number), "--agent-port", strconv.Itoa(20001 + 3*number), "--registry-port", strconv.Itoa(20002 + 3*number),
		"--pod-cidr", fmt.Sprintf("10.%d.0.0/17,fd44:%x::/64", 100+number%150, number), "--service-cidr", fmt.Sprintf("10.%d.128.0/17,fd45:%x::/112", 100+number%150, number),
	})...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	told := false
	for {
		select {
		case err := <-ended:
			if told { // what is interrupted before it is Ready ends with an error, there
				return nil
			}
			return err
		case s := <-signals:
			ends := s == syscall.SIGINT || s == syscall.SIGTERM
			told = told || ends
			if ends && !d.liveRestore {
				if err := d.down(); err != nil {
					return err
				}
				continue
			}
			if err := cmd.Process.Signal(s); err != nil {
				return err
			}
		}
	}
}
