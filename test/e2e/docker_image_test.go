//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"nau/test/e2e/harness"
)

// Images: what is made of containers and archives, what goes, and in which words.
func TestDockerImageCommands(t *testing.T) {
	needDocker(t)
	m := harness.New(t)
	m.Registry()
	m.Up()
	for _, name := range []string{"busybox", "nginx"} {
		m.Must("docker", "pull", "-q", name)
	}
	id := func(m *harness.Machine, ref string) string {
		return strings.TrimSpace(m.Must("docker", "inspect", "-f", "{{.Id}}", ref))
	}
	t.Run("commit", func(t *testing.T) {
		m := m.In(t)
		run(t, m, []line{
			{args: "run -d --name source -e KEPT=yes -l kept=yes --health-cmd true -w /tmp -p 8070:70 busybox sleep 1000"},
			{args: "exec source sh -c 'echo new >/new; rm /etc/hostname; mkdir /deep; echo x >/deep/f'"},
			{args: "commit -a somebody -m 'the reason' -c 'ENV A=b KEPT=no' -c 'EXPOSE 81/udp' -c 'WORKDIR deeper' -c 'ONBUILD RUN true' -c 'HEALTHCHECK --retries=7 CMD true' -c 'LABEL l=m' -c 'CMD [\"cat\",\"/new\"]' source made:1", out: "sha256:"},
			{args: "run --rm made:1", out: "new\n"},
			{args: "run --rm made:1 sh -c 'pwd; echo $A $KEPT'", out: "/tmp/deeper\nb no\n"},
			{args: "inspect -f '{{.Author}} {{.Comment}} {{.Config.Labels}} {{.Config.OnBuild}} {{.Config.Healthcheck.Retries}} {{.Config.ExposedPorts}} {{.Architecture}}' made:1",
				out: "somebody the reason map[kept:yes l:m] [RUN true] 7 map[70/tcp:{} 81/udp:{}] "},
			{args: "history --format '{{.CreatedBy}}|{{.Comment}}' made:1", out: "sleep 1000|the reason\n"},
			{args: "commit -c 'RUN true' source made:2", code: 1, err: "RUN is not a valid change command"},
			{args: "commit -c 'EXPOSE many' source made:2", code: 1, err: "many"},
			{args: "commit source Bad:Name", code: 1, err: "invalid reference format"},
			{args: "commit nobody", code: 1, err: "No such container: nobody"},
			{args: "save -o made.tar made:1"},
			{args: "pause source"},
			{args: "commit source made:3", out: "sha256:"},
			{args: "inspect -f {{.State.Status}} source", out: "paused\n"},
			{args: "unpause source"},
		})
		// The layer is what the container changed, without what its runtime made to mount on.
		if top := topLayer(t, m, "made.tar"); !slices.Equal(top, []string{"deep/", "deep/f", "new"}) {
			t.Errorf("the layer of a commit holds %q", top)
		}
		// A document in the request comes before the container's own.
		out := m.Must("curl", "-s", "--unix-socket", filepath.Join(m.RunDir, "docker.sock"), "-H", "Content-Type: application/json", "-d", `{"Cmd":["echo","given"],"Env":["GIVEN=1"]}`, "http://docker/v1.44/commit?container=source&repo=made&tag=4")
		run(t, m, []line{
			{args: "run --rm made:4", out: "given\n"},
			{args: "run --rm made:4 env", out: "GIVEN=1\n"},
			{args: "run --rm made:4 env", out: "KEPT=yes\n"},
			{args: "rm -f source"},
			{args: "rmi made:1 made:3 made:4", out: "Untagged: made:1\n"},
		})
		if !strings.Contains(out, `"Id":"sha256:`) {
			t.Errorf("commit answers %s", out)
		}
	})
	t.Run("import", func(t *testing.T) {
		m := m.In(t)
		m.Must("sh", "-c", "docker create --name tree busybox && docker export -o tree.tar tree && gzip -k tree.tar")
		listener := m.Listen("tcp", "127.0.0.1:8990")
		server := &http.Server{Handler: http.FileServer(http.Dir(m.Dir))}
		go server.Serve(listener)
		defer server.Close()
		run(t, m, []line{
			{args: "import -m why -c 'CMD [\"echo\",\"imported\"]' tree.tar.gz imported:1", out: "sha256:"},
			{args: "run --rm imported:1", out: "imported\n"},
			{args: "history --format {{.Comment}} imported:1", out: "why\n"},
			{args: "import --platform linux/arm64 tree.tar imported:2", out: "sha256:"},
			{args: "inspect -f {{.Os}}/{{.Architecture}} imported:2", out: "linux/arm64\n"},
			{args: "create --name strange imported:2 true", err: "WARNING: The requested image's platform (linux/arm64) does not match the detected host platform (linux/"},
			{args: "import http://127.0.0.1:8990/tree.tar.gz imported:3", out: "Downloading from http://127.0.0.1:8990/tree.tar.gz\n"},
			{args: "history --format {{.Comment}} imported:3", out: "Imported from http://127.0.0.1:8990/tree.tar.gz\n"},
			{args: "run --rm imported:3 echo by address", out: "by address\n"},
			{args: "import http://127.0.0.1:8990/nothing imported:4", code: 1, err: "failed to GET http://127.0.0.1:8990/nothing with status 404 Not Found: 404 page not found"},
			{args: "import http://127.0.0.1:8991/nothing imported:4", code: 1, err: "connection refused"},
			{args: "import --platform windows/amd64 tree.tar", code: 1, err: "operating system is not supported"},
			{args: "rm tree strange"},
			{args: "rmi imported:1 imported:2 imported:3"},
		})
	})
	t.Run("remove", func(t *testing.T) {
		m := m.In(t)
		base := id(m, "busybox")
		short := strings.TrimPrefix(base, "sha256:")[:12]
		m.Must("docker", "tag", "busybox", "other:1")
		run(t, m, []line{
			{args: "rmi other:1", out: "Untagged: other:1\n"},
			{args: "tag busybox other:1"},
			{args: "rmi " + short, code: 1, err: "conflict: unable to delete " + short + " (must be forced) - image is referenced in multiple repositories"},
			{args: "rmi other:1"},
			{args: "rmi nothing", code: 1, err: "No such image: nothing:latest"},
			{args: "tag busybox sha256:tag", code: 1, err: "refusing to create an ambiguous tag using digest algorithm as name"},
			{args: "images -q --filter until=1s --filter until=876000h", out: ""},
			{args: "images --format {{.Tag}} --filter reference=docker.io/library/busybox", out: "latest\n"},
			{args: "rmi -f nothing", err: "No such image: nothing:latest"},
			{args: "create --name holds busybox"},
			{args: "rmi busybox", code: 1, err: `conflict: unable to remove repository reference "busybox" (must force) - container `},
			{args: "rmi " + short, code: 1, err: "conflict: unable to delete " + short + " (must be forced) - image is being used by stopped container "},
			{args: "rm holds"},
			// What stands on an image that is removed by force is as it was.
			{args: "build -q -t doomed -", stdin: "FROM busybox\nENV WORD=inherited\nCMD echo $WORD\n"},
			{args: "create --name bereft doomed"},
			{args: "rmi -f doomed", out: "Untagged: doomed:latest\n"},
			{args: "start -a bereft", out: "inherited\n"},
			{args: "rm bereft"},
			{args: "run -d --name holds busybox sleep 1000"},
			{args: "rmi -f " + short, code: 1, err: "conflict: unable to delete " + short + " (cannot be forced) - image is being used by running container "},
			{args: "rmi -f busybox", out: "Untagged: busybox:latest\n"}, // the image stays, without a name
			{args: "inspect -f {{.Id}} " + short, out: base},
			{args: "exec holds echo still", out: "still\n"},
			{args: "tag " + short + " busybox"},
			{args: "rm -f holds"},
			{args: "rmi --platform linux/s390x busybox", code: 1, err: "Content will be removed from all images referencing this variant."},
			{args: "rmi -f --platform linux/s390x busybox", err: "image with reference busybox was found but does not provide any platform"},
		})
		// A classic build leaves the images of its steps: what stands on them holds them.
		write(t, filepath.Join(m.Dir, "steps", "Dockerfile"), "FROM busybox\nRUN echo 1 >/one\nRUN echo 2 >/two\nENV A=b\n")
		build := m.Command("docker", "build", "-q", "-t", "steps", "steps")
		build.Env = append(build.Env, "DOCKER_BUILDKIT=0")
		if err := build.Run(); err != nil {
			t.Fatal(err)
		}
		parent := strings.TrimSpace(m.Must("docker", "inspect", "-f", "{{.Parent}}", "steps"))
		run(t, m, []line{
			{args: "rmi " + parent, code: 1, err: "conflict: unable to delete " + strings.TrimPrefix(parent, "sha256:")[:12] + " (cannot be forced) - image has dependent child images"},
			{args: "rmi -f " + parent, code: 1, err: "image has dependent child images"},
		})
		top := id(m, "steps")
		out := m.Must("docker", "rmi", "steps")
		for _, want := range []string{"Untagged: steps:latest\nDeleted: " + top + "\n", "Deleted: " + parent + "\n"} {
			if !strings.Contains(out, want) {
				t.Errorf("rmi of an image of several steps prints %s, want %s", out, want)
			}
		}
		if n := strings.Count(out, "Deleted: "); n != 3+2 { // images of the steps, and the layers of two
			t.Errorf("rmi of an image of three steps deletes %d things:\n%s", n, out)
		}
		run(t, m, []line{{args: "run --rm busybox echo stays", out: "stays\n"}})
	})
	t.Run("archives", func(t *testing.T) {
		m := m.In(t)
		box, web := id(m, "busybox"), id(m, "nginx")
		m.Must("docker", "tag", "busybox", "second:name")
		m.Must("docker", "save", "-o", "both.tar", "busybox", "nginx", "second:name")
		m.Must("sh", "-c", "gzip -k both.tar && docker save "+strings.TrimPrefix(box, "sha256:")+" >byid.tar")
		arch := strings.TrimSpace(m.Must("docker", "version", "-f", "{{.Server.Arch}}"))
		run(t, m, []line{
			{args: "save --platform linux/s390x busybox", code: 1, err: "does not provide the specified platform (linux/s390x)"},
			{args: "save --platform linux/" + arch + " -o one.tar busybox"},
			{args: "save nothing", code: 1, err: "No such image: nothing:latest"},
			{args: "rmi busybox nginx second:name"},
			{args: "load --platform linux/s390x -i one.tar", code: 1, err: "linux/s390x"},
			{args: "inspect busybox", code: 1, err: "No such object: busybox"},
			{args: "load --platform linux/" + arch + " -i one.tar", out: "Loaded image: busybox:latest\n"},
			{args: "load -q -i both.tar.gz", out: "Loaded image: nginx:latest\n"},
			{args: "inspect -f {{.Id}} second:name", out: box},
			{args: "inspect -f {{.Id}} nginx", out: web},
			{args: "rmi busybox second:name"},
			{args: "load -i byid.tar", out: "Loaded image ID: " + box + "\n"},
			{args: "tag " + box + " busybox"},
			{args: "load", stdin: "this is no archive", code: 1},
			{args: "run --rm busybox echo back", out: "back\n"},
		})
	})
	t.Run("registry", func(t *testing.T) {
		m := m.In(t)
		lines := func(args ...string) []string {
			return strings.Split(strings.TrimSuffix(regexp.MustCompile(`[0-9a-f]{64}|\b[0-9a-f]{12}\b|size: \d+`).ReplaceAllString(m.Must("docker", args...), "#"), "\n"), "\n")
		}
		same := func(what string, got, want []string) {
			t.Helper()
			if !slices.Equal(got, want) {
				t.Errorf("%s:\n%s\nwant:\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
		m.Must("sh", "-c", "docker export $(docker create busybox) | docker import - 127.0.0.1:5000/pushed && docker container prune -f")
		same("push", lines("push", "127.0.0.1:5000/pushed"), []string{"Using default tag: latest", "The push refers to repository [127.0.0.1:5000/pushed]", "#: Preparing", "#: Pushed", "latest: digest: sha256:# #"})
		same("push again", lines("push", "127.0.0.1:5000/pushed"), []string{"Using default tag: latest", "The push refers to repository [127.0.0.1:5000/pushed]", "#: Preparing", "#: Layer already exists", "latest: digest: sha256:# #"})
		m.Must("docker", "rmi", "127.0.0.1:5000/pushed")
		m.Must("docker", "image", "prune", "-af")
		same("pull", lines("pull", "127.0.0.1:5000/pushed:latest"), []string{"latest: Pulling from pushed", "#: Pulling fs layer", "#: Verifying Checksum", "#: Download complete", "#: Pull complete",
			"Digest: sha256:#", "Status: Downloaded newer image for 127.0.0.1:5000/pushed:latest", "127.0.0.1:5000/pushed:latest"})
		same("pull again", lines("pull", "127.0.0.1:5000/pushed"), []string{"Using default tag: latest", "latest: Pulling from pushed", "Digest: sha256:#", "Status: Image is up to date for 127.0.0.1:5000/pushed:latest", "127.0.0.1:5000/pushed:latest"})
		same("pull quietly", lines("pull", "-q", "127.0.0.1:5000/pushed"), []string{"127.0.0.1:5000/pushed:latest"})
		// Several layers, some of which are there; all tags of a repository; another repository's layers.
		m.Must("docker", "pull", "-q", "127.0.0.1:5000/library/nginx")
		m.Must("docker", "tag", "127.0.0.1:5000/library/nginx", "127.0.0.1:5000/several:1")
		m.Must("docker", "tag", "127.0.0.1:5000/pushed", "127.0.0.1:5000/several:2")
		layers := len(strings.Fields(m.Must("docker", "inspect", "-f", "{{range .RootFS.Layers}}{{println .}}{{end}}", "127.0.0.1:5000/library/nginx")))
		out := lines("push", "-a", "127.0.0.1:5000/several")
		count := func(text string) (n int) {
			for _, l := range out {
				if strings.Contains(l, text) {
					n++
				}
			}
			return n
		}
		if count("The push refers to repository [127.0.0.1:5000/several]") != 1 || count("#: Preparing") != layers+1 || count("#: Mounted from") != layers+1 || count("digest: sha256:#") != 2 {
			t.Errorf("push of all tags:\n%s", strings.Join(out, "\n"))
		}
		same("pull of all tags", lines("pull", "-a", "127.0.0.1:5000/several"), []string{"1: Pulling from several", "Digest: sha256:#", "2: Pulling from several", "Digest: sha256:#",
			"Status: Image is up to date for 127.0.0.1:5000/several", "127.0.0.1:5000/several"})
		run(t, m, []line{
			{args: "push 127.0.0.1:5000/several:none", code: 1, err: "tag does not exist: 127.0.0.1:5000/several:none"},
			{args: "pull 127.0.0.1:5000/several:none", code: 1, err: "Error response from daemon: manifest for 127.0.0.1:5000/several:none not found: manifest unknown: manifest unknown\n"},
			{args: "pull -a 127.0.0.1:5000/nobody", code: 1, err: "Error response from daemon: repository 127.0.0.1:5000/nobody not found: name unknown: "},
			{args: "pull 127.0.0.1:5009/several", code: 1, err: `Error response from daemon: Get "http://127.0.0.1:5009/v2/": dial tcp 127.0.0.1:5009: connect: connection refused` + "\n"},
			{args: "pull --platform nonsense 127.0.0.1:5000/several:1", code: 1, err: `"nonsense": unknown operating system or architecture: invalid argument`},
			{args: "pull --platform linux/s390x 127.0.0.1:5000/pushed", out: "WARNING: image with reference 127.0.0.1:5000/pushed:latest was found but its platform (linux/"},
			{args: "tag 127.0.0.1:5000/pushed sha256:some", code: 1, err: "refusing to create an ambiguous tag using digest algorithm as name"},
			{args: "pull -q busybox"},
			{args: "images -q --filter reference=docker.io/library/busybox", out: "\n"},
			{args: "rmi 127.0.0.1:5000/several:1 127.0.0.1:5000/several:2 127.0.0.1:5000/library/nginx"},
		})
		run(t, m, []line{
			{args: "push 127.0.0.1:5000/nothing", code: 1, err: "An image does not exist locally with the tag: 127.0.0.1:5000/nothing"},
			{args: "pull 127.0.0.1:5000/nothing", code: 1, err: "nothing"},
			{args: "history --no-trunc --format '{{.ID}}' 127.0.0.1:5000/pushed", out: id(m, "127.0.0.1:5000/pushed") + "\n"},
			{args: "pull -q busybox"},
		})
	})
	// A container that does not run has its volumes all the same, where its links lead and no further.
	t.Run("copy into volumes", func(t *testing.T) {
		m := m.In(t)
		host := filepath.Join(m.Dir, "bound")
		write(t, filepath.Join(host, "there"), "of the host\n")
		write(t, filepath.Join(m.Dir, "sent"), "sent\n")
		run(t, m, []line{
			{args: "create --name filler -v filled:/data -v " + host + ":/deep/er/bound:ro busybox"},
			{args: "cp sent filler:/data/got"},
			{args: "cp sent filler:/deep/er/bound/got", code: 1, err: "read-only"},
			{args: "cp filler:/deep/er/bound/there back"},
			{args: "cp sent filler:/beside"},
			{args: "run --rm -v filled:/v busybox cat /v/got", out: "sent\n"},
			{args: "diff filler", out: "A /beside\n"},
			{args: "rm filler"},
			{args: "run --name links busybox sh -c 'mkdir -p " + m.Dir + "; ln -s " + m.Dir + " /out'"},
			{args: "commit links linked"},
			{args: "create --name filler -v filled:/out/new linked"},
			{args: "cp filler:/out/new/got again"},
			{args: "rm filler links"},
			{args: "rmi linked"},
			{args: "volume rm filled"},
		})
		for _, name := range []string{"back", "again"} {
			if out := m.Must("cat", name); out != map[string]string{"back": "of the host\n", "again": "sent\n"}[name] {
				t.Errorf("%s: %q", name, out)
			}
		}
		if r := m.Do("", "ls", "new"); r.Code == 0 {
			t.Error("a mount's place was made outside the container")
		}
	})
	t.Run("wait", func(t *testing.T) { waitConditions(t, m.In(t)) })
	t.Run("prune", func(t *testing.T) {
		m := m.In(t)
		run(t, m, []line{
			{args: "create --name keep --label keep=yes busybox"},
			{args: "create --name go busybox"},
			{args: "volume create keep --label keep=yes"},
			{args: "volume create go"},
			{args: "network create --label keep=yes keep"},
			{args: "network create go"},
			{args: "container prune -f --filter until=1h", out: "Total reclaimed space: 0B\n"},
			{args: "container prune -f --filter until=nonsense", code: 1, err: "nonsense"},
			{args: "container prune -f --filter color=red", code: 1, err: "invalid filter 'color'"},
			{args: "container prune -f --filter label!=keep", out: "Deleted Containers:\n"},
			{args: "inspect -f {{.Name}} keep", out: "/keep\n"},
			{args: "volume prune -f --filter label!=keep", out: "Total reclaimed space: 0B\n"}, // anonymous ones alone
			{args: "volume inspect -f {{.Name}} go", out: "go\n"},
			{args: "volume prune -a -f --filter label!=keep", out: "Deleted Volumes:\ngo\n"},
			{args: "volume inspect -f {{.Name}} keep", out: "keep\n"},
			{args: "volume prune -f --filter until=1h", code: 1, err: "until"},
			{args: "network prune -f --filter until=1h"},
			{args: "network inspect -f {{.Name}} go", out: "go\n"},
			{args: "network prune -f --filter label!=keep", out: "Deleted Networks:\ngo\n"},
			{args: "network inspect -f {{.Name}} keep", out: "keep\n"},
			{args: "image prune -a -f --filter until=" + "1s", out: "Total reclaimed space"},
			{args: "inspect -f {{.Id}} busybox", out: "sha256:"}, // a container has it
			{args: "system prune -f --filter label=keep=yes", out: "Deleted Containers:\n"},
			{args: "volume inspect -f {{.Name}} keep", out: "keep\n"},
			{args: "system prune -f --volumes --filter until=1h", code: 1, err: `"until" filter is not supported with "--volumes"`},
			{args: "volume prune -a -f --filter label=keep", out: "Deleted Volumes:\nkeep\n"},
		})
	})
}

// topLayer lists the last layer of a saved image.
func topLayer(t *testing.T, m *harness.Machine, file string) []string {
	t.Helper()
	dir := file + ".d"
	m.Must("sh", "-c", "mkdir "+dir+" && tar -C "+dir+" -xf "+file)
	var doc []struct{ Layers []string }
	if err := json.Unmarshal([]byte(m.Must("cat", dir+"/manifest.json")), &doc); err != nil || len(doc) != 1 {
		t.Fatalf("%v: %+v", err, doc)
	}
	return strings.Fields(m.Must("tar", "-tf", filepath.Join(dir, doc[0].Layers[len(doc[0].Layers)-1])))
}

// waitConditions asks for each condition in its time.
func waitConditions(t *testing.T, m *harness.Machine) {
	client := &http.Client{Transport: &http.Transport{Dial: func(_, _ string) (net.Conn, error) { return net.Dial("unix", filepath.Join(m.RunDir, "docker.sock")) }}}
	defer client.CloseIdleConnections()
	// wait begins to wait, and gives what the answer will be once it has begun: its head comes at once.
	wait := func(name, condition string) func() string {
		res, err := client.Post("http://docker/v1.44/containers/"+name+"/wait?condition="+condition, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		return func() string {
			defer res.Body.Close()
			var doc struct{ StatusCode int }
			if err := json.NewDecoder(res.Body).Decode(&doc); err != nil {
				return err.Error()
			}
			return fmt.Sprint(doc.StatusCode)
		}
	}
	m.Must("docker", "create", "--name", "waited", "busybox", "sh", "-c", "sleep 1000")
	if got := wait("waited", "not-running")(); got != "0" {
		t.Errorf("a container that never ran ends with %s", got)
	}
	next := wait("waited", "next-exit")
	m.Must("docker", "start", "waited")
	m.Must("docker", "kill", "-s", "KILL", "waited")
	if got := next(); got != "137" {
		t.Errorf("next-exit: %s", got)
	}
	if got := wait("waited", "not-running")(); got != "137" {
		t.Errorf("not-running: %s", got)
	}
	removed := wait("waited", "removed")
	m.Must("docker", "rm", "waited")
	if got := removed(); got != "137" {
		t.Errorf("removed: %s", got)
	}
	m.Must("docker", "create", "--rm", "--name", "passing", "busybox", "sh", "-c", "exit 4")
	removed = wait("passing", "removed")
	m.Must("docker", "start", "passing")
	if got := removed(); got != "4" {
		t.Errorf("removed after --rm: %s", got)
	}
	if r := m.Do("", "docker", "inspect", "passing"); r.Code == 0 {
		t.Error("the container was there when its removal had been told")
	}
}
