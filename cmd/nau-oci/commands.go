package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"nau/internal/oci"
)

func printJSON(v any) error {
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// stateOf is the state operation's answer with what engines like to know beside.
type stateOf struct {
	specs.State
	Rootfs  string    `json:"rootfs"`
	Created time.Time `json:"created"`
	Owner   string    `json:"owner"`
}

func describe(c *oci.Container) stateOf {
	s := stateOf{State: c.State(), Created: c.Created()}
	if root := c.Spec().Root; root != nil {
		s.Rootfs = root.Path
		if !filepath.IsAbs(s.Rootfs) {
			s.Rootfs = filepath.Join(c.Bundle(), s.Rootfs)
		}
	}
	return s
}

func state(g *global, args []string) error {
	c, err := g.load("state", args)
	if err != nil {
		return err
	}
	return printJSON(describe(c))
}

func kill(g *global, args []string) error {
	f := newFlags("kill")
	var all bool
	f.BoolVar(&all, "all", false, "send it to all processes of the container")
	f.BoolVar(&all, "a", false, "all")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() < 1 || f.NArg() > 2 {
		return fmt.Errorf("kill: a container id and a signal are expected")
	}
	sig := syscall.SIGTERM
	if f.NArg() == 2 {
		var err error
		if sig, err = parseSignal(f.Arg(1)); err != nil {
			return err
		}
	}
	c, err := g.runtime().Load(f.Arg(0))
	if err != nil {
		return err
	}
	// Without a PID namespace of its own, ending the first process leaves the others.
	if all || sig == unix.SIGKILL && !c.OwnsPIDs() {
		return c.SignalAll(sig)
	}
	return c.Signal(sig)
}

func parseSignal(text string) (syscall.Signal, error) {
	if n, err := strconv.Atoi(text); err == nil {
		if n < 0 || n > 64 {
			return 0, fmt.Errorf("kill: signal %d does not exist", n)
		}
		return syscall.Signal(n), nil
	}
	name := strings.ToUpper(text)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if n := unix.SignalNum(name); n != 0 {
		return n, nil
	}
	return 0, fmt.Errorf("kill: unknown signal %q", text)
}

func remove(g *global, args []string) error {
	f := newFlags("delete")
	var force bool
	f.BoolVar(&force, "force", false, "kill it first, and be content if there is none")
	f.BoolVar(&force, "f", false, "force")
	id, err := one(f, args)
	if err != nil {
		return err
	}
	r := g.runtime()
	c, err := r.Load(id)
	if err != nil {
		if force && isNotFound(err) {
			return r.Discard(id)
		}
		return err
	}
	return c.Delete(force)
}

func list(g *global, args []string) error {
	f := newFlags("list")
	var format string
	var quiet bool
	f.StringVar(&format, "format", "table", "table or json")
	f.StringVar(&format, "f", "table", "format")
	f.BoolVar(&quiet, "quiet", false, "names only")
	f.BoolVar(&quiet, "q", false, "quiet")
	if err := f.Parse(args); err != nil {
		return err
	}
	all, err := g.runtime().List()
	if err != nil {
		return err
	}
	if quiet {
		for _, c := range all {
			fmt.Println(c.ID())
		}
		return nil
	}
	if format == "json" {
		states := []stateOf{}
		for _, c := range all {
			states = append(states, describe(c))
		}
		return json.NewEncoder(os.Stdout).Encode(states)
	}
	rows := [][]string{{"ID", "PID", "STATUS", "BUNDLE", "CREATED"}}
	for _, c := range all {
		s := describe(c)
		rows = append(rows, []string{s.ID, strconv.Itoa(s.Pid), string(s.Status), s.Bundle, s.Created.Format(time.RFC3339Nano)})
	}
	table(os.Stdout, rows)
	return nil
}

// table writes columns as wide as they need to be.
func table(w io.Writer, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, r := range rows {
		for i, cell := range r {
			widths[i] = max(widths[i], len(cell))
		}
	}
	for _, r := range rows {
		var b strings.Builder
		for i, cell := range r {
			b.WriteString(cell)
			if i < len(r)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-len(cell)+3))
			}
		}
		fmt.Fprintln(w, b.String())
	}
}

func ps(g *global, args []string) error {
	f := newFlags("ps")
	var format string
	f.StringVar(&format, "format", "table", "table or json")
	f.StringVar(&format, "f", "table", "format")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() < 1 {
		return fmt.Errorf("ps: a container id is expected")
	}
	c, err := g.runtime().Load(f.Arg(0))
	if err != nil {
		return err
	}
	pids, err := c.Processes()
	if err != nil {
		return err
	}
	sort.Ints(pids)
	if format == "json" {
		if pids == nil {
			pids = []int{}
		}
		return json.NewEncoder(os.Stdout).Encode(pids)
	}
	rows := [][]string{{"UID", "PID", "PPID", "CMD"}}
	for _, pid := range pids {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue
		}
		field := func(name string) string {
			_, rest, _ := strings.Cut(string(status), "\n"+name+":")
			line, _, _ := strings.Cut(rest, "\n")
			word := strings.Fields(line)
			if len(word) == 0 {
				return ""
			}
			return word[0]
		}
		cmd, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		rows = append(rows, []string{field("Uid"), strconv.Itoa(pid), field("PPid"), strings.TrimSpace(strings.ReplaceAll(string(cmd), "\x00", " "))})
	}
	table(os.Stdout, rows)
	return nil
}

func pause(g *global, args []string) error {
	c, err := g.load("pause", args)
	if err != nil {
		return err
	}
	return c.Pause()
}

func resume(g *global, args []string) error {
	c, err := g.load("resume", args)
	if err != nil {
		return err
	}
	return c.Resume()
}

func isNotFound(err error) bool { return errors.Is(err, oci.ErrNotFound) }
