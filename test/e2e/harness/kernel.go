package harness

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
)

// Kernel is what a machine holds in the kernel and on disk, as lines: the leak
// meter compares two of them.
type Kernel []string

// Kernel reads it: processes that name the machine's directories, mounts below
// them, cgroups of its instance, links, rules and routes in its network
// namespace, and files below its directories.
func (m *Machine) Kernel() Kernel {
	m.t.Helper()
	var lines []string
	add := func(kind, what string) { lines = append(lines, kind+" "+what) }
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range procs {
		data, err := os.ReadFile(path)
		if err == nil && bytes.Contains(data, []byte(m.Dir)) {
			add("process", strings.TrimSpace(strings.ReplaceAll(string(data), "\x00", " ")))
		}
	}
	if data, err := os.ReadFile("/proc/self/mountinfo"); err == nil {
		for line := range strings.Lines(string(data)) {
			if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], m.Dir) {
				add("mount", fields[4])
			}
		}
	}
	filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Contains(path, "/"+m.tag()) {
			add("cgroup", path)
		}
		return nil
	})
	if err := m.inside(func() error {
		links, err := netlink.LinkList()
		if err != nil {
			return err
		}
		for _, l := range links {
			add("link", l.Attrs().Name)
		}
		routes, err := netlink.RouteList(nil, netlink.FAMILY_ALL)
		if err != nil {
			return err
		}
		for _, r := range routes {
			add("route", fmt.Sprint(r.Dst, " type ", r.Type))
		}
		conn, err := nftables.New()
		if err != nil {
			return err
		}
		tables, err := conn.ListTables()
		if err != nil {
			return err
		}
		for _, table := range tables {
			add("nft table", table.Name)
		}
		return nil
	}); err != nil {
		m.t.Fatalf("read the machine's network: %v", err)
	}
	filepath.WalkDir(m.DataDir, func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			add("file", path)
		}
		return nil
	})
	filepath.WalkDir(m.RunDir, func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			add("file", path)
		}
		return nil
	})
	sort.Strings(lines)
	return lines
}

// tag is the instance's name on kernel objects.
func (m *Machine) tag() string {
	return instanceName(m.DataDir)
}

// withoutNetwork leaves out what ends with the machine's network namespace.
func (k Kernel) withoutNetwork() Kernel {
	return slices.DeleteFunc(slices.Clone(k), func(line string) bool {
		kind, _, _ := strings.Cut(line, " ")
		return kind == "link" || kind == "route" || kind == "nft"
	})
}

// Equal fails the test where something is left that was not there before.
func (k Kernel) Equal(t testing.TB, after Kernel) {
	t.Helper()
	had := map[string]int{}
	for _, line := range k {
		had[line]++
	}
	for _, line := range after {
		if had[line]--; had[line] < 0 {
			t.Errorf("left behind: %s", line)
		}
	}
}
