// Command oci measures how long OCI runtimes take to run a prepared bundle (busybox true in namespaces and a cgroup of its
// own), side by side in turns, and prints medians with spread. Root only.
//
//	go build -o /tmp/nau-oci ./cmd/nau-oci && go run ./test/bench/oci -n 50 /tmp/nau-oci crun runc
//
// The floor is the same program executed without a container. A runtime that refuses a cgroup2 mount beside version 1
// (crun before 1.20) is run in a mount namespace without that mount.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"nau/internal/oci"
)

func main() {
	n := flag.Int("n", 30, "runs of each")
	hide := flag.Bool("hide-unified", true, "hide the version 2 cgroup mount of a hybrid host from crun")
	flag.Parse()
	if err := measure(*n, *hide, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "oci:", err)
		os.Exit(1)
	}
}

func measure(n int, hide bool, runtimes []string) error {
	dir, err := os.MkdirTemp("", "bench-oci")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := bundle(dir); err != nil {
		return err
	}
	type candidate struct {
		name string
		args []string
	}
	all := []candidate{{"floor", []string{filepath.Join(dir, "rootfs/bin/true")}}}
	for _, r := range runtimes {
		path, err := exec.LookPath(r)
		if err != nil {
			return err
		}
		args := []string{path, "--root", filepath.Join(dir, "state-"+filepath.Base(r)), "run", "--bundle", dir, "bench-" + filepath.Base(r)}
		all = append(all, candidate{filepath.Base(r), args})
	}
	times := make([][]time.Duration, len(all))
	for i := -2; i < n; i++ { // two to warm up
		for at, c := range all {
			cmd := exec.Command(c.args[0], c.args[1:]...)
			if hide && strings.HasPrefix(c.name, "crun") {
				// The wrapper's own time is not counted: it prints when it begins.
				cmd = exec.Command("unshare", append([]string{"-m", "--propagation", "private", "sh", "-c",
					`umount -l /sys/fs/cgroup/unified 2>/dev/null; a=$(date +%s%N); "$@"; r=$?; echo $(($(date +%s%N)-a)); exit $r`, "sh"}, c.args...)...)
			}
			begin := time.Now()
			out, err := cmd.CombinedOutput()
			took := time.Since(begin)
			if err != nil {
				return fmt.Errorf("%s: %w: %s", c.name, err, out)
			}
			if cmd.Path != c.args[0] {
				var ns int64
				if _, err := fmt.Sscan(strings.TrimSpace(string(out)), &ns); err == nil {
					took = time.Duration(ns)
				}
			}
			if i >= 0 {
				times[at] = append(times[at], took)
			}
		}
	}
	for at, c := range all {
		t := times[at]
		sort.Slice(t, func(i, j int) bool { return t[i] < t[j] })
		fmt.Printf("%-14s n=%d  p50 %6.2f ms   p10 %6.2f   p90 %6.2f\n", c.name, len(t), ms(t[len(t)/2]), ms(t[len(t)/10]), ms(t[len(t)*9/10]))
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d) / 1e6 }

func bundle(dir string) error {
	bin := filepath.Join(dir, "rootfs/bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	b, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(bin, "busybox"), b, 0o755); err != nil {
		return err
	}
	if err := os.Symlink("busybox", filepath.Join(bin, "true")); err != nil {
		return err
	}
	s := oci.ExampleSpec()
	s.Version = "1.0.2" // the peers may be old
	s.Process.Terminal, s.Process.Args = false, []string{"true"}
	s.Linux.CgroupsPath = "/nau-bench-oci/c"
	s.Linux.Namespaces = s.Linux.Namespaces[:5] // no cgroup namespace, as in runc's own example
	out, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "config.json"), out, 0o644)
}
