//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"nau/test/e2e/harness"
)

// line is one command of the stock docker CLI and what it has to do.
type line struct {
	args  string // split at blanks; "…" inside single quotes stays together
	stdin string
	code  int
	out   string // part of standard output
	err   string // part of standard error
}

// words splits a command as a shell would, for what the tables need of it.
func words(s string) []string {
	var out []string
	var word strings.Builder
	quoted, begun := false, false
	for _, c := range s {
		switch {
		case c == '\'':
			quoted, begun = !quoted, true
		case c == ' ' && !quoted:
			if begun {
				out = append(out, word.String())
			}
			word.Reset()
			begun = false
		default:
			word.WriteRune(c)
			begun = true
		}
	}
	if begun {
		out = append(out, word.String())
	}
	return out
}

func run(t *testing.T, m *harness.Machine, lines []line) {
	t.Helper()
	for _, l := range lines {
		r := m.Do(l.stdin, "docker", words(l.args)...)
		if r.Code != l.code || !strings.Contains(r.Stdout, l.out) || !strings.Contains(r.Stderr, l.err) {
			t.Errorf("docker %s: exit code %d, want %d\nout: %s\nwant: %s\nerr: %s\nwant: %s", l.args, r.Code, l.code, r.Stdout, l.out, r.Stderr, l.err)
		}
	}
}

func needDocker(t *testing.T) {
	harness.Installed(t, "docker", "docker-cli")
}

// Each docker command that the lectures show, up to the Swarm ones, as written, on what the ones before it left; those that Docker refuses are refused
// with its own text. Names are used again and again there: what holds the name is removed before the next that may have it.
func TestDockerLectures(t *testing.T) {
	needDocker(t)
	m := harness.New(t)
	m.Registry()
	m.Up()
	noTarget := `invalid argument "source=app:/var/www:ro" for "--mount" flag: target is required`
	if major, _, _ := strings.Cut(m.Must("docker", "version", "--format", "{{.Client.Version}}"), "."); major != "28" { // later ones leave it to the daemon
		noTarget = `Error response from daemon: invalid mount config for type "volume": field Target must not be empty`
	}
	for _, l := range []struct {
		line
		command string
		after   func(t *testing.T, m *harness.Machine)
	}{
		{command: "docker search nginx", line: line{out: "NAME"}, after: func(t *testing.T, m *harness.Machine) {
			run(t, m, []line{{args: "search --format {{.Name}} nginx", out: "nginx\n"}})
		}},
		{command: "docker pull nginx", line: line{out: "Status: Downloaded newer image for nginx:latest\ndocker.io/library/nginx:latest\n"}},
		{command: "docker image ls", line: line{out: "nginx"}},
		{command: "docker run -d --name frontend-server nginx", after: func(t *testing.T, m *harness.Machine) {
			run(t, m, []line{
				{args: "ps --format '{{.Names}} {{.Image}} {{.Ports}}'", out: "frontend-server nginx 80/tcp\n"},
				{args: "run -d --name frontend-server nginx", code: 125, err: `Conflict. The container name "/frontend-server" is already in use by container`},
			})
		}},
		{command: "docker run -d --mount source=/app,target=/var/www --name frontend-server nginx", line: line{code: 125,
			err: `create /app: "/app" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path`}},
		{command: "docker run -d --mount source=app:/var/www:ro --name frontend-server nginx", line: line{code: 125, err: noTarget}},
		{command: "docker run -d --mount type=bind,source=/app,target=/var/www --name frontend-server nginx", line: line{code: 125,
			err: `invalid mount config for type "bind": bind source path does not exist: /app`}},
		{command: "docker run -d --mount source=app,target=/var/www,readonly --name frontend-server nginx", after: func(t *testing.T, m *harness.Machine) {
			run(t, m, []line{
				{args: "exec frontend-server touch /var/www/x", code: 1, err: "Read-only file system"},
				{args: "inspect -f '{{range .Mounts}}{{.Type}} {{.Name}} {{.Destination}} {{.RW}}{{end}}' frontend-server", out: "volume app /var/www false\n"},
				{args: "volume ls -q", out: "app\n"},
			})
		}},
		{command: "docker run -d -p 8000:80 --name frontend-server nginx", after: func(t *testing.T, m *harness.Machine) {
			run(t, m, []line{
				{args: "port frontend-server", out: "80/tcp -> 0.0.0.0:8000"},
				{args: "run -d -p 8000:80 --name second nginx", code: 125, err: "Bind for 0.0.0.0:8000 failed: port is already allocated"},
			})
			m.Answers("http://127.0.0.1:8000/", "nginx")
			m.Answers("http://"+harness.NodeIP+":8000/", "nginx")
		}},
	} {
		t.Run(l.command, func(t *testing.T) {
			if _, err := os.Stat("/app"); err == nil && strings.Contains(l.command, "type=bind") {
				l.code, l.err = 0, "" // this machine has what the lecture's has
			}
			m := m.In(t)
			l.args = strings.TrimPrefix(l.command, "docker ")
			run(t, m, []line{l.line})
			if l.after != nil {
				l.after(t, m)
			}
			if strings.Contains(l.command, "--name") {
				m.Do("", "docker", "rm", "-f", "frontend-server")
			}
		})
	}
}

// The lecture's Dockerfile as it is, by each way that the stock clients build: what is built is the same.
func TestDockerfileLecture(t *testing.T) {
	needDocker(t)
	m := harness.New(t)
	plugin(t, m)
	m.Registry()
	m.Up()
	m.Must("docker", "pull", "-q", "debian:stretch-slim")
	dir := project(t, m, "lecture-compose") + "/nginx"
	const want = `{"Labels":{"maintainer":"NGINX Docker Maintainers <docker-maint@nginx.com>"},"Cmd":["nginx","-g","daemon off;"],"Ports":{"80/tcp":{}},"Stop":"SIGTERM"}`
	for name, command := range map[string]string{
		"classic":  "DOCKER_BUILDKIT=0 docker build -t lecture:classic " + dir,
		"buildkit": "DOCKER_BUILDKIT=1 docker build -t lecture:buildkit " + dir,
		"buildx":   "docker buildx build --load -t lecture:buildx " + dir,
		"stdin":    "DOCKER_BUILDKIT=1 docker build -t lecture:stdin - <" + dir + "/Dockerfile",
	} {
		t.Run(name, func(t *testing.T) {
			m := m.In(t)
			m.Must("sh", "-c", command)
			run(t, m, []line{
				{args: `inspect -f '{"Labels":{{json .Config.Labels}},"Cmd":{{json .Config.Cmd}},"Ports":{{json .Config.ExposedPorts}},"Stop":{{json .Config.StopSignal}}}' lecture:` + name, out: want + "\n"},
				{args: "inspect -f '{{json .Config.Env}}' lecture:" + name, out: `"NGINX_VERSION=1.15.9-1~stretch","NJS_VERSION=1.15.9.0.2.8-1~stretch"`},
				{args: "run --rm lecture:" + name + " readlink /var/log/nginx/access.log", out: "/dev/stdout\n"},
				{args: "run --rm lecture:" + name + " readlink /var/log/nginx/error.log", out: "/dev/stderr\n"},
				{args: "history --format {{.CreatedBy}} lecture:" + name, out: "STOPSIGNAL SIGTERM"},
			})
		})
	}
}

// A container's life and all that is asked of it.
func TestDockerContainers(t *testing.T) {
	needDocker(t)
	m := harness.New(t)
	m.Registry()
	m.Up()
	m.Must("docker", "pull", "-q", "busybox")
	t.Run("run", func(t *testing.T) {
		run(t, m.In(t), []line{
			{args: "run --rm busybox echo hello", out: "hello\n"},
			{args: "run --rm -i busybox cat", stdin: "from here", out: "from here"},
			{args: "run --rm busybox sh -c 'echo out; echo err >&2; exit 7'", code: 7, out: "out\n", err: "err\n"},
			{args: "run --rm busybox no-such-program", code: 127, err: `exec: "no-such-program": executable file not found in $PATH`},
			{args: "run --rm busybox /etc", code: 126, err: "is a directory"},
			{args: "run --rm no-such-image", code: 125, err: "no-such-image"},
			{args: "run --rm -u 1000:1000 -w /tmp -e A=b --hostname here --add-host other:1.2.3.4 busybox sh -c 'id -u; pwd; echo $A; hostname; cat /etc/hosts'", out: "1000\n/tmp\nb\nhere\n"},
			{args: "run --rm --entrypoint echo busybox entry", out: "entry\n"},
			{args: "run --rm --init busybox ps", out: "/sbin/docker-init -- ps"},
			{args: "run --rm --init busybox sh -c 'exit 5'", code: 5},
			{args: "run --rm --read-only --tmpfs /t busybox sh -c 'touch /t/x && touch /x'", code: 1, err: "Read-only file system"},
			{args: "run --rm --ulimit nofile=100:200 busybox sh -c 'ulimit -n'", out: "100\n"},
			{args: "run --rm --cap-drop ALL busybox chown 1 /tmp", code: 1, err: "Operation not permitted"},
			{args: "run --rm --network none busybox ls /sys/class/net", out: "lo\n"},
			{args: "run --rm --network host busybox ls /sys/class/net", out: "uplink"},
			{args: "run --rm -m 4m busybox true", code: 125, err: "Minimum memory limit allowed is 6MB"},
			{args: "run --rm --log-driver nonsense busybox true", code: 125, err: "no log driver named 'nonsense' is registered"},
			{args: "run --rm --restart always busybox true", code: 125, err: "conflicting options"},
		})
	})
	t.Run("layer", func(t *testing.T) { // what the engine mounts into a container leaves nothing in its own layer
		m.Must("docker", "run", "--name", "layer", "busybox", "true")
		upper := strings.TrimSpace(m.Must("docker", "inspect", "-f", "{{.GraphDriver.Data.UpperDir}}", "layer"))
		left, err := os.ReadDir(upper)
		if err != nil || len(left) > 0 {
			t.Errorf("layer of a container that wrote nothing: %v %v", left, err)
		}
		run(t, m.In(t), []line{
			{args: "cp layer:/etc/hosts -", out: "hosts"}, // the place stands for the file, as in Docker's
			{args: "rm layer"},
		})
	})
	t.Run("life", func(t *testing.T) {
		run(t, m.In(t), []line{
			{args: "create --name life --stop-timeout 1 busybox sleep 1000"},
			{args: "ps -a --filter name=life --format {{.Status}}", out: "Created"},
			{args: "start life", out: "life"},
			{args: "ps --format {{.Names}}", out: "life"},
			{args: "exec life echo inside", out: "inside\n"},
			{args: "exec -e X=1 -w /tmp life sh -c 'echo $X; pwd; exit 3'", code: 3, out: "1\n/tmp\n"},
			{args: "exec life no-such-program", code: 127, out: "executable file not found"},
			{args: "exec -d life touch /detached"},
			{args: "pause life"},
			{args: "ps --format {{.Status}}", out: "(Paused)"},
			{args: "exec life true", code: 1, err: "is paused, unpause the container before exec"},
			{args: "unpause life"},
			{args: "rename life live"},
			{args: "top live", out: "sleep 1000"},
			{args: "stats --no-stream live", out: "live"},
			{args: "update -m 64m --restart unless-stopped live", out: "live"},
			{args: "inspect -f '{{.HostConfig.Memory}} {{.HostConfig.RestartPolicy.Name}} {{.State.Status}}' live", out: "67108864 unless-stopped running"},
			{args: "rm live", code: 1, err: `cannot remove container "live": container is running: stop the container before removing or force remove`},
			{args: "restart -t 0 live"},
			{args: "stop -t 0 live"},
			{args: "inspect -f {{.State.ExitCode}} live", out: "137"},
			{args: "kill live", code: 1, err: "is not running"},
			{args: "wait live", out: "137"},
			{args: "start live"},
			{args: "kill -s KILL live"},
			{args: "rm live", out: "live"},
			{args: "rm live", code: 1, err: "No such container: live"},
			{args: "inspect live", code: 1, err: "o such object: live"},
		})
	})
	t.Run("logs", func(t *testing.T) {
		run(t, m.In(t), []line{
			{args: "run -d --name talker busybox sh -c 'for i in 1 2 3; do echo line $i; sleep 0.1; done; echo last >&2'"},
			{args: "logs -f talker", out: "line 1\nline 2\nline 3\n", err: "last\n"},
			{args: "logs --tail 1 talker", err: "last\n"},
			{args: "logs -t talker", out: "Z line 1\n"},
			{args: "run --name silent --log-driver none busybox echo x"},
			{args: "logs silent", code: 1, err: "configured logging driver does not support reading"},
			{args: "rm talker silent"},
		})
	})
	t.Run("restart policy", func(t *testing.T) {
		m := m.In(t)
		run(t, m, []line{{args: "run -d --name failing --restart on-failure:2 busybox sh -c 'exit 3'"}})
		m.Until("2 exited 3", "docker", "inspect", "-f", "{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}", "failing")
	})
	t.Run("health", func(t *testing.T) {
		m := m.In(t)
		run(t, m, []line{
			{args: "run -d --name well --health-cmd 'true' --health-interval 100ms busybox sleep 1000"},
			{args: "run -d --name ill --health-cmd 'false' --health-interval 100ms --health-retries 2 busybox sleep 1000"},
		})
		m.Until("healthy", "docker", "inspect", "-f", "{{.State.Health.Status}}", "well")
		m.Until("unhealthy", "docker", "inspect", "-f", "{{.State.Health.Status}}", "ill")
		run(t, m, []line{{args: "rm -f well ill"}})
	})
	t.Run("files", func(t *testing.T) {
		m := m.In(t)
		file := filepath.Join(m.Dir, "file")
		if err := os.WriteFile(file, []byte("content\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		run(t, m, []line{
			{args: "run -d --name files busybox sleep 1000"},
			{args: "cp " + file + " files:/tmp/in"},
			{args: "exec files cat /tmp/in", out: "content\n"},
			{args: "cp files:/tmp/in -", out: "content\n"},
			{args: "cp files:/nothing " + m.Dir, code: 1, err: "Could not find the file /nothing in container files"},
			{args: "diff files", out: "A /tmp/in\n"},
			{args: "commit -c 'CMD [\"cat\",\"/tmp/in\"]' files with-file:1", out: "sha256:"},
			{args: "run --rm with-file:1", out: "content\n"},
			{args: "export -o " + file + ".tar files"},
			{args: "import " + file + ".tar imported:1", out: "sha256:"},
			{args: "run --rm imported:1 cat /tmp/in", out: "content\n"},
			{args: "rm -f files"},
			{args: "rmi with-file:1 imported:1", out: "Untagged: with-file:1"},
		})
	})
	t.Run("events", func(t *testing.T) {
		run(t, m.In(t), []line{{args: "events --since 10m --until 0s --filter event=die --filter container=failing", out: "exitCode=3"}})
	})
}

// Images come, are shown, and go.
func TestDockerImages(t *testing.T) {
	needDocker(t)
	m := harness.New(t)
	m.Registry()
	m.Up()
	archive := filepath.Join(m.Dir, "saved.tar")
	run(t, m, []line{
		{args: "pull busybox", out: "Status: Downloaded newer image for busybox:latest"},
		{args: "pull busybox", out: "Status: Image is up to date for busybox:latest"},
		{args: "pull no/such", code: 1, err: "repository no/such not found"},
		{args: "tag busybox other:1"},
		{args: "images --format {{.Repository}}:{{.Tag}}", out: "other:1"},
		{args: "images --filter reference=oth* --format {{.Repository}}", out: "other\n"},
		{args: "history busybox", out: "IMAGE"},
		{args: "image inspect -f {{.Os}} busybox", out: "linux"},
		{args: "save -o " + archive + " other:1"},
		{args: "rmi other:1", out: "Untagged: other:1"},
		{args: "load -i " + archive, out: "Loaded image: other:1"},
		{args: "run -d --name user busybox sleep 1000"},
		{args: "rmi busybox other:1", code: 1, err: "must force"},
		{args: "rm -f user"},
		{args: "system df", out: "Images"},
		{args: "image prune -af", out: "Total reclaimed space"},
		{args: "images -q"},
		{args: "rmi busybox", code: 1, err: "No such image: busybox:latest"},
	})
}

// Volumes and networks.
func TestDockerVolumesAndNetworks(t *testing.T) {
	needDocker(t)
	m := harness.New(t)
	m.Registry()
	m.Up()
	t.Run("volumes", func(t *testing.T) {
		run(t, m.In(t), []line{
			{args: "run --rm -v data:/data busybox sh -c 'echo kept > /data/f'"},
			{args: "run --rm -v data:/data:ro busybox sh -c 'cat /data/f; echo > /data/g'", code: 1, out: "kept\n", err: "Read-only file system"},
			{args: "run --rm -v copied:/etc busybox cat /etc/passwd", out: "root"},
			{args: "volume create --label a=b -o type=tmpfs -o device=tmpfs -o o=size=1m small", out: "small"},
			{args: "run --rm -v small:/x busybox df /x", out: "1024"},
			{args: "volume ls -q --filter label=a=b", out: "small\n"},
			{args: "create --name holder -v data:/data busybox"},
			{args: "volume rm data", code: 1, err: "remove data: volume is in use - ["},
			{args: "rm holder"},
			{args: "volume rm data copied small", out: "data\ncopied\nsmall\n"},
			{args: "volume rm data", code: 1, err: "get data: no such volume"},
			{args: "volume create a/b", code: 1, err: "includes invalid characters for a local volume name"},
		})
	})
	t.Run("networks", func(t *testing.T) {
		m := m.In(t)
		run(t, m, []line{
			{args: "network create --subnet 172.30.0.0/24 --label a=b net"},
			{args: "network create net", code: 1, err: "network with name net already exists"},
			{args: "network create --subnet 172.30.0.0/25 overlap", code: 1, err: "Pool overlaps with other one on this address space"},
			{args: "run -d --name web --network net --network-alias alias --ip 172.30.0.77 nginx"},
			{args: "inspect -f {{.NetworkSettings.Networks.net.IPAddress}} web", out: "172.30.0.77"},
			{args: "run --rm --network net alpine wget -qO- http://web/", out: "nginx"},
			{args: "run --rm --network net alpine wget -qO- http://alias/", out: "nginx"},
			{args: "run --rm --network container:web alpine wget -qO- http://127.0.0.1/", out: "nginx"},
			{args: "run --rm alpine wget -qO- -T 2 http://web/", code: 1},
			{args: "run -d --name late alpine sleep 1000"},
			{args: "network connect --alias second net late"},
			{args: "exec late wget -qO- http://172.30.0.77/", out: "nginx"},
			{args: "network rm net", code: 1, err: "has active endpoints"},
			{args: "network disconnect net late"},
			{args: "rm -f web late"},
			{args: "network ls --filter label=a=b --format {{.Name}}", out: "net\n"},
			{args: "network rm net", out: "net\n"},
			{args: "network rm bridge", code: 1, err: "bridge is a pre-defined network and cannot be removed"},
			{args: "network inspect nothing", code: 1, err: "network nothing not found"},
			{args: "run --rm --network nothing busybox true", code: 125, err: "network nothing not found"},
		})
	})
}

// A kill of the program disturbs no container, and policies are kept over a restart.
func TestDockerSurvives(t *testing.T) {
	needDocker(t)
	m := harness.New(t)
	m.Registry()
	m.Up()
	run(t, m, []line{
		{args: "run -d --name steady -p 8000:80 nginx"},
		{args: "run -d --name always --restart always busybox sleep 1000"},
		{args: "run -d --name gone --rm busybox sleep 1000"},
	})
	before := m.Must("docker", "inspect", "-f", "{{.State.Pid}}", "steady")
	m.Kill()
	m.Up()
	if after := m.Must("docker", "inspect", "-f", "{{.State.Pid}}", "steady"); after != before {
		t.Errorf("the container was started again: %s, before %s", after, before)
	}
	m.Answers("http://127.0.0.1:8000/", "nginx")
	run(t, m, []line{{args: "stop -t 0 gone"}, {args: "ps -aq --filter name=gone"}})
	m.Down()
	m.Up()
	m.Until("running", "docker", "inspect", "-f", "{{.State.Status}}", "always")
	m.Until("exited", "docker", "inspect", "-f", "{{.State.Status}}", "steady")
}

// Containers are created side by side: of those that want one name, one gets it; a volume is filled once; who names none has a name of its own.
func TestDockerCreatesAtOnce(t *testing.T) {
	needDocker(t)
	m := harness.New(t)
	m.Registry()
	m.Up()
	run(t, m, []line{{args: "pull -q nginx"}})
	const n = 8
	same, unnamed := make([]harness.Result, n), make([]harness.Result, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { same[i] = m.Do("", "docker", "create", "--name", "wanted", "-v", "shared:/etc/nginx", "nginx") })
		all.Go(func() { unnamed[i] = m.Do("", "docker", "create", "-v", "shared:/etc/nginx", "nginx") })
	}
	all.Wait()
	got := 0
	for i := range n {
		switch {
		case same[i].Code == 0:
			got++
		case !strings.Contains(same[i].Stderr, `The container name "/wanted" is already in use`):
			t.Errorf("refusal: %+v", same[i])
		}
		if unnamed[i].Code != 0 {
			t.Errorf("create without a name: %+v", unnamed[i])
		}
	}
	if got != 1 {
		t.Errorf("%d containers have the one name", got)
	}
	names := strings.Fields(m.Must("docker", "ps", "-a", "--format", "{{.Names}}"))
	slices.Sort(names)
	if len(slices.Compact(names)) != n+1 {
		t.Errorf("names of %d containers: %v", n+1, names)
	}
	run(t, m, []line{{args: "run --rm -v shared:/v busybox ls /v", out: "nginx.conf"}})
}

// docker ps shows the containers of pods, and both sides' logs agree.
func TestDockerSeesPods(t *testing.T) {
	needDocker(t)
	m := harness.New(t)
	m.Registry()
	m.Up()
	m.Kubectl("run", "talker", "--image=busybox", "--restart=Never", "--", "sh", "-c", "echo from a pod; sleep 1000")
	m.Kubectl("wait", "--for=condition=Ready", "pod/talker", "--timeout=60s")
	name := strings.TrimSpace(m.Must("docker", "ps", "--filter", "name=k8s_talker_", "--format", "{{.Names}}"))
	m.Until("from a pod", "docker", "logs", name)
	if a, b := m.Kubectl("logs", "talker"), m.Must("docker", "logs", name); a != b {
		t.Errorf("kubectl logs %q, docker logs %q", a, b)
	}
	var doc []map[string]any
	if err := json.Unmarshal([]byte(m.Must("docker", "inspect", name)), &doc); err != nil || len(doc) != 1 {
		t.Errorf("inspect of a pod's container: %v", err)
	}
	run(t, m, []line{{args: "exec " + name + " echo in the pod", out: "in the pod\n"}})
}
