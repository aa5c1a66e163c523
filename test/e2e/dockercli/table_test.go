package dockercli

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

const small = `
[]
.
$ docker
> Usage
[run]
--add-host, --dns
$ docker run --add-host a:1.2.3.4 busybox
> 1.2.3.4
> more
--old@28
! gone
[container run] = run
[swarm ca] ! not a manager
$ docker swarm ca
[trust sign@28] # the CLI's own
`

func TestParse(t *testing.T) {
	table, err := Parse(small)
	if err != nil {
		t.Fatal(err)
	}
	run := table[1]
	if len(table) != 5 || len(run.Rows) != 2 || !slices.Equal(run.Rows[0].Flags, []string{"--add-host", "--dns"}) || len(run.Rows[0].Want) != 2 || !run.Rows[1].Refused {
		t.Errorf("got %+v", run)
	}
	if w := table[3].Whole; w == nil || !w.Refused || w.Line != "docker swarm ca" {
		t.Errorf("got %+v", w)
	}
	for _, bad := range []string{"--flag", "[run", "[run] what", "[run]\n> early", "[run]\n.\n$ a\n$ b", "[run]\n.\nwords"} {
		if _, err := Parse(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestCompare(t *testing.T) {
	table, err := Parse(small)
	if err != nil {
		t.Fatal(err)
	}
	run := []string{"--add-host", "--dns"}
	for _, c := range []struct {
		major          string
		cli            map[string][]string
		missing, extra string
	}{
		{"28", map[string][]string{"": {}, "run": append(run, "--old"), "container run": append(run, "--old"), "swarm ca": {"--rotate"}, "trust sign": {"--local"}}, "run .; container run .", ""},
		{"29", map[string][]string{"": {}, "run": run, "container run": run, "swarm ca": {}}, "run .; container run .", ""},
		{"29", map[string][]string{"": {"--new"}, "run": run[:1], "swarm ca": {}, "novel": {}}, "--new; run .; novel", "container run; run --dns"},
	} {
		missing, extra := Compare(Of(table, c.major), c.cli)
		slices.Sort(missing)
		want := strings.Split(c.missing, "; ")
		slices.Sort(want)
		if fmt.Sprint(missing) != fmt.Sprint(want) || strings.Join(extra, "; ") != c.extra {
			t.Errorf("%s, %v: missing %q, extra %q", c.major, c.cli, missing, extra)
		}
	}
}

func TestParseHelp(t *testing.T) {
	h := ParseHelp(`
Usage:  docker [OPTIONS] COMMAND

Common Commands:
  run         Create and run
  compose*    Docker Compose

Options:
      --config string      Location of
                           --not-a-flag
  -a, --attach list        Attach
      --help               Print usage

Run 'docker COMMAND --help' for --more
`)
	if !slices.Equal(h.Commands, []string{"run", "compose"}) || !slices.Equal(h.Flags, []string{"--config", "--attach"}) {
		t.Errorf("got %+v", h)
	}
}
