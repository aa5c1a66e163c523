package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nau/internal/cluster"
	"nau/internal/cluster/host"
)

func flagError(flag, value, want string) error {
	return fmt.Errorf("%w: %s %q is not %s", errFlags, flag, value, want)
}

func newUp() *cobra.Command {
	config := cluster.Default()
	var detach bool
	var level string
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a cluster on this machine: server and node in one",
		Long: `Starts the container engine, the Kubernetes API and this machine as a node.
It runs in the foreground until it is interrupted; with -d it goes to the background
and returns when the node is Ready. Containers outlive it: start it again and they
are taken over. ` + "`nau down`" + ` stops them too.`,
		Example: `  sudo nau up -d
  sudo nau up -d --data-dir /srv/b --run-dir /run/b --api-port 7443 --agent-port 11250 \
       --registry-port 5002 --pod-cidr 10.44.0.0/16 --service-cidr 10.45.0.0/16     # a second one beside it`,
		Args: cobra.NoArgs,
	}
	finish := clusterFlags(cmd, &config)
	cmd.Flags().BoolVarP(&detach, "detach", "d", false, "go to the background when the node is Ready")
	cmd.Flags().StringVar(&level, "log-level", "info", "debug, info, warn or error")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		started := time.Now()
		if err := finish(); err != nil {
			return err
		}
		if os.Geteuid() != 0 {
			return errors.New("nau up needs root: it makes namespaces, mounts and network rules; try `sudo nau up`")
		}
		if detach {
			return upDetached(cmd, &config)
		}
		return upForeground(cmd.Context(), cmd.OutOrStdout(), &config, level, started)
	}
	return cmd
}

func upDetached(cmd *cobra.Command, config *cluster.Config) error {
	if pid, ok := host.Running(config.RunDir); ok {
		return fmt.Errorf("nau is %w in %s (pid %d); `nau status` shows it, `nau down` stops it", host.ErrRunning, config.RunDir, pid)
	}
	if err := os.MkdirAll(config.DataDir, 0o755); err != nil {
		return err
	}
	args := []string{}
	for _, a := range os.Args[1:] {
		if a != "-d" && a != "--detach" && !strings.HasPrefix(a, "--detach=") {
			args = append(args, a)
		}
	}
	out := cmd.OutOrStdout()
	_, err := host.Detach(cmd.Context(), args, filepath.Join(config.DataDir, "nau.log"), func(line string) { fmt.Fprintln(out, line) })
	return err
}

func upForeground(ctx context.Context, out io.Writer, config *cluster.Config, level string, started time.Time) error {
	var threshold slog.Level
	if err := threshold.UnmarshalText([]byte(level)); err != nil {
		return flagError("--log-level", level, "debug, info, warn or error")
	}
	config.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: threshold}))
	slog.SetDefault(config.Log)
	report := host.Reporter()
	say := func(line string) {
		if report != nil {
			report.Line(line)
			return
		}
		fmt.Fprintln(out, line)
	}
	config.Progress = func(p cluster.Phase) { say(fmt.Sprintf("  %6.2f s  %s", p.After.Seconds(), p.Name)) }
	server, err := cluster.Start(ctx, config, started)
	if err != nil {
		if report != nil {
			report.Fail(exitCode(err), errors.New(message(err)))
		}
		return err
	}
	stopped := make(chan error, 1)
	go func() { stopped <- server.Wait() }()
	select {
	case <-server.Ready():
		for _, line := range nextSteps(config) {
			say(line)
		}
		if report != nil {
			report.Ready()
		}
	case err := <-stopped:
		if err == nil || ctx.Err() != nil && errors.Is(err, context.Canceled) { // what was amid its first write says so, too
			err = errors.New("interrupted before the node was Ready")
		}
		if report != nil {
			report.Fail(exitCode(err), errors.New(message(err)))
		}
		return err
	}
	return <-stopped
}

func nextSteps(config *cluster.Config) []string {
	steps := []string{
		"",
		fmt.Sprintf("Node %s is Ready. Next:", config.NodeName),
		"  export KUBECONFIG=" + config.KubeconfigPath(),
		"  kubectl get nodes",
	}
	socket, usual := cluster.DockerSocket(config)
	if socket == "" {
		return steps // pods run on another runtime
	}
	if !usual {
		steps = append(steps, "  export DOCKER_HOST=unix://"+socket)
	}
	return append(steps, "  docker ps")
}
