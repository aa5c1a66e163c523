package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"nau/internal/cluster/version"
)

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Say which Nau this is, and which Kubernetes it speaks",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(cmd.OutOrStdout(), versionLine())
			return err
		},
	}
}

func versionLine() string {
	return fmt.Sprintf("nau %s (Kubernetes %s, %s, %s)\n", version.Nau(), version.Kubernetes, version.Platform(), runtime.Version())
}
