package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"nau/internal/cluster/host"
	"nau/internal/engine/record"
	"nau/internal/proxy/nft"
)

// stopGrace is what a container has between the polite and the hard signal when
// the whole instance is stopped.
const stopGrace = 10 * time.Second

// Down stops what outlives nau, in an instance that does not run any more: its
// containers and their monitor. With purge it removes every trace. It gives the
// number of containers that were running. The instance is found as it was
// started last; c needs only its directories.
func Down(ctx context.Context, c *Config, purge bool) (stopped int, err error) {
	recall(c)
	c.Log = slog.New(slog.DiscardHandler)
	lock, err := host.Acquire(c.RunDir)
	if err != nil {
		return 0, err
	}
	defer lock.Release()
	if c.CRIEndpoint == "" && exists(filepath.Join(c.DataDir, "sandboxes")) {
		e, err := openEngine(ctx, c)
		if err != nil {
			return 0, err
		}
		stopped = e.Running()
		if purge {
			err = e.Purge(ctx)
		} else {
			if stopped > 0 && c.Progress != nil {
				c.Progress(Phase{Name: fmt.Sprintf("Stopping what runs (%d); a container has %v to end.", stopped, stopGrace)})
			}
			err = errors.Join(e.StopAll(ctx, stopGrace), e.Shutdown(ctx))
		}
		if err != nil {
			return stopped, fmt.Errorf("stop containers: %w", err)
		}
	}
	if !purge {
		return stopped, nil
	}
	return stopped, errors.Join(
		nft.Purge(c.serviceTable(), c.ServiceCIDRs...),
		purgeDNSAddresses(c),
		removeOwnKubeconfig(c),
		unmountBelow(c.DataDir),
		unmountBelow(c.RunDir),
		os.RemoveAll(c.DataDir),
		os.RemoveAll(c.RunDir),
	)
}

// unmountBelow takes down what is mounted below a directory of the instance,
// the deepest first: volumes in memory, and what a crash left.
func unmountBelow(dir string) error {
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return fmt.Errorf("list mounts below %s: %w", dir, err)
	}
	slices.SortFunc(mounts, func(a, b *mountinfo.Info) int { return len(b.Mountpoint) - len(a.Mountpoint) })
	var errs []error
	for _, m := range mounts {
		if err := unix.Unmount(m.Mountpoint, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("unmount %s: %w", m.Mountpoint, err))
		}
	}
	return errors.Join(errs...)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// removeOwnKubeconfig removes the admin's kubeconfig where the user had it
// written outside the data directory.
func removeOwnKubeconfig(c *Config) error {
	err := os.Remove(c.KubeconfigPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// remember keeps what an instance was started with, for `nau down` and `nau
// status`.
func remember(c *Config) error {
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.DataDir, 0o755); err != nil {
		return err
	}
	if err := c.keepName(); err != nil {
		return fmt.Errorf("write instance's name: %w", err)
	}
	if err := record.Replace(filepath.Join(c.DataDir, "instance.json"), append(data, '\n')); err != nil {
		return fmt.Errorf("write instance's settings: %w", err)
	}
	return nil
}

// recall takes over what the instance in c's data directory was started with.
func recall(c *Config) {
	data, err := os.ReadFile(filepath.Join(c.DataDir, "instance.json"))
	if err != nil {
		return
	}
	runDir, dataDir, kubeconfig := c.RunDir, c.DataDir, c.Kubeconfig
	if json.Unmarshal(data, c) != nil {
		return
	}
	c.RunDir, c.DataDir = runDir, dataDir // it may have been moved
	if kubeconfig != "" {
		c.Kubeconfig = kubeconfig
	}
}
