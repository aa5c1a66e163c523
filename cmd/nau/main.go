// Command nau is a container engine and a Kubernetes cluster in one program.
// The files here are flags and output, one command each; the work is done below
// internal.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"nau/internal/cluster"
	"nau/internal/cluster/host"
)

// Exit codes: what the caller got wrong is 2, all else 1.
const (
	exitFailure = 1
	exitUsage   = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:]))
}

func run(ctx context.Context, args []string) int {
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	code := exitCode(err)
	fmt.Fprintln(os.Stderr, "nau:", message(err))
	return code
}

func exitCode(err error) int {
	var failure *host.Failure
	switch {
	case errors.As(err, &failure):
		return failure.Code
	case errors.Is(err, cluster.ErrUsage), errors.Is(err, host.ErrRunning), errors.Is(err, errFlags):
		return exitUsage
	}
	return exitFailure
}

// errFlags marks what cobra itself refuses.
var errFlags = errors.New("bad flags")

// message puts an error on one line.
func message(err error) string {
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	text = strings.ReplaceAll(text, cluster.ErrUsage.Error()+": ", "")
	return strings.TrimPrefix(text, errFlags.Error()+": ")
}

func newRoot() *cobra.Command {
	var tell bool
	root := &cobra.Command{
		Use:   "nau",
		Short: "Containers and a Kubernetes cluster in one small program",
		Long: `Nau turns this machine into a container host and a Kubernetes cluster.

  sudo nau up -d                              start; returns when the node is Ready
  export KUBECONFIG=/var/lib/nau/kubeconfig
  kubectl get nodes
  export DOCKER_HOST=unix:///run/nau/docker.sock   needed only where Docker's own place was taken
  docker ps
  sudo nau down                               stop it, and its containers

Every command explains itself with --help.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if tell {
				fmt.Fprint(cmd.OutOrStdout(), versionLine())
				return nil
			}
			return cmd.Help()
		},
	}
	// The library's own flag of this name prints by a template, and templates link all that has methods (docs/decisions/012).
	root.Flags().BoolVarP(&tell, "version", "v", false, "show the version")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w: %w (see `%s --help`)", errFlags, err, cmd.CommandPath())
	})
	root.AddCommand(newUp(), newDown(), newStatus(), newBuild(), newRegistry(), newDoctor(), newAnatomy(), newVersion())
	blameUser(root)
	return root
}

// blameUser marks what commands say about their arguments as the caller's.
func blameUser(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return fmt.Errorf("%w: %w (see `%s --help`)", errFlags, err, cmd.CommandPath())
			}
			return nil
		}
	}
	for _, child := range cmd.Commands() {
		blameUser(child)
	}
}
