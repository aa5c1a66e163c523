//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"nau/test/e2e/harness"
)

// testcontainersTests are tests of testcontainers-go itself that need no more than stand-ins of their images. Left out are
// those that want the very database, reaper process or delay that is in an image, and those that wait ten seconds for a stop.
const testcontainersTests = "^(TestContainerCreation.*Port.*|TestContainerCreationWithName|TestContainerCreationWithVolume.*|TestContainerRespondsWithHttp.*|" +
	"TestTwoContainersExposingTheSamePort|TestContainerWith(HostNetwork.*|NoUserID|UserID|CustomHostname)|TestContainerCapAdd|TestContainerStateAfterTermination|" +
	"TestContainerTerminationResetsState|TestContainerLogs(Tty|ShouldBeWithoutStreamHeader)|TestContainerLogDrainOnTerminate|TestBuildImageFromDockerfile(_NoTag|_NoRepo|_BuildError)?|" +
	"Test_BuildContainerFromDockerfileWithBuildLog.*|TestImageBuiltFromDockerfile_KeepBuiltImage|TestCopy(FileToContainer|FileToRunningContainer|DirectoryToContainer)|" +
	"TestNetworkModeWithContainerReference|TestGenericContainer_(stop|pause)_start_withReuse|TestParallelContainers|TestCreateContainerWithVolume|TestMappedPortEmptyString|" +
	"TestLifecycleHooks_WithDefaultLogger|TestPullDockerImageWithPlatform|TestImageList|TestSaveImages.*|Test_NewReaper|Test_ReaperReusedIfHealthy|" +
	"TestReaperReapsOrphans|TestSubstituteBuiltImage|Test_GetLogsFromFailedContainer|ExampleContainer_MappedPort)$"

// Testcontainers' own tests, unchanged, against the Docker socket.
func TestTestcontainers(t *testing.T) {
	needDocker(t)
	dir := harness.Client(t, "testcontainers")
	m := harness.New(t)
	m.Registry()
	m.Up()
	reaper := filepath.Dir(program(t, m, "nau/test/images/ryuk"))
	if err := os.WriteFile(filepath.Join(reaper, "Dockerfile"), []byte("FROM scratch\nCOPY ryuk /bin/ryuk\nCMD [\"/bin/ryuk\"]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	m.Must("sh", "-c", "DOCKER_BUILDKIT=0 docker build -q -t testcontainers/ryuk:0.14.0 "+reaper)
	for name, from := range map[string]string{"bash:5.2.26": "alpine", "alpine:3.23": "alpine", "redis:latest": "nginx:alpine", "menedev/delayed-nginx:1.15.2": "nginx:alpine", "nginx:latest": "nginx:latest"} {
		m.Must("docker", "pull", "-q", from)
		m.Must("docker", "tag", from, name)
	}
	r := m.Do("", "sh", "-c", `cd "$0" && exec ./testcontainers -test.short -test.v -test.timeout 100s -test.run "$1"`, dir, testcontainersTests)
	passed := regexp.MustCompile(`(?m)^--- PASS: (\S+)`).FindAllStringSubmatch(r.Stdout, -1)
	for _, failed := range regexp.MustCompile(`(?m)^\s*--- FAIL: \S+`).FindAllString(r.Stdout, -1) {
		t.Error(strings.TrimSpace(failed))
	}
	if r.Code != 0 || len(passed) < 45 {
		t.Errorf("exit code %d, %d tests passed\n%s%s", r.Code, len(passed), tail(r.Stdout), tail(r.Stderr))
	}
	m.Until("0", "sh", "-c", "docker ps -q --filter label=org.testcontainers=true | grep -c . || true") // the reaper removes what is left, and itself
}

// program builds a program of this repository, alone in a folder of the machine.
func program(t *testing.T, m *harness.Machine, pkg string) string {
	t.Helper()
	path := filepath.Join(m.Dir, "programs", filepath.Base(pkg), filepath.Base(pkg))
	build := exec.Command("go", "build", "-trimpath", "-o", path, pkg)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
	return path
}

func tail(s string) string { return s[max(0, len(s)-4000):] }

// crictl, as operators use it, against the CRI socket.
func TestCrictl(t *testing.T) {
	crictl := filepath.Join(harness.Client(t, "crictl"), "crictl")
	m := harness.New(t)
	m.Registry()
	m.Up()
	do := func(args ...string) string {
		t.Helper()
		return m.Must(crictl, append([]string{"--runtime-endpoint", "unix://" + m.RunDir + "/cri.sock"}, args...)...)
	}
	write := func(name, text string) string {
		path := filepath.Join(m.Dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	logs := filepath.Join(m.Dir, "crilogs")
	pod := write("pod.json", `{"metadata":{"name":"sandbox","namespace":"default","uid":"1","attempt":1},"log_directory":"`+logs+`","linux":{}}`)
	ctr := write("ctr.json", `{"metadata":{"name":"talker"},"image":{"image":"busybox"},"command":["sh","-c","echo said; sleep 100000"],"log_path":"talker.log","linux":{}}`)
	for _, step := range []struct {
		args []string
		want string
	}{
		{[]string{"version"}, "RuntimeName:"},
		{[]string{"info"}, "RuntimeReady"},
		{[]string{"pull", "busybox"}, "Image is up to date"},
		{[]string{"images"}, "docker.io/library/busybox"},
		{[]string{"inspecti", "busybox"}, "repoDigests"},
		{[]string{"runp", pod}, ""},
		{[]string{"pods", "--name", "sandbox"}, "Ready"},
	} {
		if out := do(step.args...); !strings.Contains(out, step.want) {
			t.Errorf("crictl %v: no %q in\n%s", step.args, step.want, out)
		}
	}
	sandbox := strings.TrimSpace(do("pods", "-q", "--name", "sandbox"))
	id := strings.TrimSpace(do("create", sandbox, ctr, pod))
	do("start", id)
	m.Until("said", crictl, "--runtime-endpoint", "unix://"+m.RunDir+"/cri.sock", "logs", id)
	for _, step := range []struct {
		args []string
		want string
	}{
		{[]string{"ps", "--name", "talker"}, "Running"},
		{[]string{"inspect", id}, "CONTAINER_RUNNING"},
		{[]string{"inspectp", sandbox}, "SANDBOX_READY"},
		{[]string{"exec", "-s", id, "echo", "inside"}, "inside"},
		{[]string{"exec", id, "echo", "streamed"}, "streamed"},
		{[]string{"stats", id}, "talker"},
		{[]string{"statsp", sandbox}, "sandbox"},
		{[]string{"update", "--memory", "67108864", id}, id},
		{[]string{"stop", "-t", "0", id}, id},
		{[]string{"ps", "-a", "--name", "talker"}, "Exited"},
		{[]string{"rm", id}, id},
		{[]string{"stopp", sandbox}, sandbox},
		{[]string{"rmp", sandbox}, sandbox},
		{[]string{"rmi", "busybox"}, "Deleted"},
	} {
		if out := do(step.args...); !strings.Contains(out, step.want) {
			t.Errorf("crictl %v: no %q in\n%s", step.args, step.want, out)
		}
	}
}

// skopeo copies between the Docker socket, a registry and a folder.
func TestSkopeo(t *testing.T) {
	skopeo := harness.Installed(t, "skopeo", "skopeo")
	needDocker(t)
	m := harness.New(t)
	m.Registry()
	m.Up()
	m.Must("docker", "pull", "-q", "busybox")
	host := "unix://" + m.RunDir + "/docker.sock"
	policy := filepath.Join(m.Dir, "policy.json")
	if err := os.WriteFile(policy, []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	do := func(args ...string) string {
		t.Helper()
		return m.Must(skopeo, append([]string{"--policy", policy}, args...)...)
	}
	// Debian 12's asks for API 1.22, which Docker since version 25 refuses with the same words; newer ones negotiate.
	if r := m.Do("", skopeo, "--policy", policy, "inspect", "--daemon-host", host, "docker-daemon:busybox:latest"); !strings.Contains(r.Stdout, `"Os": "linux"`) &&
		!strings.Contains(r.Stderr, "client version 1.22 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version") {
		t.Errorf("inspect: %d %s%s", r.Code, r.Stdout, r.Stderr)
	}
	m.Must("docker", "save", "-o", m.Dir+"/busybox.tar", "busybox")
	do("copy", "--dest-tls-verify=false", "docker-archive:"+m.Dir+"/busybox.tar", "docker://127.0.0.1:5001/copied:1")
	if out := m.Must("docker", "run", "--rm", "127.0.0.1:5001/copied:1", "echo", "in the store"); out != "in the store\n" {
		t.Errorf("run: %q", out)
	}
	do("copy", "--src-tls-verify=false", "docker://127.0.0.1:5001/copied:1", "oci:"+m.Dir+"/layout:copied")
	do("copy", "oci:"+m.Dir+"/layout:copied", "docker-archive:"+m.Dir+"/again.tar:again:1")
	m.Must("docker", "load", "-i", m.Dir+"/again.tar")
	if out := m.Must("docker", "run", "--rm", "again:1", "echo", "copied thrice"); out != "copied thrice\n" {
		t.Errorf("run: %q", out)
	}
	if out := do("list-tags", "--tls-verify=false", "docker://127.0.0.1:5001/copied"); !strings.Contains(out, `"1"`) {
		t.Errorf("list-tags: %s", out)
	}
	do("delete", "--tls-verify=false", "docker://127.0.0.1:5001/copied:1")
}

// podman's own API is another one: it is refused at once and in words.
func TestPodmanRemote(t *testing.T) {
	podman := harness.Installed(t, "podman", "podman")
	m := harness.New(t)
	m.Up()
	r := m.Do("", podman, "--remote", "--url", "unix://"+m.RunDir+"/docker.sock", "ps")
	if r.Code == 0 || !strings.Contains(r.Stderr, "unable to connect to Podman socket: ping response was 404") {
		t.Errorf("exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
}

// An image that was just built is where pods see it: no registry, no load step.
func TestBuiltImageInAPod(t *testing.T) {
	needDocker(t)
	m := harness.New(t)
	m.Registry()
	m.Up()
	m.Must("sh", "-c", `printf 'FROM busybox\nRUN echo "from the build" >/said\nCMD ["sh","-c","cat /said; echo err >&2; exec sleep 100000"]\n' | DOCKER_BUILDKIT=0 docker build -t just/built:1 -`)
	m.Kubectl("run", "fresh", "--image=just/built:1", "--image-pull-policy=IfNotPresent")
	m.Kubectl("wait", "--for=condition=Ready", "pod/fresh", "--timeout=60s")
	name := strings.TrimSpace(m.Must("docker", "ps", "--filter", "name=k8s_fresh_", "--format", "{{.Names}} {{.Image}}"))
	name, image, _ := strings.Cut(name, " ")
	if image != "just/built:1" {
		t.Errorf("docker ps shows image %q of %q", image, name)
	}
	m.Until("from the build", "kubectl", "logs", "fresh")
	m.Until("err", "kubectl", "logs", "fresh")
	for _, flags := range []string{"", "--timestamps"} {
		k := m.Must("sh", "-c", "kubectl logs fresh "+flags)
		d := m.Must("sh", "-c", "docker logs "+flags+" "+name+" 2>&1")
		if k != d || !strings.Contains(k, "from the build") {
			t.Errorf("kubectl logs %s %q, docker logs %q", flags, k, d)
		}
	}
	if out := m.Do("", "docker", "rmi", "just/built:1"); out.Code == 0 || !strings.Contains(out.Stderr, "conflict") {
		t.Errorf("the image of a running pod was removed: %d %s%s", out.Code, out.Stdout, out.Stderr)
	}
}
