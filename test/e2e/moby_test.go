//go:build e2e

package e2e

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"nau/test/e2e/harness"
)

// mobyImages are those that moby's tests find on their own machine: stand-ins, each a stage of testdata/moby/Dockerfile.
var mobyImages = map[string]string{
	"busybox:latest":             "busybox",
	"busybox:glibc":              "busybox",
	"debian:trixie-slim":         "debian",
	"hello-world:frozen":         "hello",
	"hello-world:amd64":          "hello",
	"hello-world:arm64":          "hello-arm64",
	"arm32v7/hello-world:latest": "hello-arm32v7",
}

// mobyProgram is one of moby's test programs in its folder.
type mobyProgram struct{ name, folder, run, skip string }

// mobyDaemons are the container program's tests that start daemons of their own.
const mobyDaemons = "^(TestDaemon|TestCDI|TestEtcCDI|TestCreateWithCDI|TestCgroupNamespaces|TestContainerKillOnDaemonStart|TestContainerShmSize|TestContainerStartOnDaemonRestart|" +
	"TestCopyToContainerXZBinary|TestExportContainerAfterDaemonRestart|TestHardRestart|TestMacAddressIsApplied|TestNetworkStateCleanup|TestRemoveDeadContainers|TestRestartDaemon|" +
	"TestRunWithAlternative|TestStaticIPOutside|TestAttachDisconnectLeak)"

// mobyPrograms has a machine's programs to a row: each empties the engine of what is not its own, so they share one in turns only. Daemons of their
// own have those of the row of that name alone: what the others leave in the network is looked for.
var mobyPrograms = map[string][]mobyProgram{
	"container": {{"container", "container", ".", mobyDaemons + "|" + mobyLong}},
	"daemons":   {{"container", "container", mobyDaemons, mobyLong}, {"system", "system", ".", mobyLong}, {"image", "image", ".", mobyLong}, {"volume", "volume", ".", mobyLong}},
	"further": {{"build", "build", ".", mobyLong}, {"network", "network", ".", mobyLong}, {"common", "plugin/common", ".", mobyLong},
		{"session", "session", ".", mobyLong}},
}

// mobyLacking is what test/dockerd says of settings that Nau does not have: tests of those are not judged.
const mobyLacking = "no counterpart in nau"

// mobyLong are tests that only wait, for longer than the rest takes, one that starts sixteen daemons at once and looks at moments between, and one
// that counts the goroutines of a daemon which is still starting.
const mobyLong = "^(TestHealthStartInterval|TestStopContainerWithTimeout|TestDaemonRestartKillContainers|TestAttachDisconnectLeak)$"

// Moby's own integration tests of the Engine API, unchanged, against the Docker socket. testdata/moby/known.txt has those that fail, each with
// its reason: one that fails and is not there is an error, and so is one that is there and passes. Tests that start daemons
// of their own get Nau by way of test/dockerd.
func TestMoby(t *testing.T) {
	needDocker(t)
	dir := harness.Client(t, "moby")
	known := mobyKnown(t)
	context, err := filepath.Abs("testdata/moby")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range slices.Sorted(maps.Keys(mobyPrograms)) {
		t.Run(row, func(t *testing.T) {
			t.Parallel()
			m := harness.New(t)
			m.Registry()
			m.Up()
			dockerd := program(t, m, "nau/test/dockerd")
			daemons := t.TempDir()
			if m.Shared = row == "daemons"; !m.Shared { // there tests remove the folders of daemons that have ended: nobody can tell then what was theirs
				daemons = ""
			}
			for _, name := range slices.Sorted(maps.Keys(mobyImages)) {
				m.Must(m.Nau, "build", "-q", "--data-dir", m.DataDir, "--run-dir", m.RunDir, "--target", mobyImages[name], "-t", name, context)
			}
			for _, p := range mobyPrograms[row] {
				known.judge(t, p.name, m.Do("", "sh", "-c", `export DEST="$4" NAU="$5" NAU_DAEMONS="$6" PATH="$7:$PATH" && cd "$0/integration/$1" && exec "$0/programs/$2.test" -test.v -test.timeout 110s -test.run "$8" -test.skip "$3"`, dir, p.folder, p.name, p.skip, m.Dir, m.Nau, daemons, filepath.Dir(dockerd), p.run))
				if daemons != "" {
					mobyPurge(t, m, daemons)
				}
			}
		})
	}
}

// mobyPurge takes away all daemons of a program's tests.
func mobyPurge(t *testing.T, m *harness.Machine, daemons string) {
	t.Helper()
	files, err := os.ReadDir(daemons)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(daemons, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		root, run, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
		m.Must(m.Nau, "down", "--purge", "--data-dir", root, "--run-dir", run)
		endMonitor(t, run)
		if err := errors.Join(os.RemoveAll(root), os.RemoveAll(run), os.Remove(filepath.Join(daemons, f.Name()))); err != nil {
			t.Error(err)
		}
	}
}

// endMonitor ends the monitor of a daemon that was killed and whose folders a test has removed, so that nobody finds it by them.
func endMonitor(t *testing.T, run string) {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range lines {
		line, _ := os.ReadFile(path)
		if !strings.Contains(string(line), "\x00monitor\x00--socket\x00"+run+"/") {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			_ = syscall.Kill(pid, syscall.SIGTERM)
		}
	}
}

// judge compares what a program's tests came to with what is known of them.
func (known mobyFailures) judge(t *testing.T, program string, r harness.Result) {
	t.Helper()
	outcome := mobyOutcome(r.Stdout)
	for _, name := range slices.Sorted(maps.Keys(outcome.failed)) {
		if text := outcome.failed[name]; known[name] == "" && !strings.Contains(text, mobyLacking) {
			t.Errorf("%s: %s fails:\n%s", program, name, tail(text))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(outcome.passed)) {
		if reason := known[name]; reason != "" && !strings.HasPrefix(reason, mobyEither) {
			t.Errorf("%s: %s passes: take it out of known.txt", program, name)
		}
	}
	if len(outcome.passed)+len(outcome.failed) == 0 || !outcome.ended {
		t.Errorf("%s did not end by itself, exit code %d\n%s%s", program, r.Code, tail(r.Stdout), tail(r.Stderr))
	}
	t.Logf("%s: %d tests pass, %d fail", program, len(outcome.passed), len(outcome.failed))
}

// mobyFailures are the tests that are known to fail, with the reason.
type mobyFailures map[string]string

// mobyEither begins the reason of what passes on some machines and fails on others.
const mobyEither = "machine:"

// mobyKnown reads "TestName/sub reason" lines.
func mobyKnown(t *testing.T) mobyFailures {
	t.Helper()
	text, err := os.ReadFile("testdata/moby/known.txt")
	if err != nil {
		t.Fatal(err)
	}
	known := mobyFailures{}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		name, reason, _ := strings.Cut(line, " ")
		if reason == "" {
			t.Errorf("known.txt: no reason for %s", name)
		}
		known[name] = reason
	}
	return known
}

// mobyResult is what one program's tests came to. A test that fails only because of its parts is not among the failed.
type mobyResult struct {
	passed map[string]bool
	failed map[string]string // name: what it printed
	ended  bool
}

var (
	mobyAbout  = regexp.MustCompile(`^=== (?:RUN|CONT|NAME|PAUSE)\s+(\S+)`)
	mobyDigest = regexp.MustCompile(`@sha256:[0-9a-f]{64}`) // in names of tests: of the stand-ins, which differ from run to run
	mobyEnd    = regexp.MustCompile(`^\s*--- (PASS|FAIL|SKIP): (\S+)`)
)

func mobyOutcome(out string) mobyResult {
	r := mobyResult{passed: map[string]bool{}, failed: map[string]string{}}
	about, said := "", map[string]string{}
	for line := range strings.Lines(out) {
		if m := mobyAbout.FindStringSubmatch(line); m != nil {
			about = mobyDigest.ReplaceAllString(m[1], "@sha256:")
			continue
		}
		if m := mobyEnd.FindStringSubmatch(line); m != nil {
			about = mobyDigest.ReplaceAllString(m[2], "@sha256:")
			switch m[1] {
			case "PASS":
				r.passed[about] = true
			case "FAIL":
				r.failed[about] = ""
			}
			continue
		}
		if text := strings.TrimSpace(line); text == "PASS" || text == "FAIL" {
			r.ended = true
		}
		said[about] += line
	}
	for name := range r.failed {
		r.failed[name] = said[name]
		for i := strings.LastIndex(name, "/"); i > 0; i = strings.LastIndex(name[:i], "/") {
			delete(r.failed, name[:i])
		}
	}
	return r
}
