package oci_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"nau/internal/oci"
	"nau/internal/oci/ocitest"
)

// A container joins another one's user namespace, alone and with the PID namespace, in which processes have other numbers. Often, since reports of two
// processes must not be taken for each other.
func TestJoinUserNamespace(t *testing.T) {
	ocitest.Need(t)
	s := ocitest.Spec(t, "sleep", "1000")
	userns(s)
	b := ocitest.Bundle(t, s)
	own(t, b)
	first, err := runtimeFor(t).Create(oci.CreateOptions{ID: ocitest.ID(t), Bundle: b, Stdio: [3]int{-1, -1, -1}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		unix.Kill(first.Pid(), unix.SIGKILL)
		reap(first.Pid())
		if err := first.Delete(true); err != nil {
			t.Error(err)
		}
	}()
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	at := func(ns string) string { return fmt.Sprintf("/proc/%d/ns/%s", first.Pid(), ns) }
	for _, pids := range []bool{false, true} {
		t.Run(map[bool]string{false: "own PID namespace", true: "joined PID namespace"}[pids], func(t *testing.T) {
			s := ocitest.Spec(t, "sh", "-c", "readlink /proc/self/ns/user; readlink /proc/self/ns/pid; id -u; ls /proc/1/cmdline; touch /tmp/mine && stat -c %u /tmp/mine")
			s.Root.Readonly = false
			userns(s)
			for i := range s.Linux.Namespaces {
				switch n := &s.Linux.Namespaces[i]; {
				case n.Type == specs.UserNamespace:
					n.Path = at("user")
				case n.Type == specs.PIDNamespace && pids:
					n.Path = at("pid")
				}
			}
			b := ocitest.Bundle(t, s)
			own(t, b)
			user, err := os.Readlink(at("user"))
			if err != nil {
				t.Fatal(err)
			}
			pid, err := os.Readlink(at("pid"))
			if err != nil {
				t.Fatal(err)
			}
			for range 20 {
				r := runBundle(t, b)
				want(t, r, 0, user+"\n", "\n0\n/proc/1/cmdline\n0\n")
				if strings.Contains(r.out, pid) != pids {
					t.Errorf("PID namespace %s: %s", pid, r.out)
				}
				if t.Failed() {
					return
				}
			}
		})
	}
}
