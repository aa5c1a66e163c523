//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"nau/test/e2e/harness"
)

// The classic builder's containers: one for every step but COPY and ADD. Those of steps that did well go, unless --rm=false; the one of a step that
// failed stays, to be looked into, committed or run again, unless --force-rm.
func TestClassicBuildKeeps(t *testing.T) {
	needDocker(t)
	m := harness.New(t)
	m.Registry()
	m.Up()
	good := "FROM busybox\nENV A=b\nWORKDIR /x\nRUN echo hi > /hi\nCMD [\"true\"]\n"
	bad := "FROM busybox\nLABEL a=b\nUSER 65534\nRUN echo 1 > /tmp/one\nRUN echo made > /tmp/two; exit 3\n"
	const list = `docker ps -a --format '{{.Command}} {{.Status}}' --no-trunc | sed 's/ [A-Z0-9a-z ]* ago$//'`
	build := func(file, flags string) string {
		m.Do(file, "sh", "-c", "docker ps -aq | xargs -r docker rm >/dev/null")
		r := m.Do(file, "sh", "-c", "DOCKER_BUILDKIT=0 docker build --no-cache "+flags+" -")
		return r.Stdout + r.Stderr
	}
	for _, c := range []struct {
		name, file, flags string
		cleared           int // "Removed intermediate container"
		want              string
	}{
		{"all of a good build", good, "--rm=false", 0, "\"/bin/sh -c '#(nop) ' 'CMD [\\\"true\\\"]'\" Created\n\"/bin/sh -c 'echo hi > /hi'\" Exited (0)\n" +
			"\"/bin/sh -c '#(nop) WORKDIR /x'\" Created\n\"/bin/sh -c '#(nop) ' 'ENV A=b'\" Created\n"},
		{"none of a good build", good, "", 4, ""},
		{"all of a bad build", bad, "--rm=false", 0, "\"/bin/sh -c 'echo made > /tmp/two; exit 3'\" Exited (3)\n\"/bin/sh -c 'echo 1 > /tmp/one'\" Exited (0)\n" +
			"\"/bin/sh -c '#(nop) ' 'USER 65534'\" Created\n\"/bin/sh -c '#(nop) ' 'LABEL a=b'\" Created\n"},
		{"none of a bad build", bad, "--force-rm", 4, ""},
		{"none, whatever --rm says", bad, "--rm=false --force-rm", 4, ""},
		{"the failed step", bad, "", 3, "\"/bin/sh -c 'echo made > /tmp/two; exit 3'\" Exited (3)\n"},
	} {
		out := build(c.file, c.flags)
		if n := strings.Count(out, "Removed intermediate container"); n != c.cleared {
			t.Errorf("%s: %d containers were removed, want %d\n%s", c.name, n, c.cleared, out)
		}
		if got := m.Must("sh", "-c", list); got != c.want {
			t.Errorf("%s: there are\n%swant\n%s", c.name, got, c.want)
		}
	}

	// The failed one is as the step left it, and can be run again.
	id := strings.TrimSpace(m.Must("docker", "ps", "-lq"))
	for _, c := range []struct{ args, want string }{
		{"docker diff " + id, "C /tmp\nA /tmp/two\n"},
		{"docker cp " + id + ":/tmp/two - | tar xO", "made\n"},
		{"docker commit " + id + " kept >/dev/null && docker run --rm kept cat /tmp/two", "made\n"},
		{"docker inspect -f '{{.Config.User}} {{.Config.Labels.a}} {{.HostConfig.LogConfig.Type}} {{.State.ExitCode}}' " + id, "65534 b none 3\n"},
		{"docker start -a " + id + "; echo $?", "3\n"},
		{"docker rm " + id + " >/dev/null; docker ps -aq", ""},
	} {
		if got := m.Must("sh", "-c", c.args); got != c.want {
			t.Errorf("%s: %q, want %q", c.args, got, c.want)
		}
	}

	// Nothing stays of builds by other ways, nor of one that is given up.
	m.Do(bad, "sh", "-c", "docker build - ; nau build -f - .")
	m.Must("sh", "-c", `cd "$0" && mkfifo said && { printf 'FROM busybox\nRUN sleep 1000\n' | DOCKER_BUILDKIT=0 docker build - >said & } && p=$! &&
		while read -r line; do case $line in *"Running in"*) kill $p ;; esac; done <said; wait $p; true`, m.Dir)
	m.Until("", "docker", "ps", "-aq")
}
