package build

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"nau/internal/engine/image"
)

// The history's lines as Docker Engine 29's classic builder words them.
func TestClassicHistory(t *testing.T) {
	value := "7"
	opts := options()
	opts.Classic = true
	opts.Args = map[string]*string{"Q": &value}
	opts.Labels = map[string]string{"z": "1", "y": "2"}
	p, steps, _ := expand(t, `ARG V=1
FROM base:$V AS unused
RUN true
FROM base
ARG Q=5
MAINTAINER me <me@x>
COPY --chown=1:1 --chmod=755 f /100%
ENV A b
SHELL ["/bin/sh","-e","-c"]
HEALTHCHECK --interval=5s CMD true
HEALTHCHECK NONE
ONBUILD RUN echo trig
ENTRYPOINT echo hi
CMD a b
EXPOSE 80 90/udp
VOLUME ["/v","/w"]
WORKDIR rel
RUN ["echo","exec form"]
`, opts, ImageConfig{})
	var got []string
	for _, s := range steps {
		got = append(got, s.History)
	}
	const nop = "/bin/sh -e -c #(nop)  "
	want := []string{"/bin/sh -c #(nop)  ARG Q=5", "/bin/sh -c #(nop)  MAINTAINER me <me@x>", "/bin/sh -c #(nop) COPY --chown=1:1 --chmod=755 %s in /100%% ", "/bin/sh -c #(nop)  ENV A=b",
		nop + "SHELL [/bin/sh -e -c]",
		nop + "HEALTHCHECK &{Test:[CMD-SHELL true] Interval:5s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}",
		nop + "HEALTHCHECK &{Test:[NONE] Interval:0s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}",
		nop + "ONBUILD RUN echo trig", nop + `ENTRYPOINT ["/bin/sh" "-e" "-c" "echo hi"]`, nop + `CMD ["/bin/sh" "-e" "-c" "a b"]`, nop + "EXPOSE 80 90/udp", nop + "VOLUME [/v /w]",
		"/bin/sh -e -c #(nop) WORKDIR /rel", "|1 Q=7 echo exec form", nop + "LABEL y=2", nop + "LABEL z=1"}
	if !slices.Equal(got, want) {
		t.Errorf("history\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if p.Total != 20 || p.Stages[0].First != 2 || !slices.Equal(p.Needed, []int{0, 1}) || !slices.Equal(p.Opening, []string{"ARG V=1"}) {
		t.Errorf("%d steps, the first stage begins at %d, stages %v, before them %q", p.Total, p.Stages[0].First, p.Needed, p.Opening)
	}
	if note := steps[6].Note; note != "Note: overriding previous HEALTHCHECK: [CMD-SHELL true]" || steps[5].Note != "" {
		t.Errorf("notes %q and %q", steps[5].Note, note)
	}
}

var ids = regexp.MustCompile(`\b[0-9a-f]{12}\b`)

// What Docker Engine 29 prints for the same Dockerfile, IDs apart.
func TestClassicBuild(t *testing.T) {
	b := newBed(t)
	files := map[string]string{"f": "f", "Dockerfile": "ARG V=1\nFROM BASE\nENV A=1\nCOPY f /f\nRUN echo hi\nHEALTHCHECK CMD true\nHEALTHCHECK NONE\n"}
	var ended []string // stages' images
	classic := func(r *Request) {
		r.Classic, r.Tags = true, []string{"classic:1"}
		text := r.Progress
		r.Progress = func(e Event) {
			if e.Kind == StageEnds {
				ended = append(ended, e.ID)
			}
			text(e)
		}
	}
	const made = ` ---> Running in ID
 ---> Removed intermediate container ID
 ---> ID
`
	img, out := b.must(files, classic)
	out = ids.ReplaceAllString(strings.ReplaceAll(out, b.ref, "BASE"), "ID")
	want := "Step 1/7 : ARG V=1\nStep 2/7 : FROM BASE\n ---> ID\nStep 3/7 : ENV A=1\n" + made + "Step 4/7 : COPY f /f\n ---> ID\nStep 5/7 : RUN echo hi\n" +
		strings.Replace(made, "\n", "\nhi\n", 1) + "Step 6/7 : HEALTHCHECK CMD true\n" + made + "Step 7/7 : HEALTHCHECK NONE\nNote: overriding previous HEALTHCHECK: [CMD-SHELL true]\n" + made +
		"Successfully built ID\nSuccessfully tagged classic:1\n"
	if i := strings.Index(out, "Step 1"); i < 0 || !strings.HasSuffix(out[i:], want[strings.Index(want, "Step 3"):]) || !strings.HasPrefix(out[i:], want[:strings.Index(want, " --->")]) {
		t.Errorf("output\n%s\nwant\n%s", out, want)
	}
	again, out := b.must(files, classic)
	if again.ID != img.ID || strings.Count(out, "Using cache") != 5 || strings.Contains(out, "Running in") {
		t.Errorf("second build: %s, want %s\n%s", again.ID, img.ID, out)
	}
	if !slices.Equal(ended, []string{img.ID.String(), img.ID.String()}) {
		t.Errorf("the stages ended with %q, want %s each time", ended, img.ID)
	}
	chain := 0
	for at := img; at.Parent != ""; chain++ {
		var err error
		if at, err = b.e.Images.Get(at.Parent.String()); err != nil {
			t.Fatal(err)
		}
	}
	if chain != 5 {
		t.Errorf("%d images below, want one for each of the 4 steps before the last, and the base", chain)
	}
	if c := img.Config.History[len(img.Config.History)-1].Comment; c != "" {
		t.Errorf("comment %q", c)
	}
}

// A squashed image has one layer over its base, without a trace of what was made and removed on the way.
func TestSquash(t *testing.T) {
	b := newBed(t)
	files := map[string]string{"Dockerfile": "FROM BASE AS one\nRUN echo kept >/one\nFROM one\nRUN echo hidden >/secret && mkdir -p /d/e && touch /d/e/f\nRUN rm -rf /secret /d /one && mkdir /d && echo new >/d/n && ln /d/n /hard\nENV A=1\n"}
	for name, own := range map[string]bool{"classic": true, "own": false} {
		base, _ := b.must(files, func(r *Request) { r.Classic, r.Target = own, "one" })
		var whole *image.Image
		img, _ := b.must(files, func(r *Request) { r.Classic, r.Squash, r.Tags = own, true, []string{"squashed:" + name} })
		whole, _ = b.must(files, func(r *Request) { r.Classic = own })
		if len(img.DiffIDs) != len(base.DiffIDs)+1 {
			t.Fatalf("%s: %d layers over %d", name, len(img.DiffIDs), len(base.DiffIDs))
		}
		have := b.tree(img, len(base.DiffIDs))
		want(t, have, map[string]string{"d/n": "644 0:0 new", "hard": "644 0:0 d/n", "d/e/f": "", "secret": ""})
		if _, ok := have["secret"]; ok {
			t.Errorf("%s: the layer tells of a file that was made and removed: %v", name, have)
		}
		if have["one"] != "0 0:0" {
			t.Errorf("%s: the base's file is not hidden: %v", name, have)
		}
		h := img.Config.History
		last := h[len(h)-1]
		if last.EmptyLayer || last.Comment != "merge "+whole.ID.String()+" to "+base.ID.String() || len(h) != len(whole.Config.History)+1 {
			t.Errorf("%s: the history has %d lines and ends in %+v", name, len(h), last)
		}
		for _, line := range h[len(base.Config.History) : len(h)-1] {
			if !line.EmptyLayer {
				t.Errorf("%s: the step %q has a layer still", name, line.CreatedBy)
			}
		}
		if img.Config.Config.Env[len(img.Config.Config.Env)-1] != "A=1" {
			t.Errorf("%s: environment %q", name, img.Config.Config.Env)
		}
	}
}
