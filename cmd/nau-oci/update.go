package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"nau/internal/oci"
)

func update(g *global, args []string) error {
	f := newFlags("update")
	var file string
	f.StringVar(&file, "resources", "", "file with linux.resources, - for standard input")
	f.StringVar(&file, "r", "", "resources")
	text := map[string]*string{}
	for _, name := range []string{"cpu-period", "cpu-quota", "cpu-burst", "cpu-share", "cpu-rt-period", "cpu-rt-runtime", "cpuset-cpus", "cpuset-mems",
		"cpu-idle", "memory", "memory-reservation", "memory-swap", "pids-limit", "blkio-weight"} {
		text[name] = f.String(name, "", "")
	}
	id, err := one(f, args)
	if err != nil {
		return err
	}
	r := &specs.LinuxResources{}
	if file != "" {
		in := io.Reader(os.Stdin)
		if file != "-" {
			opened, err := os.Open(file)
			if err != nil {
				return fmt.Errorf("update: read resources: %w", err)
			}
			defer opened.Close()
			in = opened
		}
		if err := json.NewDecoder(in).Decode(r); err != nil {
			return fmt.Errorf("update: decode resources: %w", err)
		}
	} else if err := flagResources(r, text); err != nil {
		return fmt.Errorf("update: %w", err)
	}
	c, err := g.runtime().Load(id)
	if err != nil {
		return err
	}
	return c.Update(r)
}

// flagResources reads limits from flags; sizes may have a suffix k, m or g.
func flagResources(r *specs.LinuxResources, text map[string]*string) error {
	var errs []error
	signed := func(name string) *int64 {
		if *text[name] == "" {
			return nil
		}
		n, err := parseSize(*text[name])
		if err != nil {
			errs = append(errs, fmt.Errorf("--%s: %w", name, err))
		}
		return &n
	}
	unsigned := func(name string) *uint64 {
		n := signed(name)
		if n == nil {
			return nil
		}
		u := uint64(*n)
		return &u
	}
	r.Memory = &specs.LinuxMemory{Limit: signed("memory"), Reservation: signed("memory-reservation"), Swap: signed("memory-swap")}
	r.CPU = &specs.LinuxCPU{Shares: unsigned("cpu-share"), Quota: signed("cpu-quota"), Burst: unsigned("cpu-burst"), Period: unsigned("cpu-period"),
		RealtimePeriod: unsigned("cpu-rt-period"), RealtimeRuntime: signed("cpu-rt-runtime"), Cpus: *text["cpuset-cpus"], Mems: *text["cpuset-mems"], Idle: signed("cpu-idle")}
	if n := signed("pids-limit"); n != nil {
		r.Pids = &specs.LinuxPids{Limit: n}
	}
	if n := signed("blkio-weight"); n != nil {
		w := uint16(*n)
		r.BlockIO = &specs.LinuxBlockIO{Weight: &w}
	}
	return errors.Join(errs...)
}

func parseSize(text string) (int64, error) {
	unit := int64(1)
	lower := strings.TrimSuffix(strings.ToLower(text), "b")
	for suffix, u := range map[string]int64{"k": 1 << 10, "m": 1 << 20, "g": 1 << 30} {
		if rest, ok := strings.CutSuffix(lower, suffix); ok {
			lower, unit = rest, u
			break
		}
	}
	n, err := strconv.ParseInt(lower, 10, 64)
	return n * unit, err
}

func events(g *global, args []string) error {
	f := newFlags("events")
	stats := f.Bool("stats", false, "print the figures once")
	interval := f.Duration("interval", 5*time.Second, "time between figures")
	id, err := one(f, args)
	if err != nil {
		return err
	}
	if *interval <= 0 {
		return fmt.Errorf("events: the interval must be above 0")
	}
	c, err := g.runtime().Load(id)
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	oom := c.OOMKills()
	for {
		s, err := c.Stats()
		if err != nil {
			return err
		}
		if s.Memory.OOMKills > oom {
			oom = s.Memory.OOMKills
			if err := out.Encode(map[string]any{"type": "oom", "id": id}); err != nil {
				return err
			}
		}
		if err := out.Encode(map[string]any{"type": "stats", "id": id, "data": figures(s)}); err != nil {
			return err
		}
		if *stats || c.Status() == oci.StatusStopped {
			return nil
		}
		time.Sleep(*interval)
	}
}
