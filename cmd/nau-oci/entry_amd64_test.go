package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"nau/internal/oci/ocitest"
)

// However it is linked, the program that reads a bundle runs from an executable that nobody can write to; with the entry
// of its own it was executed by that, and so without the mark that seal leaves in the environment.
func TestExecutableIsSealedBeforeABundleIsRead(t *testing.T) {
	ocitest.Need(t)
	for _, c := range []struct {
		name, flags string
		marked      bool
	}{{"entry", "-E _nau_oci_entry", false}, {"runtime", "", true}} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "nau-oci")
			build := exec.Command("go", "build", "-ldflags="+c.flags, "-o", path, ".")
			build.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("build: %v: %s", err, out)
			}
			for _, command := range []string{"run", "create"} {
				// The configuration is a pipe: whoever opens it waits for us.
				config := filepath.Join(dir, "config.json")
				if err := unix.Mkfifo(config, 0o600); err != nil {
					t.Fatal(err)
				}
				cmd := exec.Command(path, "--root", filepath.Join(dir, "state"), command, "--bundle", dir, "sealed")
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				w, err := os.OpenFile(config, os.O_WRONLY, 0)
				if err != nil {
					t.Fatal(err)
				}
				proc := "/proc/" + strconv.Itoa(cmd.Process.Pid)
				exe, err := os.Open(proc + "/exe")
				if err != nil {
					t.Fatal(err)
				}
				var st unix.Statfs_t
				if err := unix.Fstatfs(int(exe.Fd()), &st); err != nil {
					t.Fatal(err)
				}
				if st.Flags&unix.ST_RDONLY == 0 {
					t.Errorf("%s: the executable lies on a mount that can be written to: flags %#x", command, st.Flags)
				}
				env, err := os.ReadFile(proc + "/environ")
				if err != nil {
					t.Fatal(err)
				}
				if marked := bytes.Contains(env, []byte(sealedEnv+"=")); marked != c.marked {
					t.Errorf("%s: marked as sealed by the runtime: %v, want %v", command, marked, c.marked)
				}
				exe.Close()
				w.Close()
				if err := cmd.Wait(); err == nil {
					t.Errorf("%s: an empty configuration was accepted", command)
				}
				if err := os.Remove(config); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
