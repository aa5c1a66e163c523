package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"

	"nau/internal/oci/cgroup"
	"nau/internal/oci/monitor/server"
)

// readyFD is where a starting client hears that the monitor listens.
const readyFD = 3

func monitorCommand(g *global, args []string) error {
	f := newFlags("monitor")
	socket := f.String("socket", "", "unix socket to listen on")
	state := f.String("state", "", "folder of the monitor's records, on a tmpfs")
	group := f.String("cgroup", "", "cgroup to move to")
	detach := f.Bool("detach", false, "go on in the background; descriptor 3 hears when the socket is open")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *socket == "" || *state == "" {
		return errors.New("monitor: --socket and --state are needed")
	}
	if err := seal(); err != nil {
		return err
	}
	if *detach {
		return background(args)
	}
	if *group != "" {
		cg, err := cgroup.Open(*group)
		if err != nil {
			return err
		}
		if _, err := cg.Create(); err != nil {
			return err
		}
		if err := cg.Add(os.Getpid(), true); err != nil {
			return err
		}
	}
	// It holds little, and gives back what it does not need when it rests.
	debug.SetGCPercent(200)
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	// Caught and dropped, not ignored: containers would inherit that, and what is
	// caught is the default again after an exec.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGPIPE)
	if err := heedSignals(); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(g.logFile, nil))
	return server.Run(ctx, server.Config{Socket: *socket, StateDir: *state, Log: log, Ready: func() {
		if os.Getenv(readyEnv) != "" {
			w := os.NewFile(readyFD, "ready")
			_, _ = w.WriteString("ready\n")
			_ = w.Close()
		}
	}})
}

const readyEnv = "_NAU_OCI_READY"

// background starts the monitor once more, in a session of its own, and ends: its parent is then the system's init, and
// no signal to the starter's group or terminal reaches it.
func background(args []string) error {
	rest := make([]string, 0, len(args))
	for _, a := range args {
		if a != "--detach" && a != "-detach" {
			rest = append(rest, a)
		}
	}
	ready := os.NewFile(readyFD, "ready")
	files := []*os.File{os.Stdin, os.Stdout, os.Stderr}
	env := append(os.Environ(), "GODEBUG=madvdontneed=1")
	if _, err := ready.Stat(); err == nil {
		files, env = append(files, ready), append(env, readyEnv+"=1")
	}
	p, err := os.StartProcess("/proc/self/exe", append([]string{filepath.Base(os.Args[0]), "monitor"}, rest...),
		&os.ProcAttr{Dir: "/", Env: env, Files: files, Sys: &syscall.SysProcAttr{Setsid: true}})
	if err != nil {
		return fmt.Errorf("start monitor: %w", err)
	}
	return p.Release()
}
