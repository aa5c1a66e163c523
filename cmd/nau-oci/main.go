// Command nau-oci is an OCI container runtime, and the monitor that keeps an instance's containers. It is small on
// purpose: it is executed on the way to every container that another engine starts, and sits in memory for as long as
// any container lives. Flags and output only; the work is in internal/oci.
// No look at the cgroup for the number of processors at every start: this program is short or idle.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"nau/internal/oci"
)

// global flags, as runc names them.
type global struct {
	root      string
	log       string
	logFormat string
	debug     bool
	logFile   io.Writer
}

type command struct {
	name, args, does string
	run              func(g *global, args []string) error
}

func commands() []command {
	return []command{
		{"create", "[flags] ID", "make a container and leave its program waiting for start", create},
		{"start", "ID", "let a created container's program run", start},
		{"run", "[flags] ID", "create, start, wait and delete", run},
		{"exec", "[flags] ID COMMAND [ARG…]", "run one more process in a container", execCommand},
		{"state", "ID", "print a container's state", state},
		{"kill", "[--all] ID [SIGNAL]", "send a signal to a container's first process", kill},
		{"delete", "[--force] ID", "remove a stopped container", remove},
		{"list", "[--format table|json] [--quiet]", "list containers", list},
		{"ps", "[--format table|json] ID", "list a container's processes", ps},
		{"pause", "ID", "freeze a container", pause},
		{"resume", "ID", "thaw a container", resume},
		{"update", "[flags] ID", "change a container's limits", update},
		{"events", "[--stats] [--interval DURATION] ID", "print a container's resource figures and out-of-memory events", events},
		{"spec", "[--bundle DIR]", "write an example config.json", spec},
		{"hold", "[-- COMMAND [ARG…]]", "be process 1 of a PID namespace: reap, until SIGTERM or the command's end", hold},
		{"features", "", "print what this runtime can do", features},
		{"monitor", "--socket PATH --state DIR", "keep an instance's containers", monitorCommand},
	}
}

func main() {
	if filepath.Base(os.Args[0]) == initName {
		os.Exit(dispatch(append([]string{"hold"}, os.Args[1:]...)))
	}
	os.Exit(dispatch(os.Args[1:]))
}

// exitCode is a container's exit code on its way to our own.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func dispatch(args []string) int {
	g := &global{logFile: os.Stderr}
	flags := newFlags("nau-oci")
	flags.StringVar(&g.root, "root", defaultRoot(), "folder of the containers' records, on a tmpfs")
	flags.StringVar(&g.log, "log", "", "file for messages")
	flags.StringVar(&g.logFormat, "log-format", "text", "text or json")
	flags.BoolVar(&g.debug, "debug", false, "more messages")
	systemd := flags.Bool("systemd-cgroup", false, "refused: cgroups are made in the file system")
	version := flags.Bool("version", false, "print the version")
	flags.BoolVar(version, "v", false, "print the version")
	_ = flags.String("rootless", "auto", "ignored")
	_ = flags.String("criu", "", "ignored")
	if err := flags.Parse(args); err != nil {
		return usage(err)
	}
	if *version {
		fmt.Printf("nau-oci version %s\nspec: %s\n", oci.Version, oci.SpecVersion)
		return 0
	}
	if g.log != "" {
		f, err := os.OpenFile(g.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			fmt.Fprintf(os.Stderr, "nau-oci: open log: %v\n", err)
			return 1
		}
		g.logFile = f
	}
	rest := flags.Args()
	if len(rest) == 0 {
		return usage(errors.New("a command is missing"))
	}
	if *systemd {
		return g.fail(fmt.Errorf("%w: --systemd-cgroup: configure the engine for the cgroupfs driver", oci.ErrUnsupported))
	}
	for _, c := range commands() {
		if c.name == rest[0] {
			err := c.run(g, rest[1:])
			var code exitCode
			switch {
			case err == nil:
				return 0
			case errors.As(err, &code):
				return int(code)
			case errors.Is(err, flag.ErrHelp):
				return 0
			}
			return g.fail(err)
		}
	}
	return usage(fmt.Errorf("unknown command %q", rest[0]))
}

func newFlags(name string) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(os.Stderr)
	return f
}

func defaultRoot() string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" && os.Geteuid() != 0 {
		return dir + "/nau-oci"
	}
	return "/run/nau-oci"
}

func usage(err error) int {
	if errors.Is(err, flag.ErrHelp) {
		err = nil
	}
	out := os.Stdout
	if err != nil {
		out = os.Stderr
		fmt.Fprintf(out, "nau-oci: %v\n\n", err)
	}
	fmt.Fprintln(out, "usage: nau-oci [--root DIR] [--log FILE] [--log-format text|json] COMMAND …")
	for _, c := range commands() {
		fmt.Fprintf(out, "  %-9s %-36s %s\n", c.name, c.args, c.does)
	}
	if err != nil {
		return 1
	}
	return 0
}

// fail tells an error where the caller looks for it.
func (g *global) fail(err error) int {
	g.message("error", err.Error())
	if g.log != "" {
		fmt.Fprintf(os.Stderr, "nau-oci: %v\n", err)
	}
	return 1
}

func (g *global) message(level, text string) {
	if g.logFormat == "json" {
		_ = json.NewEncoder(g.logFile).Encode(map[string]string{"level": level, "msg": text, "time": time.Now().UTC().Format(time.RFC3339)})
		return
	}
	fmt.Fprintf(g.logFile, "nau-oci: %s: %s\n", level, text)
}

func (g *global) runtime() *oci.Runtime {
	r := &oci.Runtime{Root: g.root}
	if g.log != "" || g.debug {
		r.Warn = func(text string) { g.message("warning", text) }
	}
	return r
}

// one parses flags and expects one argument, the container.
func one(flags *flag.FlagSet, args []string) (string, error) {
	if err := flags.Parse(args); err != nil {
		return "", err
	}
	if flags.NArg() != 1 {
		return "", fmt.Errorf("%s: one container id is expected, %d arguments are given", flags.Name(), flags.NArg())
	}
	return flags.Arg(0), nil
}

func (g *global) load(name string, args []string) (*oci.Container, error) {
	id, err := one(newFlags(name), args)
	if err != nil {
		return nil, err
	}
	return g.runtime().Load(id)
}
