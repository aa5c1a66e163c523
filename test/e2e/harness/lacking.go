package harness

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// Lacking is why a test cannot run here: what is not on this machine, and what brings it. A test that skips does so with one of these.
type Lacking struct{ What, Remedy string }

func (l Lacking) Error() string { return fmt.Sprintf("no %s: %s", l.What, l.Remedy) }

// Package is the remedy of a program that Debian has.
func Package(name string) string { return "install Debian's package " + name }

// Skip ends a test that this machine cannot run. test/run.sh names a file in NAU_SKIPPED and shows what is in it at the
// end, for `go test` passes over skipped tests in silence.
func Skip(t testing.TB, why Lacking) {
	t.Helper()
	if path := os.Getenv("NAU_SKIPPED"); path != "" {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			t.Fatalf("note a skipped test: %v", err)
		}
		fmt.Fprintf(f, "%s: %v\n", t.Name(), why)
		if err := f.Close(); err != nil {
			t.Fatalf("note a skipped test: %v", err)
		}
	}
	t.Skip(why)
}

// Installed skips where a program of the distribution is not on this machine.
func Installed(t testing.TB, program, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		Skip(t, Lacking{program, Package(pkg)})
	}
	return path
}
