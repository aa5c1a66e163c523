package build

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"nau/internal/engine/image"
	"nau/internal/house/spent"
)

func options() Options {
	return Options{Platform: image.ParsePlatform("linux/amd64"), Builder: image.ParsePlatform("linux/arm64")}
}

// expand plans and expands the target over a base, with the stages it continues.
func expand(t *testing.T, dockerfile string, opts Options, base ImageConfig) (*Plan, []Step, ImageConfig) {
	t.Helper()
	p, err := Parse([]byte(dockerfile), opts)
	if err != nil {
		t.Fatal(err)
	}
	var of func(i int) ([]Step, ImageConfig, Scope)
	of = func(i int) ([]Step, ImageConfig, Scope) {
		cfg, scope := base, Scope{}
		if n := p.Stages[i].Parent; n >= 0 {
			_, cfg, scope = of(n)
		}
		steps, cfg, scope, err := p.Expand(i, cfg, scope)
		if err != nil {
			t.Fatal(err)
		}
		return steps, cfg, scope
	}
	steps, cfg, _ := of(p.Target)
	return p, steps, cfg
}

// A stage that comes later is not there to copy from, and is not taken for an image of its name.
func TestPlanLaterStage(t *testing.T) {
	_, err := Parse([]byte("FROM x AS a\nCOPY --from=b /f /f\nFROM y AS b\nFROM a"), options())
	if want := `cannot copy from stage "b", it needs to be defined before current stage "a"`; !errors.Is(err, ErrDockerfile) || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestPlanStages(t *testing.T) {
	for _, c := range []struct {
		name, dockerfile, target string
		needed                   []int
		bases                    []string
		total                    int
	}{
		{"one", "FROM a\nRUN x\nCMD y", "", []int{0}, []string{"a"}, 3},
		{"unused stage", "FROM a AS one\nRUN x\nFROM b", "", []int{1}, []string{"a", "b"}, 1},
		{"continued", "FROM a AS one\nRUN x\nFROM one\nRUN y", "", []int{0, 1}, []string{"a", ""}, 4},
		{"copied by name, number and case", "FROM a AS one\nFROM b\nFROM c\nCOPY --from=ONE / /\nCOPY --from=1 / /", "", []int{0, 1, 2}, []string{"a", "b", "c"}, 5},
		{"mounted", "FROM a AS one\nFROM b\nRUN --mount=from=one,target=/x ls", "", []int{0, 1}, []string{"a", "b"}, 3},
		{"image, not stage", "FROM a\nCOPY --from=busybox / /\nFROM b AS other", "0", []int{0}, []string{"a", "b"}, 2},
		{"target", "FROM a AS one\nFROM b AS two", "ONE", []int{0}, []string{"a", "b"}, 1},
		{"global argument", "ARG V=1\nARG W=$V.2\nFROM x:${W}-${TARGETARCH}", "", []int{0}, []string{"x:1.2-amd64"}, 1},
		{"default in FROM", "ARG NONE\nFROM ${NONE:-y}", "", []int{0}, []string{"y"}, 1},
		{"escape directive", "# escape=`\nFROM a\nRUN x `\n y", "", []int{0}, []string{"a"}, 2},
	} {
		opts := options()
		opts.Target = c.target
		p, err := Parse([]byte(c.dockerfile), opts)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var bases []string
		for _, s := range p.Stages {
			bases = append(bases, s.Base)
		}
		if !slices.Equal(p.Needed, c.needed) || !slices.Equal(bases, c.bases) || p.Total != c.total {
			t.Errorf("%s: needed %v, bases %q, %d steps", c.name, p.Needed, bases, p.Total)
		}
	}
}

func TestPlanRefusals(t *testing.T) {
	for dockerfile, text := range map[string]string{
		"":                                  "no instructions",
		"RUN x":                             "no build stage",
		"FROM":                              "FROM requires",
		"FROM a\nNONE":                      "unknown instruction",
		"FROM $X":                           "should not be blank",
		"FROM a\nCOPY x y z":                "",
		"FROM a AS me\nCOPY --from=me / /":  "circular",
		"FROM a\nONBUILD ONBUILD RUN x":     "ONBUILD",
		"FROM a\nRUN --mount=type=none x":   "mount type",
		"FROM a\nRUN --network=other x":     "network",
		"FROM --platform=$NONE a":           "platform",
		"FROM a\nCOPY --chmod=99999 x /y":   "",
		"FROM a\nEXPOSE 70000":              "",
		"FROM a\nSTOPSIGNAL NONE":           "",
		"FROM a\nHEALTHCHECK --interval=1":  "",
		"FROM a\nRUN --mount=type=cache x":  "",
		"FROM a\nRUN --mount=target=/,rw x": "",
		"FROM a\nENV A=${B:?needed}":        "",
	} {
		p, err := Parse([]byte(dockerfile), options())
		if err == nil {
			_, _, _, err = p.Expand(p.Target, ImageConfig{}, Scope{})
		}
		if err == nil || !errors.Is(err, ErrDockerfile) || !strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v", dockerfile, err)
		}
	}
}

func TestExpandConfiguration(t *testing.T) {
	value := "given"
	for _, c := range []struct {
		name, dockerfile string
		check            func(c ImageConfig) any
		want             any
	}{
		{"env", "ENV A=1 B=\"$A x\"\nENV A=2 C=${A}", func(c ImageConfig) any { return c.Env }, []string{"P=base", "A=2", "B= x", "C=1"}},
		{"env old form", "ENV A one two", func(c ImageConfig) any { return c.Env }, []string{"P=base", "A=one two"}},
		{"arg below env", "ARG X=arg\nENV X=env\nLABEL l=$X", func(c ImageConfig) any { return c.Labels["l"] }, "env"},
		{"build arg", "ARG GIVEN=default\nLABEL l=$GIVEN", func(c ImageConfig) any { return c.Labels["l"] }, "given"},
		{"undeclared arg", "LABEL l=x$GIVEN", func(c ImageConfig) any { return c.Labels["l"] }, "x"},
		{"platform arg", "ARG TARGETARCH\nLABEL l=$TARGETARCH", func(c ImageConfig) any { return c.Labels["l"] }, "amd64"},
		{"workdir", "WORKDIR /a\nWORKDIR b\nWORKDIR ../c", func(c ImageConfig) any { return c.WorkingDir }, "/a/c"},
		{"cmd shell", "CMD echo $P", func(c ImageConfig) any { return c.Cmd }, []string{"/bin/sh", "-c", "echo $P"}},
		{"cmd exec", `CMD ["a","b"]`, func(c ImageConfig) any { return c.Cmd }, []string{"a", "b"}},
		{"shell", "SHELL [\"bash\",\"-ec\"]\nENTRYPOINT x", func(c ImageConfig) any { return c.Entrypoint }, []string{"bash", "-ec", "x"}},
		{"entrypoint drops the base's command", "ENTRYPOINT [\"x\"]", func(c ImageConfig) any { return len(c.Cmd) }, 0},
		{"entrypoint keeps its own command", "CMD [\"y\"]\nENTRYPOINT [\"x\"]", func(c ImageConfig) any { return c.Cmd }, []string{"y"}},
		{"expose", "ARG N=80\nEXPOSE $N 53/udp 90-91", func(c ImageConfig) any { return len(c.ExposedPorts) }, 4},
		{"volume", `VOLUME ["/a","/b"]`, func(c ImageConfig) any { return len(c.Volumes) }, 2},
		{"signal", "STOPSIGNAL SIGQUIT", func(c ImageConfig) any { return c.StopSignal }, "SIGQUIT"},
		{"health", "HEALTHCHECK --interval=5s --retries=2 CMD true", func(c ImageConfig) any { return c.Healthcheck.Test }, []string{"CMD-SHELL", "true"}},
		{"health none", "HEALTHCHECK NONE", func(c ImageConfig) any { return c.Healthcheck.Test }, []string{"NONE"}},
		{"onbuild", "ONBUILD RUN x", func(c ImageConfig) any { return c.OnBuild }, []string{"RUN x"}},
		{"user", "ARG U=me\nUSER $U", func(c ImageConfig) any { return c.User }, "me"},
	} {
		opts := options()
		opts.Args = map[string]*string{"GIVEN": &value}
		base := ImageConfig{}
		base.Env, base.Cmd = []string{"P=base"}, []string{"base"}
		_, _, cfg := expand(t, "FROM x\n"+c.dockerfile, opts, base)
		if got := c.check(cfg); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestExpandRun(t *testing.T) {
	proxy := "http://p"
	opts := options()
	opts.Args = map[string]*string{"http_proxy": &proxy}
	_, steps, _ := expand(t, "FROM x AS a\nARG V=1\nENV E=e\nFROM a\nWORKDIR /w\nRUN one\nRUN [\"two\"]\nRUN <<EOF\nthree\nEOF\nRUN cat <<EOF\nfour\nEOF\nRUN <<X\n#!/bin/five\nX\n", opts, ImageConfig{})
	var runs []*Run
	for _, s := range steps {
		if s.Run != nil {
			runs = append(runs, s.Run)
		}
	}
	wants := [][]string{{"/bin/sh", "-c", "one"}, {"two"}, {"/bin/sh", "-c", "three\n"}, {"/bin/sh", "-c", "cat <<EOF\nfour\nEOF"}, {"/bin/sh", "-c", "/dev/pipes/X"}}
	for i, w := range wants {
		if r := runs[i]; !slices.Equal(r.Args, w) || r.Dir != "/w" || !slices.Equal(r.Env, []string{"V=1", "E=e"}) || !slices.Equal(r.Secret, []string{"http_proxy=http://p"}) {
			t.Errorf("run %d: %+v", i, r)
		}
	}
	if s := runs[4].Script; s == nil || s.Data != "#!/bin/five\n" {
		t.Errorf("script %+v", s)
	}
}

func TestExpandCopy(t *testing.T) {
	for dockerfile, want := range map[string]string{
		"COPY a b":              "/w/b",
		"COPY a b/":             "/w/b/",
		"COPY a .":              "/w/",
		"COPY a /":              "/",
		"COPY a /x/../y":        "/y",
		"ARG D=/d\nCOPY a $D/e": "/d/e",
		"COPY a ../../../etc/":  "/etc/",
	} {
		_, steps, _ := expand(t, "FROM x\nWORKDIR /w\n"+dockerfile, options(), ImageConfig{})
		if got := steps[len(steps)-1].Copy.Dest; got != want {
			t.Errorf("%s: %s, want %s", dockerfile, got, want)
		}
	}
}

func TestIgnore(t *testing.T) {
	for _, c := range []struct {
		rules string
		out   []string
		in    []string
	}{
		{"*.md\n!README.md", []string{"a.md"}, []string{"README.md", "d/a.md"}},
		{"**/*.md", []string{"a.md", "d/e/a.md"}, []string{"a.mdx"}},
		{"dir", []string{"dir", "dir/a/b"}, []string{"dirx", "x/dir"}},
		{"/dir/", []string{"dir/a"}, []string{"x/dir"}},
		{"# c\n\n  a?c  ", []string{"abc"}, []string{"a/c", "ac"}},
		{"*\n!keep\n!keep/**", []string{"x"}, []string{"keep", "keep/y"}},
		{"a/**", []string{"a/b", "a/b/c"}, []string{"b"}},
		{"[a-c].txt", []string{"b.txt"}, []string{"d.txt"}},
		{"../out", []string{"out"}, nil},
	} {
		ig, err := ParseIgnore(c.rules)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range c.out {
			if !ig.Match(p) {
				t.Errorf("%q keeps %s", c.rules, p)
			}
		}
		for _, p := range c.in {
			if ig.Match(p) {
				t.Errorf("%q leaves out %s", c.rules, p)
			}
		}
	}
}

func TestModes(t *testing.T) {
	for _, c := range []struct {
		text string
		was  uint32
		dir  bool
		want uint32
	}{
		{"644", 0o755, false, 0o644}, {"u=rwX,go=rX", 0o600, false, 0o644}, {"u=rwX,go=rX", 0o700, true, 0o755}, {"+x", 0o644, false, 0o755}, {"go-rwx", 0o777, false, 0o700},
		{"u+s", 0o755, false, 0o4755}, {"a=r", 0o777, false, 0o444},
	} {
		f, err := parseMode(c.text)
		if err != nil {
			t.Fatal(err)
		}
		if got := f(c.was, c.dir); got != c.want {
			t.Errorf("%s of %o: %o, want %o", c.text, c.was, got, c.want)
		}
	}
}

func TestWordsAreBounded(t *testing.T) {
	double := func(first string, times int) string {
		return "FROM scratch\nENV A=" + first + "\n" + strings.Repeat("ENV A=$A$A\n", times)
	}
	for name, tt := range map[string]struct {
		dockerfile string
		fine       bool
	}{
		"doubled a little":  {double("xxxxxxxx", 10), true},
		"doubled for ever":  {double("xxxxxxxx", 40), false},
		"replaced":          {"FROM scratch\nENV A=" + strings.Repeat("x", 4096) + "\nENV B=${A//x/$A}\n", false},
		"replaced a little": {"FROM scratch\nENV A=linux/arm64 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin\nENV B=${A//\\//-}\n", true},
		"many of them":      {double(strings.Repeat("x", 1000), 9) + strings.Repeat("ENV B=$A\n", 200), false},
		"ports of a range":  {double("1", 10) + "EXPOSE " + strings.Repeat("$A", 2000) + "\n", false},
		"a path that grows": {"FROM scratch\nENV PATH=/usr/bin\n" + strings.Repeat("ENV PATH=$PATH:/opt/x/bin\n", 100), true},
	} {
		p, err := Parse([]byte(tt.dockerfile), options())
		if err == nil {
			_, _, _, err = p.Expand(0, ImageConfig{}, Scope{})
		}
		if (err == nil) != tt.fine || err != nil && !strings.Contains(err.Error(), "longer than") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzPlan: no Dockerfile makes the plan maker panic or name a place outside the root.
func FuzzPlan(f *testing.F) {
	for _, s := range []string{"FROM a\nRUN x", "ARG A=1\nFROM a:$A AS b\nCOPY --from=b . .\nFROM b\nRUN <<E\nx\nE\n", "# escape=`\nFROM a\nADD --chmod=u+x http://x/y /z/\n",
		"FROM scratch\nONBUILD COPY a b\nEXPOSE 1-3/udp\nVOLUME [\"/x\"]\nHEALTHCHECK CMD x\nSHELL [\"a\"]\nENTRYPOINT b", "FROM a\nRUN --mount=type=cache,target=/x,id=$A --network=none y"} {
		f.Add(s)
	}
	if b, err := os.ReadFile("testdata/Dockerfile.nginx"); err == nil {
		f.Add(string(b))
	}
	f.Fuzz(func(t *testing.T, dockerfile string) { spent.On(t, len(dockerfile), func() { plan(t, dockerfile) }) })
}

// plan makes all steps of a Dockerfile and checks where they lead.
func plan(t *testing.T, dockerfile string) {
	p, err := Parse([]byte(dockerfile), options())
	if err != nil {
		return
	}
	for i := range p.Stages {
		if p.Stages[i].Parent >= i {
			t.Fatalf("stage %d continues stage %d", i, p.Stages[i].Parent)
		}
		steps, cfg, _, err := p.Expand(i, ImageConfig{}, Scope{})
		if err != nil {
			continue
		}
		if _, err := json.Marshal(cfg); err != nil {
			t.Fatal(err)
		}
		for _, s := range steps {
			if s.Copy != nil && (!strings.HasPrefix(s.Copy.Dest, "/") || slices.Contains(strings.Split(s.Copy.Dest, "/"), "..")) {
				t.Fatalf("destination %q", s.Copy.Dest)
			}
			if s.Dir != nil && !strings.HasPrefix(s.Dir.Path, "/") {
				t.Fatalf("folder %q", s.Dir.Path)
			}
		}
	}
}

func TestOnlyTheParserOfBuildKit(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	const buildkit = "github.com/moby/buildkit/"
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			p := strings.Trim(i.Path.Value, `"`)
			if strings.HasPrefix(p, buildkit) && !slices.Contains([]string{"parser", "instructions", "shell", "linter"}, strings.TrimPrefix(p, buildkit+"frontend/dockerfile/")) {
				t.Errorf("%s imports %s: only BuildKit's parser is a library here, its solver would be a second engine", name, p)
			}
		}
	}
}
