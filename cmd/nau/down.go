package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"nau/cmd/nau/embedded"
	"nau/internal/cluster"
	"nau/internal/cluster/host"
)

func newDown() *cobra.Command {
	config := cluster.Default()
	var purge bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop Nau and its containers",
		Long: `Stops Nau and every container that it started. Images, volumes and the cluster's
state stay for the next ` + "`nau up`" + `; with --purge nothing stays: no process, mount,
namespace, cgroup, link, rule or file.`,
		Args: cobra.NoArgs,
	}
	placeFlags(cmd, &config)
	cmd.Flags().BoolVar(&purge, "purge", false, "remove all that Nau has made on this machine, the data directory included")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		config.Runtime = embedded.Runtime
		if err := config.Complete(); err != nil {
			return err
		}
		config.Progress = func(p cluster.Phase) { fmt.Fprintln(cmd.OutOrStdout(), p.Name) }
		running, err := host.Stop(config.RunDir, 20_000)
		if err != nil {
			return err
		}
		stopped, err := cluster.Down(cmd.Context(), &config, purge)
		if err != nil {
			return err
		}
		out := cmd.OutOrStdout()
		switch {
		case purge:
			fmt.Fprintf(out, "Nau and all that it made are gone (%d containers were running).\n", stopped)
		case running || stopped > 0:
			fmt.Fprintf(out, "Nau is down, %d containers stopped. State is kept in %s.\n", stopped, config.DataDir)
		default:
			fmt.Fprintln(out, "Nau was not running.")
		}
		return nil
	}
	return cmd
}
