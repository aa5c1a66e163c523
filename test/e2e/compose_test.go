//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"nau/test/e2e/harness"
)

// project copies a project of testdata into the machine's directory and gives its folder.
func project(t *testing.T, m *harness.Machine, name string) string {
	t.Helper()
	dir := filepath.Join(m.Dir, name)
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", name))); err != nil {
		t.Fatal(err)
	}
	return dir
}

// step is one call of Compose, and what has to be in its output (both streams).
type step struct {
	args string
	want string
	not  string
	code int
}

func compose(t *testing.T, m *harness.Machine, dir string, program string, steps []step) {
	t.Helper()
	for _, s := range steps {
		r := m.Do("", "sh", "-c", `cd "$0" && DOCKER_BUILDKIT=0 COMPOSE_DOCKER_CLI_BUILD=0 exec "$@"`+" </dev/null", dir, "sh", "-c", program+" "+s.args)
		out := r.Stdout + r.Stderr
		if r.Code != s.code || !strings.Contains(out, s.want) || s.not != "" && strings.Contains(out, s.not) {
			t.Errorf("%s %s: exit code %d, want %d; want %q and not %q in\n%s", filepath.Base(program), s.args, r.Code, s.code, s.want, s.not, out)
		}
	}
}

// Compose version 2 with a project of several services: all that a file can say, and the life of it.
func TestComposeV2(t *testing.T) {
	program := filepath.Join(harness.Client(t, "compose"), "compose")
	m := harness.New(t)
	m.Registry()
	m.Up()
	for _, image := range []string{"busybox", "alpine", "nginx"} {
		m.Must("docker", "pull", "-q", image)
	}
	dir := project(t, m, "compose")
	compose(t, m, dir, program, []step{
		{args: "config --services", want: "worker"},
		{args: "build", want: "Built"},
		{args: "up -d", want: "Container shop-db-1  Healthy"}, // web waits for a healthy database and a finished migration
		{args: "ps -a --format '{{.Service}} {{.State}} {{.Health}} {{.ExitCode}}'", want: "migrate exited  0", not: "debug"},
		{args: "ps --format '{{.Service}} {{.State}} {{.Health}}'", want: "db running healthy"},
		{args: "port web 80", want: "0.0.0.0:8080"},
	})
	m.Answers("http://127.0.0.1:8080/", "hello from the build")
	compose(t, m, dir, program, []step{
		{args: "exec -T web cat /etc/page /run/secrets/token", want: "<h1>configured</h1>\ns3cret\n"},
		{args: "exec -T web sh -c 'echo $MODE $VAR'", want: "production fromfile\n"},
		{args: "exec -T web sh -c 'ulimit -n; stat -c %a /etc/page'", want: "1024\n440\n"},
		{args: "exec -T worker nslookup database", want: "Name:	database"},
		{args: "exec -T worker sh -c 'wget -qO- http://shop/'", want: "hello from the build"},
		{args: "exec -T worker wget -qO- -T 2 http://192.0.2.10:8080/", code: 1}, // the network is internal
		{args: "logs db", want: "db up"},
		{args: "logs --tail 1 --no-log-prefix worker", want: "working"},
		{args: "top worker", want: "sleep 100000"},
		{args: "events --since 5m --until 0s --json", want: `"action":"health_status: healthy"`, code: 1}, // it takes the end of the stream for an error
		{args: "images", want: "shop/web"},
		{args: "ls", want: "running(4)"},
		{args: "run --rm -T worker echo one-off", want: "one-off"},
		{args: "--profile tools run --rm -T debug", want: "debugging"},
		{args: "up -d --scale worker=3 --no-recreate", want: "shop-worker-3"},
		{args: "ps -q worker | wc -l", want: "3"},
		{args: "restart web", want: "Started"},
		{args: "restart web", want: "Started"}, // with two networks, at once after it
		{args: "cp web:/etc/page page.out && cat page.out", want: "<h1>configured</h1>"},
		{args: "cp page.out web:/copied", want: "Copied"},
		{args: "exec -T web cat /copied", want: "<h1>configured</h1>"},
		{args: "pause worker", want: "Paused"},
		{args: "ps --format '{{.Service}} {{.State}}' --status paused", want: "worker paused"},
		{args: "unpause worker", want: "Unpaused"},
		{args: "stop -t 1 worker", want: "Stopped"},
		{args: "start worker", want: "Started"},
		{args: "kill -s KILL worker", want: "Killed"},
		{args: "rm -f worker", want: "Removed"},
		{args: "up -d --wait", want: "Healthy"},
		{args: "up -d", want: "Running", not: "Recreate"}, // nothing changed
		{args: "volumes", want: "shop_store"},
		{args: "stats --no-stream", want: "shop-db-1"},
		{args: "down -v --rmi local --remove-orphans", want: "Volume shop_store  Removed"},
		{args: "ps -aq", not: "a"},
	})
	left := m.Must("docker", "ps", "-aq") + m.Must("docker", "volume", "ls", "-q") + m.Must("docker", "network", "ls", "-q", "--filter", "type=custom")
	if strings.TrimSpace(left) != "" {
		t.Errorf("left by down: %s", left)
	}
}

// The lecture's Dockerfile and Compose file as they are, with Debian's docker-compose and with version 2, that by both protocols of building.
func TestComposeLecture(t *testing.T) {
	first := func(t *testing.T) string { return harness.Installed(t, "docker-compose", "docker-compose") }
	second := func(t *testing.T) string { return filepath.Join(harness.Client(t, "compose"), "compose") }
	for name, by := range map[string]struct {
		find  func(t *testing.T) string
		built string
	}{
		"1.29":               {first, "Successfully tagged"},
		"2":                  {second, "Successfully tagged"},
		"2 with BuildKit":    {second, "Built"},
		"2 with buildx bake": {second, "Built"},
	} {
		t.Run(name, func(t *testing.T) {
			program := by.find(t)
			m := harness.New(t)
			if strings.Contains(name, "with") {
				plugin(t, m)
				program = "DOCKER_BUILDKIT=1 COMPOSE_BAKE=" + strconv.FormatBool(strings.Contains(name, "bake")) + " " + program
			}
			m.Registry()
			m.Up()
			dir := project(t, m, "lecture-compose")
			logs := filepath.Join(m.Dir, "logs")
			if err := os.Mkdir(logs, 0o755); err != nil {
				t.Fatal(err)
			}
			program = "NGINX_LOG_PATH=" + logs + " " + program
			compose(t, m, dir, program, []step{
				{args: "build", want: by.built},
				{args: "up -d", want: "nginx"},
				{args: "ps", want: "nginx"},
				{args: "exec -T nginx cat /run/secrets/key_file", want: "the key"},
				{args: "exec -T nginx ls -d /var/www", want: "/var/www"},
				{args: "exec -T nginx sh -c 'mkdir -p /usr/share/nginx/html; echo a page of nginx >/usr/share/nginx/html/index.html'"},
			})
			m.Answers("http://127.0.0.1:80/", "nginx")
			compose(t, m, dir, program, []step{
				{args: "logs", want: "GET /"},
				{args: "restart -t 1", want: "nginx"},
				{args: "top", want: "nginx"},
				{args: "down -v", want: "app"},
			})
			if left := m.Must("docker", "ps", "-aq"); left != "" {
				t.Errorf("left by down: %s", left)
			}
		})
	}
}
