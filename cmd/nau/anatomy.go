package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"nau/internal/cluster"
	"nau/internal/cluster/host"
	"nau/internal/engine"
	"nau/internal/engine/anatomy"
	"nau/internal/engine/container"
)

// The labels that a node agent gives to every container of a pod.
const (
	podNameLabel       = "io.kubernetes.pod.name"
	podNamespaceLabel  = "io.kubernetes.pod.namespace"
	containerNameLabel = "io.kubernetes.container.name"
)

func newAnatomy() *cobra.Command {
	config := cluster.Default()
	var namespace, name string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "anatomy CONTAINER | pod/NAME",
		Short: "Take a container apart: namespaces, cgroups, layers, veth pair, rules",
		Long: `Shows what a container is made of, as the kernel tells it, and beside each part
the shell commands that would make it by hand. It only reads, and it starts
nothing; run it as root on the container's machine.

CONTAINER is an ID, the unique beginning of one, or a name.`,
		Example: `  nau anatomy web
  nau anatomy pod/web -n shop -c nginx
  nau anatomy 4ba9a43c8360 --json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("anatomy takes one container, or pod/NAME")
			}
			return nil
		},
	}
	placeFlags(cmd, &config)
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "default", "namespace of the pod")
	cmd.Flags().StringVarP(&name, "container", "c", "", "container of the pod (default its first)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if os.Geteuid() != 0 {
			return errors.New("read anatomy: namespaces and records are root's; try sudo")
		}
		for _, dir := range []*string{&config.DataDir, &config.RunDir} { // the page's commands can be typed anywhere
			path, err := filepath.Abs(*dir)
			if err != nil {
				return fmt.Errorf("read anatomy: %w", err)
			}
			*dir = path
		}
		records, err := engine.ReadRecords(config.DataDir)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("read anatomy: no containers in %s; `nau up -d` starts Nau, --data-dir names another place", config.DataDir)
		}
		if err != nil {
			return err
		}
		record, others, err := findContainer(records, args[0], namespace, name)
		if err != nil {
			return err
		}
		if len(others) > 0 {
			fmt.Fprintf(cmd.ErrOrStderr(), "nau: container %s; -c chooses another of %s\n", record.Config.Labels[containerNameLabel], strings.Join(others, ", "))
		}
		look := anatomy.Config{RunDir: config.RunDir, Records: records}
		if pid, ok := host.Running(config.RunDir); ok {
			look.NauPid = pid
		}
		found, err := anatomy.Gather(cmd.Context(), look, record.ID)
		if err != nil {
			return err
		}
		if asJSON {
			out := json.NewEncoder(cmd.OutOrStdout())
			out.SetEscapeHTML(false)
			out.SetIndent("", "  ")
			return out.Encode(found)
		}
		return anatomy.Render(cmd.OutOrStdout(), found, anatomy.Style{Color: colourful(os.Stdout)})
	}
	return cmd
}

// findContainer finds what the command line names. Of a pod without a container's name it is the oldest one that runs; others are the names to
// choose from.
func findContainer(records *engine.Records, arg, namespace, name string) (found *container.Record, others []string, err error) {
	pod, ok := strings.CutPrefix(arg, "pod/")
	if !ok {
		found, err = records.Find(arg)
		return found, nil, err
	}
	labels := map[string]string{podNameLabel: pod, podNamespaceLabel: namespace}
	if name != "" {
		labels[containerNameLabel] = name
	}
	all := records.Labelled(labels)
	seen := map[string]bool{}
	for _, c := range all {
		if n := c.Config.Labels[containerNameLabel]; !seen[n] {
			seen[n] = true
			others = append(others, n)
		}
		if found == nil && c.State == container.Running {
			found = c
		}
	}
	if len(all) == 0 {
		return nil, nil, fmt.Errorf("find container %s of pod %s/%s: %w", name, namespace, pod, container.ErrNotFound)
	}
	if found == nil {
		found = all[len(all)-1]
	}
	if len(others) < 2 {
		others = nil
	}
	return found, others, nil
}

// colourful tells whether f is a terminal whose user has not asked for plain text (no-color.org).
func colourful(f *os.File) bool {
	if os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
