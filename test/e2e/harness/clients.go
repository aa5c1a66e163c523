package harness

import (
	"bytes"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Client is the folder of a stock client that test/clients/build.sh built. They are heavy: what `make clients` has not
// built is not there, and the test is skipped with that reason.
func Client(t testing.TB, name string) string {
	t.Helper()
	cmd := exec.Command(filepath.Join(repository(t), "test", "clients", "build.sh"), "--cached", name)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 3 {
		t.Skip(strings.TrimSpace(errs.String()))
	}
	if err != nil {
		t.Fatalf("find client %s: %v\n%s", name, err, errs.String())
	}
	return strings.TrimSpace(string(out))
}

// Installed skips where a program of the distribution is not on this machine.
func Installed(t testing.TB, program, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("no %s on this machine: Debian's package %s has it", program, pkg)
	}
	return path
}
