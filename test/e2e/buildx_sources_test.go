//go:build e2e

package e2e

import (
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"nau/internal/engine/build/git/gittest"
	"nau/test/e2e/harness"
)

// keysOf is the environment by which a copy of this program, inside a build, lists the keys of an agent.
const keysOf = "NAU_E2E_KEYS_OF"

func listKeys(socket string) int {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	keys, err := agent.NewClient(conn).List()
	for _, k := range keys {
		fmt.Println("key", k.Comment)
	}
	if err != nil || len(keys) == 0 {
		fmt.Println("no keys", err)
		return 1
	}
	return 0
}

// What a build takes from elsewhere: repositories, agents, secrets, private registries.
func TestBuildSources(t *testing.T) {
	needDocker(t)
	t.Setenv("SHELL_SECRET", "of-the-environment")
	m := harness.New(t)
	plugin(t, m)
	m.Registry()
	m.Up()
	m.Must("docker", "pull", "-q", "busybox")
	t.Run("repositories", func(t *testing.T) { repositories(t, m.In(t)) })
	t.Run("agents and secrets", func(t *testing.T) { agents(t, m.In(t)) })
	t.Run("the same twice", func(t *testing.T) { sameTwice(t, m.In(t)) })
	t.Run("provenance", func(t *testing.T) { provenance(t, m.In(t)) })
	t.Run("history", func(t *testing.T) { history(t, m.In(t)) })
	t.Run("hostile mounts", func(t *testing.T) { hostileMounts(t, m.In(t)) })
	t.Run("private registry", func(t *testing.T) { privateRegistry(t, m.In(t)) })
}

func repositories(t *testing.T, m *harness.Machine) {
	r := gittest.New(t)
	r.Commit("refs/heads/main", r.Files(map[string]gittest.File{"Dockerfile": gittest.Regular("FROM busybox\nCOPY . /all/\nCMD [\"cat\", \"/all/a\"]\n"), "a": gittest.Regular("of main\n")}))
	side := r.Commit("refs/heads/side", r.Files(map[string]gittest.File{"sub/Dockerfile": gittest.Regular("FROM busybox\nCOPY . /all/\nCMD [\"cat\", \"/all/a\"]\n"), "sub/a": gittest.Regular("of side\n")}))
	l := m.Listen("tcp", "127.0.0.1:8418")
	mux := http.NewServeMux()
	mux.Handle("/r.git/", r)
	server := &http.Server{Handler: mux}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	const at = "http://127.0.0.1:8418/r.git"
	build := "build --progress plain -t cloned "
	archive := m.Must("tar", "-C", files(t, m, "packed", map[string]string{"Dockerfile": "FROM busybox\nCOPY a /\nCMD [\"cat\", \"/a\"]\n", "a": "of an archive\n"}), "-cf", "-", "Dockerfile", "a")
	mux.HandleFunc("/ctx.tar", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, archive) })
	show := line{args: "run --rm cloned", out: "of main\n"}
	run(t, m, []line{
		{args: build + at, err: "[internal] load remote build context"}, show,
		{args: build + at + "#side:sub"}, {args: "run --rm cloned", out: "of side\n"},
		{args: build + at + "?branch=side&subdir=sub&checksum=" + side.String()[:10]}, {args: "run --rm cloned", out: "of side\n"},
		{args: build + at + "?branch=main&checksum=" + side.String(), code: 1, err: "expected checksum to match " + side.String()},
		{args: build + "--build-arg BUILDKIT_CONTEXT_KEEP_GIT_DIR=1 " + at}, {args: "run --rm cloned cat /all/.git/HEAD", out: "ref: refs/heads/main"},
		{args: build + "-", stdin: "FROM busybox\nADD " + at + "#side:sub /x\nCMD cat /x/a\n"}, {args: "run --rm cloned", out: "of side\n"},
		{args: build + "-", stdin: "FROM busybox\nADD --keep-git-dir --checksum=" + side.String() + " " + at + "#side /x\nCMD cat /x/.git/HEAD\n"}, {args: "run --rm cloned", out: "ref: refs/heads/side"},
		{args: build + "--build-context more=" + at + "#side -", stdin: "FROM busybox\nCOPY --from=more sub/a /\nCMD cat /a\n"}, {args: "run --rm cloned", out: "of side\n"},
		{args: build + "http://127.0.0.1:8418/ctx.tar"}, {args: "run --rm cloned", out: "of an archive\n"},
		{args: build + at + "#none", code: 1, err: "not in the repository: none"},
	})
	if out := m.Must(m.Nau, "build", "--data-dir", m.DataDir, "--run-dir", m.RunDir, "-t", "cloned", at+"#side:sub"); !strings.Contains(out, "Successfully tagged cloned") {
		t.Errorf("nau build: %s", out)
	}
	run(t, m, []line{{args: "run --rm cloned", out: "of side\n"}})
}

func agents(t *testing.T, m *harness.Machine) {
	private, signer := gittest.Key(t)
	_, host := gittest.Key(t)
	ring := agent.NewKeyring()
	if err := ring.Add(agent.AddedKey{PrivateKey: private, Comment: "of-the-test"}); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(m.Dir, "agent.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _ = agent.ServeAgent(ring, conn) }()
		}
	}()
	r := gittest.New(t)
	r.Commit("refs/heads/main", r.Files(map[string]gittest.File{"Dockerfile": gittest.Regular("FROM busybox\nCOPY a /\nCMD [\"cat\", \"/a\"]\n"), "a": gittest.Regular("over ssh\n")}))
	served := m.Listen("tcp", "127.0.0.1:2222")
	defer served.Close()
	gittest.ServeSSH(t, served, host, signer.PublicKey(), map[string]*gittest.Repo{"r.git": r})
	const at = "ssh://git@127.0.0.1:2222/r.git"

	// A copy of this program, in the build, talks to the agent.
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	ctx := files(t, m, "agents", map[string]string{"probe": string(self), "key": "hidden", "Dockerfile": "FROM busybox\nCOPY --chmod=755 probe /probe\n" +
		"RUN --mount=type=ssh,required " + keysOf + "=$SSH_AUTH_SOCK /probe\nRUN --mount=type=secret,id=a,required --mount=type=secret,id=b,env=B,required cat /run/secrets/a; echo \" $B\"\n"})
	key := filepath.Join(ctx, "key")
	wanted := "--secret id=a,src=" + key + " --secret id=b,env=SHELL_SECRET "
	run(t, m, []line{
		{args: "build --progress plain --no-cache --ssh default=" + socket + " " + wanted + ctx, err: "key of-the-test"},
		{args: "build --progress plain --no-cache --ssh default=" + socket + " " + wanted + ctx, err: "hidden of-the-environment"},
		{args: "build --progress plain --ssh default=" + socket + " -t cloned " + at}, {args: "run --rm cloned", out: "over ssh\n"},
		{args: "build --progress plain -t cloned " + at, code: 1, err: "ssh agent socket"},
		{args: "build --progress plain --ssh default=" + socket + " -t cloned -", stdin: "FROM busybox\nADD " + at + " /x\nCMD cat /x/a\n"}, {args: "run --rm cloned", out: "over ssh\n"},
	})
	nau := func(args ...string) harness.Result {
		return m.Do("", m.Nau, append([]string{"build", "--data-dir", m.DataDir, "--run-dir", m.RunDir, "-t", "cloned"}, args...)...)
	}
	if r := nau("--no-cache", "--ssh", "default="+socket, "--secret", "id=a,src="+key, "--secret", "id=b,env=SHELL_SECRET", ctx); r.Code != 0 || !strings.Contains(r.Stdout, "key of-the-test") || !strings.Contains(r.Stdout, "hidden of-the-environment") {
		t.Errorf("nau build --ssh --secret: %+v", r)
	}
	block, err := ssh.MarshalPrivateKey(private, "in-a-file")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(m.Dir, "id")
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := nau("--no-cache", "--ssh", "default="+file, "--secret", "id=a,src="+key, "--secret", "id=b,env=SHELL_SECRET", ctx); r.Code != 0 || !strings.Contains(r.Stdout, "key id") {
		t.Errorf("nau build --ssh of a key: %+v", r)
	}
	if r := nau("--ssh", "default="+key, ctx); r.Code == 0 || !strings.Contains(r.Stderr, "read SSH key "+key) {
		t.Errorf("nau build --ssh of what is no key: %+v", r)
	}
	if r := nau("--ssh", "default="+socket, at); r.Code != 0 {
		t.Errorf("nau build of a repository by SSH: %+v", r)
	}
	if r := nau(at); r.Code == 0 || !strings.Contains(r.Stderr, "--ssh default") {
		t.Errorf("nau build of a repository by SSH without an agent: %+v", r)
	}
}

// sameTwice builds a Dockerfile again and again with SOURCE_DATE_EPOCH: all ways come to the same bytes.
func sameTwice(t *testing.T, m *harness.Machine) {
	const date = "1700000000"
	ctx := files(t, m, "same", map[string]string{"a": "one", "Dockerfile": "FROM busybox\nARG SOURCE_DATE_EPOCH\nRUN mkdir /made && date > /dev/null && echo x > /made/file && ln /made/file /made/hard && touch /etc/new\n" +
		"COPY a /a\nWORKDIR /w/x\nADD --chmod=600 a /b\n"})
	seen := map[string]string{}
	for i := range 2 {
		id := filepath.Join(m.Dir, "iid")
		for way, args := range map[string][]string{
			"buildx":   {"docker", "build", "--no-cache", "--build-arg", "SOURCE_DATE_EPOCH=" + date, "--provenance=false", "--iidfile", id, "-o", "type=image,name=same,rewrite-timestamp=true", ctx},
			"classic":  {"env", "DOCKER_BUILDKIT=0", "docker", "build", "--no-cache", "--build-arg", "SOURCE_DATE_EPOCH=" + date, "-t", "same", ctx},
			"nau":      {m.Nau, "build", "--data-dir", m.DataDir, "--run-dir", m.RunDir, "--no-cache", "--build-arg", "SOURCE_DATE_EPOCH=" + date, "-t", "same", ctx},
			"of a tar": {"docker", "build", "--no-cache", "--build-arg", "SOURCE_DATE_EPOCH=" + date, "--provenance=false", "-t", "same", "-o", "type=oci,dest=" + filepath.Join(m.Dir, "same.tar") + ",rewrite-timestamp=true", ctx},
		} {
			m.Must(args[0], args[1:]...)
			if way == "of a tar" {
				b, err := os.ReadFile(filepath.Join(m.Dir, "same.tar"))
				if err != nil {
					t.Fatal(err)
				}
				if seen[way] != "" && seen[way] != string(b) {
					t.Errorf("archive %d differs from the first", i)
				}
				seen[way] = string(b)
				continue
			}
			seen[fmt.Sprint(way, i)] = strings.TrimSpace(m.Must("docker", "image", "inspect", "-f", "{{.Id}} {{.Created}} {{json .RootFS.Layers}}", "same"))
		}
	}
	want := seen["buildx0"]
	if !strings.Contains(want, "2023-11-14T22:13:20Z") {
		t.Errorf("the image is not of the date that was given: %s", want)
	}
	for way, got := range seen {
		want := want
		if strings.HasPrefix(way, "classic") { // its history has Docker's own words, so that the ID is another; the files are the same
			_, files, _ := strings.Cut(want, " ")
			id, _, _ := strings.Cut(seen["classic0"], " ")
			want = id + " " + files
		}
		if way != "of a tar" && got != want {
			t.Errorf("%s is %s, want %s", way, got, want)
		}
	}
}

// provenance goes with an image into the engine's store, a registry and an archive, and is found there by stock tools.
func provenance(t *testing.T, m *harness.Machine) {
	const at = "127.0.0.1:5001/proven" // the engine's own registry
	ctx := files(t, m, "proven", map[string]string{"a": "one", "Dockerfile": "FROM busybox\nARG V=1\nRUN --mount=type=secret,id=key echo $V > /v\nCOPY a /\nCMD [\"cat\", \"/v\"]\n"})
	build := "build --progress plain --build-arg V=7 "
	archive := filepath.Join(m.Dir, "proven.tar")
	run(t, m, []line{
		{args: build + "--provenance=mode=max -t " + at + ":max --push " + ctx, err: "exporting manifest list"},
		{args: build + "--provenance=true -t " + at + ":min --push " + ctx},
		{args: build + "--provenance=mode=max,version=v0.2 -t " + at + ":v02 --push " + ctx},
		{args: build + "--provenance=false -t " + at + ":none --push " + ctx},
		{args: build + "-t " + at + ":default --push " + ctx},
		{args: "buildx imagetools inspect " + at + ":default --format '{{json .Provenance.SLSA.buildDefinition}}'", out: `"path": "Dockerfile"`},
		{args: "build -q -t scanner -", stdin: "FROM busybox\nCOPY --chmod=755 <<'EOF' /scan\n#!/bin/sh\nset -e\n" +
			`printf '{"predicateType": "https://spdx.dev/Document", "predicate": {"name": "found %s"}}' "$(cat $BUILDKIT_SCAN_SOURCE/a)" > $BUILDKIT_SCAN_DESTINATION/x.spdx.json` +
			"\nEOF\nENTRYPOINT [\"/bin/sh\", \"/scan\"]\n"},
		{args: build + "--sbom=generator=scanner -t " + at + ":sbom --push " + ctx, err: "scan with docker.io/library/scanner:latest"},
		{args: "buildx imagetools inspect " + at + ":sbom --format '{{json .SBOM.SPDX}}'", out: `"name": "found one"`},
		{args: "run --rm " + at + ":sbom", out: "7\n"},
		{args: build + "--sbom=generator=busybox -t " + at + ":sbom --push " + ctx, code: 1, err: "no statement"},
		{args: "run --rm " + at + ":max", out: "7\n"},
		{args: "buildx imagetools inspect " + at + ":max", out: "attestation-manifest"},
		{args: "buildx imagetools inspect " + at + ":max --format '{{json .Provenance.SLSA}}'", out: `"build-arg:V": "7"`},
		{args: "buildx imagetools inspect " + at + ":max --format '{{json .Provenance.SLSA.buildDefinition.resolvedDependencies}}'", out: "pkg:docker/busybox@latest?platform=linux%2F"},
		{args: "buildx imagetools inspect " + at + ":min --format '{{json .Provenance.SLSA.buildDefinition}}'", out: `"path": "Dockerfile"`},
		{args: "buildx imagetools inspect " + at + ":v02 --format '{{json .Provenance.SLSA.invocation}}'", out: `"entryPoint": "Dockerfile"`},
		{args: "rmi -f " + at + ":max " + at + ":min " + at + ":v02 " + at + ":none"},
		{args: "run --rm --pull always " + at + ":max", out: "7\n"},
		{args: build + "--provenance=mode=max -t proven -o type=oci,dest=" + archive + " " + ctx},
		{args: build + "--provenance=true -o type=local,dest=" + m.Dir + "/x " + ctx},
		{args: build + "-o type=local,dest=" + m.Dir + "/y " + ctx},
		{args: build + "--provenance=true -o type=tar,dest=" + m.Dir + "/z.tar " + ctx},
		{args: build + "--provenance=true -o type=docker,dest=" + m.Dir + "/x.tar " + ctx, code: 1, err: "exporting manifest lists"},
		{args: build + "--provenance=mode=most " + ctx, code: 1, err: "neither min nor max"},
		{args: "load -i " + archive, out: "Loaded image: proven:latest"},
		{args: "run --rm proven", out: "7\n"},
	})
	if r := m.Do("", "docker", "buildx", "imagetools", "inspect", at+":min", "--format", "{{json .Provenance.SLSA}}"); strings.Contains(r.Stdout, "build-arg") {
		t.Errorf("mode=min shows arguments: %s", r.Stdout)
	}
	if r := m.Do("", "docker", "buildx", "imagetools", "inspect", "--raw", at+":none"); r.Code != 0 || strings.Contains(r.Stdout, "attestation") {
		t.Errorf("an image whose provenance is not wanted: %+v", r)
	}
	b, err := os.ReadFile(archive)
	if err != nil || !strings.Contains(string(b), "https://slsa.dev/provenance/v1") {
		t.Errorf("the archive has no provenance (%v)", err)
	}
	for name, want := range map[string]bool{"x": true, "y": false} {
		b, err := os.ReadFile(filepath.Join(m.Dir, name, "provenance.json"))
		if (err == nil) != want || want && !strings.Contains(string(b), `"name": "a"`) {
			t.Errorf("the folder %s: provenance %s (%v)", name, b, err)
		}
	}
	if b, err := os.ReadFile(m.Dir + "/z.tar"); err != nil || !strings.Contains(string(b), "https://slsa.dev/provenance/v1") {
		t.Errorf("the tar has no provenance (%v)", err)
	}
	meta := filepath.Join(m.Dir, "proven.json")
	run(t, m, []line{{args: build + "--provenance=mode=max -t proven --metadata-file " + meta + " " + ctx}})
	if b, err := os.ReadFile(meta); err != nil || !strings.Contains(string(b), "containerimage.digest") {
		t.Errorf("the metadata file has %s (%v)", b, err)
	}
}

// history is what the engine remembers of builds, over a restart too.
func history(t *testing.T, m *harness.Machine) {
	run(t, m, []line{
		{args: "buildx history rm --all"},
		{args: "build --no-cache -q -t recalled -", stdin: "FROM busybox\nRUN echo to be remembered\n", out: "sha256:"},
		{args: "build --no-cache -q -", stdin: "FROM busybox\nRUN echo before it fails && exit 4\n", code: 1},
	})
	look := func() {
		t.Helper()
		ls := m.Must("docker", "buildx", "history", "ls", "--format", "{{.Ref}} {{.Status}}")
		lines := strings.Split(strings.TrimSpace(ls), "\n")
		if len(lines) != 2 || !strings.HasSuffix(lines[0], "Error") || !strings.HasSuffix(lines[1], "Completed") {
			t.Fatalf("history is %q", ls)
		}
		failed, _, _ := strings.Cut(lines[0], " ")
		good, _, _ := strings.Cut(lines[1], " ")
		failed, good = filepath.Base(failed), filepath.Base(good)
		run(t, m, []line{
			{args: "buildx history logs " + good, err: "to be remembered"},
			{args: "buildx history logs " + failed, err: "before it fails"},
			{args: "buildx history inspect " + good, out: "Build Steps:"},
			{args: "buildx history inspect " + failed, out: "exit code: 4"},
			{args: "buildx history inspect " + good, out: "https://slsa.dev/provenance/v1"},
			{args: "buildx history inspect attachment " + good + " --type https://slsa.dev/provenance/v1", out: `"buildDefinition"`},
			{args: "buildx history export -o " + m.Dir + "/good.dockerbuild " + good},
			{args: "buildx history logs none", code: 1, err: "none"},
		})
	}
	look()
	m.Down()
	m.Up()
	look()
	run(t, m, []line{{args: "buildx history rm --all"}})
	if ls := m.Must("docker", "buildx", "history", "ls", "--format", "{{.Ref}}"); strings.TrimSpace(ls) != "" {
		t.Errorf("history after rm --all: %q", ls)
	}
}

// hostileMounts are the public cases of builders' mounts, by BuildKit's protocol.
func hostileMounts(t *testing.T, m *harness.Machine) {
	canary := files(t, m, "canary", map[string]string{"secret": "of the host"})
	build := "build --progress plain --no-cache -t hostile "

	// CVE-2024-23651: one step swaps links in a cache mount that another step mounts by a path below it. Here a path is one of what a cache begins
	// with, in the context, and the cache another one.
	swap := "FROM busybox AS swap\nRUN --mount=type=cache,id=c,target=/c for i in $(seq 2000); do rm -rf /c/d; ln -s " + canary + " /c/d; rm -f /c/d; mkdir /c/d; done\n"
	for i := range 8 {
		swap += fmt.Sprintf("FROM busybox AS look%d\nRUN --mount=type=cache,id=c,source=/d,target=/x ls -la /x; cat /x/secret; true\n", i)
	}
	swap += "FROM busybox\nCOPY --from=swap /etc/passwd /s\n"
	for i := range 8 {
		swap += fmt.Sprintf("COPY --from=look%d /etc/passwd /l%d\n", i, i)
	}
	sown := files(t, m, "sown", map[string]string{"d/seed": "of the context"})
	if r := m.Do(swap, "docker", words(build+"-f - "+sown)...); r.Code != 0 || strings.Contains(r.Stdout+r.Stderr, "of the host") || !strings.Contains(r.Stderr, " seed\n") {
		t.Errorf("caches that begin with a folder of the context: exit code %d: %s", r.Code, r.Stderr)
	}
	if r := m.Do(swap, "docker", words(build+"-")...); r.Code == 0 || strings.Contains(r.Stdout+r.Stderr, "of the host") {
		t.Errorf("caches that begin with nothing: exit code %d: %s", r.Code, r.Stderr)
	}
	whole := strings.ReplaceAll(strings.ReplaceAll(swap, ",source=/d,target=/x", ",target=/x"), "/x/secret", "/x/d/secret")
	if r := m.Do(whole, "docker", words(build+"-")...); r.Code != 0 || strings.Contains(r.Stdout+r.Stderr, "of the host") {
		t.Errorf("two steps with one cache: exit code %d: %s", r.Code, r.Stderr)
	}

	// CVE-2024-23652: the places of mounts become links; nothing is deleted through them.
	run(t, m, []line{
		{args: build + "-", stdin: "FROM busybox\nRUN --mount=type=tmpfs,target=/a/b/secret mkdir -p /keep && mv /a /moved; rm -rf /a; mkdir /a; ln -s " + canary + " /a/b; true\n" +
			"RUN --mount=type=tmpfs,target=/e mkdir -p " + canary + " && ln -s " + canary + " /f\nRUN --mount=type=cache,target=/f/secret true\n"},
		{args: "run --rm hostile ls -d /keep", out: "/keep"},
	})
	if b, err := os.ReadFile(filepath.Join(canary, "secret")); err != nil || string(b) != "of the host" {
		t.Errorf("the host's file is %q (%v)", b, err)
	}
	if list, err := os.ReadDir(canary); err != nil || len(list) != 1 {
		t.Errorf("the host's folder has %v (%v)", list, err)
	}

	// CVE-2024-23653: no privilege by any way of asking.
	const caps = "grep CapEff /proc/self/status"
	run(t, m, []line{
		{args: build + "-", stdin: "FROM busybox\nRUN " + caps + "; mount -t tmpfs x /tmp 2>&1 || echo refused\n", err: "00000000a80425fb"},
		{args: build + "-", stdin: "FROM busybox\nRUN --security=insecure " + caps + "\n", code: 1, err: "security.insecure"},
		{args: "buildx " + build + "--allow security.insecure -", stdin: "FROM busybox\nRUN --security=insecure " + caps + "\n", code: 1, err: "not allowed"},
		{args: "buildx " + build + "--build-arg BUILDKIT_SYNTAX=docker/dockerfile:labs -", stdin: "FROM busybox\nRUN --security=insecure " + caps + "\n", code: 1, err: "security.insecure"},
		{args: build + "-", stdin: "FROM busybox\nONBUILD RUN --security=insecure " + caps + "\n"},
		{args: "buildx " + build + "-", stdin: "FROM hostile\n", code: 1, err: "security.insecure"},
		{args: build + "-", stdin: "FROM busybox\nRUN --network=host true\n", code: 1, err: "network.host"},
	})
}

// privateRegistry builds from and pushes to a registry that knows its users; the engine is told by the client's session alone.
func privateRegistry(t *testing.T, m *harness.Machine) {
	hash, err := bcrypt.GenerateFromPassword([]byte("open-sesame"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	users := filepath.Join(m.Dir, "htpasswd")
	if err := os.WriteFile(users, []byte("ann:"+string(hash)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, auth := range []string{"basic", "token"} {
		at := fmt.Sprintf("127.0.0.1:%d", 5446+i)
		serveRegistry(t, m, "--addr", at, "--data-dir", filepath.Join(m.Dir, auth), "--tls-self", "--auth", auth, "--htpasswd", users)
		from := "FROM " + at + "/team/base:1\nRUN echo from private\n"
		run(t, m, []line{
			{args: "login -u ann -p open-sesame " + at, out: "Login Succeeded"},
			{args: "tag busybox " + at + "/team/base:1"},
			{args: "push -q " + at + "/team/base:1"},
			{args: "rmi " + at + "/team/base:1"},
			{args: "build --progress plain --no-cache --push -t " + at + "/team/made:1 -", stdin: from, err: "pushing " + at + "/team/made:1"},
			{args: "rmi " + at + "/team/made:1"},
			{args: "run --rm --pull always " + at + "/team/made:1 echo pulled", out: "pulled\n"},
			{args: "logout " + at},
			{args: "rmi -f " + at + "/team/made:1 " + at + "/team/base:1"},
			{args: "build --progress plain --no-cache --pull -", stdin: from, code: 1, err: at + "/team/base:1"},
			{args: "build --progress plain --push -t " + at + "/team/other:1 -", stdin: "FROM busybox\n", code: 1, err: "failed to push " + at + "/team/other:1"},
		})
	}
	if log, err := os.ReadFile(filepath.Join(m.DataDir, "nau.log")); err == nil && regexp.MustCompile("open-sesame|YW5uOm9wZW4tc2VzYW1l").Match(log) {
		t.Error("the engine's log shows the password")
	}
}
