package harness

import (
	"bytes"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Client is the folder of a stock client that test/clients/build.sh built, as `make test` does where it reaches their
// modules. What is not built is not there, and the test is skipped with that reason.
func Client(t testing.TB, name string) string {
	t.Helper()
	cmd := exec.Command(filepath.Join(repository(t), "test", "clients", "build.sh"), "--cached", name)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 3 {
		Skip(t, Lacking{"client " + name, "`make clients` builds it"})
	}
	if err != nil {
		t.Fatalf("find client %s: %v\n%s", name, err, errs.String())
	}
	return strings.TrimSpace(string(out))
}
