package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"nau/internal/cluster"
)

func newStatus() *cobra.Command {
	config := cluster.Default()
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show whether Nau runs, and how it is",
		Long: `Shows the process and its memory, where kubectl and docker find it, the nodes and the
pods. The exit code is 0 where the API answers, else 1.`,
		Args: cobra.NoArgs,
	}
	placeFlags(cmd, &config)
	cmd.Flags().StringVar(&config.Kubeconfig, "kubeconfig", "", "the admin's kubeconfig (default DATA-DIR/kubeconfig)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := config.Complete(); err != nil {
			return err
		}
		status, err := cluster.Look(cmd.Context(), &config)
		if err != nil {
			return err
		}
		w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		for _, row := range status.Rows() {
			fmt.Fprintf(w, "%s\t%s\n", row[0], row[1])
		}
		if err := w.Flush(); err != nil {
			return err
		}
		if !status.Running {
			return errors.New("not running; `nau up -d` starts it")
		}
		if status.Problem != "" {
			return fmt.Errorf("it runs, but its API does not answer; its log is %s", filepath.Join(config.DataDir, "nau.log"))
		}
		return nil
	}
	return cmd
}
