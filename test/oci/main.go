// Command oci runs the programs of OCI's runtime validation (opencontainers/runtime-tools) against several runtimes in turn
// and prints one Markdown table: a row a program, a column a runtime, with what failed below. Root only.
//
//	test/clients/build.sh oci-validation
//	go run ./test/oci -programs DIR -rootfs rootfs-amd64.tar.gz /tmp/nau-oci runc crun
//
// A runtime that refuses a cgroup2 mount beside version 1 (crun before 1.20) is run in a mount namespace without that mount.
// It judges nothing itself: what a program says in TAP is what counts. Only people and docs/oci-validation.md use it.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"time"
)

// allowed is how long a program may take; the slowest that ends by itself takes a few seconds on a real machine.
var allowed = flag.Duration("allowed", 30*time.Second, "how long a program may take")

func main() {
	programs := flag.String("programs", "", "folder with the built validation programs and runtimetest")
	rootfs := flag.String("rootfs", "", "runtime-tools' root file system archive")
	only := flag.String("only", "", "run the programs alone whose names are this expression, and show all that they say")
	skip := flag.String("skip", "", "leave out the programs whose names match this expression")
	flag.Parse()
	if *programs == "" || *rootfs == "" || flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*programs, *rootfs, *only, *skip, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "oci:", err)
		os.Exit(1)
	}
}

func run(programs, rootfs, only, skip string, runtimes []string) error {
	without, err := regexp.Compile(skip)
	if err != nil {
		return fmt.Errorf("-skip: %w", err)
	}
	alone, err := regexp.Compile("^(?:" + only + ")$")
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	programs, err = filepath.Abs(programs)
	if err != nil {
		return err
	}
	names, err := list(programs)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "oci-validation-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	// The programs look for both where they run.
	for to, from := range map[string]string{filepath.Base(rootfs): rootfs, "runtimetest": filepath.Join(programs, "runtimetest")} {
		if err := copyFile(filepath.Join(dir, to), from); err != nil {
			return err
		}
	}
	for i, r := range runtimes {
		if runtimes[i], err = exec.LookPath(r); err != nil {
			return err
		}
		if runtimes[i], err = filepath.Abs(runtimes[i]); err != nil {
			return err
		}
	}
	header := "| program |"
	for _, r := range runtimes {
		header += " " + filepath.Base(r) + " |"
	}
	fmt.Println(header)
	fmt.Println("|---" + strings.Repeat("|---", len(runtimes)) + "|")
	passed := make([]int, len(runtimes))
	var details []string
	for _, name := range names {
		if only != "" && !alone.MatchString(name) || skip != "" && without.MatchString(name) {
			continue
		}
		row := "| " + name + " |"
		for i, r := range runtimes {
			v := one(dir, filepath.Join(programs, name), r)
			if v.good() {
				passed[i]++
			}
			row += " " + v.cell() + " |"
			for _, f := range v.failed {
				details = append(details, fmt.Sprintf("- %s, %s: %s", name, filepath.Base(r), f))
			}
			if only != "" {
				details = append(details, v.all)
			}
		}
		fmt.Println(row)
	}
	row := "| passed |"
	for _, n := range passed {
		row += fmt.Sprintf(" %d |", n)
	}
	fmt.Printf("%s\n\n%s\n", row, strings.Join(details, "\n"))
	return nil
}

func list(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Name() != "runtimetest" {
			names = append(names, e.Name())
		}
	}
	sort.Strings(names)
	return names, nil
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// one runs a program against a runtime.
func one(dir, program, runtime string) verdict {
	ctx, cancel := context.WithTimeout(context.Background(), *allowed)
	defer cancel()
	cmd := exec.CommandContext(ctx, program)
	if strings.HasPrefix(filepath.Base(runtime), "crun") {
		cmd = exec.CommandContext(ctx, "unshare", "-m", "sh", "-c", `umount /sys/fs/cgroup/unified 2>/dev/null; exec "$0"`, program)
	}
	var out bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = dir, &out, &out, time.Second
	cmd.Env = append(os.Environ(), "RUNTIME="+runtime)
	err := cmd.Run()
	return judge(out.String(), err, ctx.Err() != nil)
}
