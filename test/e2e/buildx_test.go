//go:build e2e

package e2e

import (
	"archive/tar"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"nau/test/e2e/harness"
)

// plugin makes the docker CLI find buildx: the machine's own, or the one that `make test` built.
func plugin(t *testing.T, m *harness.Machine) {
	needDocker(t)
	path, err := exec.LookPath("docker-buildx")
	if err != nil {
		path = filepath.Join(harness.Client(t, "buildx"), "buildx")
	}
	dir := filepath.Join(m.Dir, ".docker", "cli-plugins")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path, filepath.Join(dir, "docker-buildx")); err != nil {
		t.Fatal(err)
	}
}

// files writes a folder of the machine.
func files(t *testing.T, m *harness.Machine, dir string, list map[string]string) string {
	t.Helper()
	dir = filepath.Join(m.Dir, dir)
	for name, text := range list {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// docker build and docker buildx build by BuildKit's protocol.
func TestBuildx(t *testing.T) {
	needDocker(t)
	m := harness.New(t)
	plugin(t, m)
	m.Registry()
	m.Up()
	ctx := files(t, m, "ctx", map[string]string{
		"Dockerfile": `# syntax=docker/dockerfile:1
FROM busybox AS build
ARG V=1
RUN --mount=type=secret,id=key,required cp /run/secrets/key /key && echo "built $V" > /out
FROM busybox
WORKDIR /srv
COPY --from=build /out /key ./
COPY . files/
CMD ["cat", "/srv/out"]
`,
		"a": "one", "left": "out", ".dockerignore": "left\n", "other.Dockerfile": "FROM busybox\nCOPY left /\nRUN exit 3\n", "other.Dockerfile.dockerignore": "a\n",
		"named.Dockerfile": "FROM base\nCOPY --from=more b /b\nRUN cat /b\n",
		"many.Dockerfile":  "FROM --platform=$BUILDPLATFORM busybox AS b\nARG TARGETARCH\nRUN echo $TARGETARCH > /arch\nFROM scratch\nCOPY --from=b /arch /\n",
		"agent.Dockerfile": "FROM busybox\nRUN --mount=type=ssh,required true\n",
		"host.Dockerfile":  "FROM busybox\nRUN --network=host true\n",
		"priv.Dockerfile":  "FROM busybox\nRUN --security=insecure true\n",
	})
	more := files(t, m, "more", map[string]string{"b": "from more"})
	key := filepath.Join(files(t, m, "keys", map[string]string{"key": "hidden"}), "key")
	meta, id := filepath.Join(m.Dir, "meta"), filepath.Join(m.Dir, "id")
	plain := "build --progress plain --secret id=key,src=" + key + " "

	run(t, m, []line{
		{args: plain + "-t app --build-arg V=2 --metadata-file " + meta + " --iidfile " + id + " " + ctx, err: "naming to docker.io/library/app:latest done"},
		{args: "run --rm app", out: "built 2\n"},
		{args: "run --rm app cat key files/a", out: "hiddenone"},
		{args: "run --rm app cat files/left", code: 1},
		{args: plain + "-t app --build-arg V=2 " + ctx, err: "CACHED"},
		{args: plain + "-t app --build-arg V=2 --no-cache-filter build " + ctx, err: "[build 2/2] RUN"},
		{args: "build --progress plain -t app " + ctx, code: 1, err: "secret key: not found"},
		{args: "build --secret id=key,src=" + key + " -q " + ctx, out: "sha256:"},
		{args: plain + "--target build --label a=b -t first " + ctx},
		{args: "image inspect -f '{{.Config.Labels.a}} {{.Config.Cmd}}' first", out: "b [sh]"},

		// Failures show where they are.
		{args: "build --progress plain -f " + ctx + "/other.Dockerfile " + ctx, code: 1, err: "   3 | >>> RUN exit 3"},
		{args: "build --progress plain -f " + ctx + "/other.Dockerfile " + ctx, code: 1, err: `process "/bin/sh -c exit 3" did not complete successfully: exit code: 3`},
		{args: "build --progress plain -", stdin: "FROM busybox\nNOT this\n", code: 1, err: "dockerfile parse error on line 2: unknown instruction: NOT"},
		{args: "build --progress plain -", stdin: "# syntax=example.org/mine\nFROM busybox\n", code: 1, err: "front end image example.org/mine"},
		{args: "build --progress plain -f " + ctx + "/no.Dockerfile " + ctx, code: 1, err: "no.Dockerfile"},

		// Checks, alone and beside a build.
		{args: "build --check -", stdin: "FROM busybox\nCMD sh\n", code: 1, out: "WARNING: JSONArgsRecommended"},
		{args: "build --check -", stdin: "FROM busybox\nCMD [\"sh\"]\n", out: "no warnings found"},
		{args: "build --progress plain -", stdin: "FROM busybox\nCMD sh\n", err: "1 warning found"},
		{args: "build --progress plain -", stdin: "# check=error=true\nFROM busybox\nCMD sh\n", code: 1, err: "lint violation found for rules: JSONArgsRecommended"},

		// What is not given is refused: an agent, the host's network, all privileges, attestations.
		{args: "build --progress plain -f " + ctx + "/agent.Dockerfile " + ctx, code: 1, err: "pass it with --ssh default"},
		{args: "build --progress plain -f " + ctx + "/host.Dockerfile " + ctx, code: 1, err: "network.host"},
		{args: "buildx build --progress plain --allow network.host -f " + ctx + "/host.Dockerfile " + ctx},
		{args: "build --progress plain -f " + ctx + "/priv.Dockerfile " + ctx, code: 1, err: "security.insecure"},
		{args: "buildx build --progress plain --allow security.insecure -f " + ctx + "/priv.Dockerfile " + ctx, code: 1, err: "not allowed by build daemon configuration"},
		{args: "build --progress plain --sbom=true -t x " + ctx, code: 1, err: "an SBOM needs a scanner image"},

		{args: "build --progress plain --build-context base=docker-image://busybox --build-context more=" + more + " -f " + ctx + "/named.Dockerfile " + ctx, err: "from more"},
		{args: "build --progress plain --platform linux/amd64,linux/arm64 -t many -f " + ctx + "/many.Dockerfile " + ctx, err: "[linux/arm64 b 2/2] RUN"},
		{args: "buildx inspect", out: "BuildKit version: v0."}, // by which clients decide what they may ask for
		{args: "buildx inspect", out: "Min Free Space:"},
		{args: "buildx prune -f --max-used-space 1gb --min-free-space 1mb", out: "Total:"},
		{args: "ps -aq"},
	})
	if r := m.Do("", "docker", "ps", "-aq"); r.Stdout != "" {
		t.Errorf("builds left containers: %s", r.Stdout)
	}

	var told struct {
		Digest string `json:"containerimage.digest"`
		Name   string `json:"image.name"`
	}
	b, err := os.ReadFile(meta)
	if err == nil {
		err = json.Unmarshal(b, &told)
	}
	if err != nil || told.Name != "docker.io/library/app:latest" {
		t.Errorf("the metadata file says %s (%v)", b, err)
	}
	if b, err := os.ReadFile(id); err != nil || string(b) != told.Digest {
		t.Errorf("the ID file says %q (%v), the metadata file %s", b, err, told.Digest)
	}
	run(t, m.In(t), []line{{args: "run --rm " + told.Digest, out: "built 2\n"}})

	t.Run("outputs", func(t *testing.T) { outputs(t, m.In(t), ctx) })
	t.Run("bake", func(t *testing.T) { bake(t, m.In(t)) })
	t.Run("caches", func(t *testing.T) { caches(t, m.In(t)) })
	t.Run("a lost client", func(t *testing.T) { lostClient(t, m.In(t)) })
	t.Run("a lost engine", func(t *testing.T) { lostEngine(t, m.In(t)) })
}

// outputs sends a result to each place that buildx knows.
func outputs(t *testing.T, m *harness.Machine, ctx string) {
	dir := filepath.Join(m.Dir, "out")
	build := "build --progress plain --platform linux/amd64,linux/arm64 -f " + ctx + "/many.Dockerfile "
	run(t, m, []line{
		{args: build + "-o type=local,dest=" + dir + " " + ctx},
		{args: build + "-o type=tar,dest=" + dir + ".tar " + ctx},
		{args: build + "-t a/b:1 -o type=oci,dest=" + dir + ".oci " + ctx},
		{args: build + "-o type=oci,tar=false,dest=" + dir + ".layout " + ctx},
		{args: build + "-o type=image,compression=estargz " + ctx, code: 1, err: "compression=estargz is not served"},
		{args: "build --progress plain -t c/d:1 -o type=docker,dest=" + dir + ".docker -", stdin: "FROM busybox\nRUN echo x > /x\n"},
		{args: "load -i " + dir + ".docker", out: "Loaded image: c/d:1"},
		{args: "run --rm c/d:1 cat /x", out: "x\n"},
	})
	for arch, text := range map[string]string{"linux_amd64": "amd64\n", "linux_arm64": "arm64\n"} {
		if b, err := os.ReadFile(filepath.Join(dir, arch, "arch")); err != nil || string(b) != text {
			t.Errorf("%s has %q (%v)", arch, b, err)
		}
	}
	f, err := os.Open(dir + ".tar")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var names []string
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err != nil {
			break
		}
		names = append(names, h.Name)
	}
	if got := strings.Join(names, " "); !strings.Contains(got, "linux_arm64/arch") {
		t.Errorf("the archive of files has %s", got)
	}
	var index struct {
		Manifests []struct{ MediaType string }
	}
	b, err := os.ReadFile(filepath.Join(dir+".layout", "index.json"))
	if err == nil {
		err = json.Unmarshal(b, &index)
	}
	if err != nil || len(index.Manifests) != 1 || index.Manifests[0].MediaType != "application/vnd.oci.image.index.v1+json" {
		t.Errorf("the layout's index is %s (%v)", b, err)
	}
}

// bake builds targets that rest on each other, with one session for all.
func bake(t *testing.T, m *harness.Machine) {
	dir := files(t, m, "bake", map[string]string{"a": "one", "docker-bake.json": `{"target": {
		"base": {"context": ".", "dockerfile-inline": "FROM busybox\nRUN echo linked > /l\n"},
		"default": {"context": ".", "contexts": {"base": "target:base"}, "dockerfile-inline": "FROM base\nCOPY a /a\n", "tags": ["baked"]}}}`})
	cmd := m.Command("docker", "buildx", "bake", "--progress", "plain")
	cmd.Dir = dir
	var errs strings.Builder
	cmd.Stderr = &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("bake: %v: %s", err, errs.String())
	}
	run(t, m, []line{{args: "run --rm baked cat /l /a", out: "linked\none"}})
}

// caches go to each place that buildx knows, and come back when the builder has forgotten all.
func caches(t *testing.T, m *harness.Machine) {
	dir := filepath.Join(m.Dir, "cache")
	const address = "127.0.0.1:5001" // the engine's own registry
	ctx := files(t, m, "cached", map[string]string{"a": "one", "Dockerfile": "FROM busybox AS b\nRUN head -c 8 /dev/urandom | md5sum > /made\nFROM busybox\nCOPY --from=b /made /\nCOPY a /a\n",
		"chain.Dockerfile": "FROM busybox AS b\nRUN head -c 8 /dev/urandom | md5sum > /made\nFROM b\nCOPY a /a\n"})
	build := "build --progress plain -f " + ctx + "/"
	run(t, m, []line{
		{args: build + "Dockerfile -t many --cache-to type=local,dest=" + dir + ",mode=max --cache-to type=registry,ref=" + address + "/cache:1,mode=max " + ctx, err: "exporting cache to client directory"},
		{args: build + "chain.Dockerfile --cache-to type=inline -t " + address + "/app:1 --push " + ctx, err: "pushing " + address + "/app:1"},
		{args: build + "Dockerfile --cache-to type=registry,ref=" + address + "/z:1,compression=zstd " + ctx, code: 1, err: "compression=zstd is not served"},
		{args: "buildx du", out: "Reclaimable"},
		{args: "buildx du --verbose", out: "RUN head -c 8 /dev/urandom"},
		{args: "system df", out: "Build Cache"},
	})
	made := map[string]string{"Dockerfile": m.Must("docker", "run", "--rm", "many", "cat", "/made"), "chain.Dockerfile": m.Must("docker", "run", "--rm", address+"/app:1", "cat", "/made")}
	for _, c := range [][2]string{{"Dockerfile", "local,src=" + dir}, {"Dockerfile", "registry,ref=" + address + "/cache:1"}, {"chain.Dockerfile", "registry,ref=" + address + "/app:1"}} {
		run(t, m, []line{
			{args: "rmi -f again many " + address + "/app:1"},
			{args: "image prune -f"},
			{args: "buildx prune -af", out: "Total:"},
			{args: "buildx du", out: "Total:"},
			{args: build + c[0] + " -t again --cache-from type=" + c[1] + " " + ctx},
			{args: "run --rm again cat /made", out: made[c[0]]},
		})
	}
	run(t, m, []line{
		{args: build + "Dockerfile -t again --cache-from type=registry,ref=" + address + "/none:1 --no-cache " + ctx, err: "importing cache manifest from " + address + "/none:1"},
		{args: "builder prune -af --filter type=exec.cachemount", out: "Total"},
	})
}

// lostClient ends a client in the middle of a step; the step ends too.
func lostClient(t *testing.T, m *harness.Machine) {
	cmd := m.Command("docker", "build", "--progress", "plain", "-")
	cmd.Stdin = strings.NewReader("FROM busybox\nRUN echo begun; sleep 1234\n")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	m.Until("sleep 1234", "ps", "-eo", "args")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	m.WaitNoProcess("sleep 1234")
}

// lostEngine kills the engine in the middle of a build; the next one frees all that the build held, and what was cached counts.
func lostEngine(t *testing.T, m *harness.Machine) {
	file := "FROM busybox\nRUN echo first > /first\nRUN --mount=type=cache,target=/c echo begun; sleep 4321\n"
	cmd := m.Command("docker", "build", "--progress", "plain", "-")
	cmd.Stdin = strings.NewReader(file)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	m.Until("sleep 4321", "ps", "-eo", "args")
	m.Kill()
	_ = cmd.Wait()
	m.Up()
	m.WaitNoProcess("sleep 4321")
	if left, err := os.ReadDir(filepath.Join(m.DataDir, "build", "work")); err != nil || len(left) != 0 {
		t.Errorf("work folders are left: %v (%v)", left, err)
	}
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil || strings.Contains(string(mounts), filepath.Join(m.DataDir, "build")) {
		t.Errorf("mounts of the build are left (%v)", err)
	}
	run(t, m, []line{
		{args: "ps -a --format {{.ID}}"},
		{args: "build --progress plain -", stdin: strings.Replace(file, "sleep 4321", "true", 1), err: "[2/3] RUN echo first > /first\n#5 CACHED"},
	})
}
