package main

import (
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"nau/internal/cluster"
	"nau/internal/cluster/doctor"
	"nau/internal/cluster/host"
)

func newDoctor() *cobra.Command {
	config := cluster.Default()
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what this host lacks, each with the remedy",
		Long: `Looks at what Nau needs of the kernel and of this machine. A line marked "note" limits what
containers can do; one marked "BAD" keeps Nau from running, and makes the exit code 1.
It changes nothing.`,
		Args: cobra.NoArgs,
	}
	placeFlags(cmd, &config)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c := doctor.Config{DataDir: config.DataDir}
		if _, running := host.Running(config.RunDir); !running {
			c.Ports = map[string]int{"Kubernetes API": config.APIPort, "node agent": config.AgentPort, "registry, on loopback": config.RegistryPort}
		}
		w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		bad := 0
		for _, f := range doctor.Examine(c) {
			mark := "ok"
			switch f.Level {
			case doctor.Note:
				mark = "note"
			case doctor.Bad:
				mark = "BAD"
				bad++
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", mark, f.What, f.Saw, f.Remedy)
		}
		if err := w.Flush(); err != nil {
			return err
		}
		if bad > 0 {
			return errors.New("this host cannot run Nau yet: see the lines marked BAD")
		}
		return nil
	}
	return cmd
}
