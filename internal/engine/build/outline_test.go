package build

import (
	"fmt"
	"strings"
	"testing"
)

// What docker build --call=outline and --call=targets say of the same Dockerfile in Docker Engine 29.
func TestOutline(t *testing.T) {
	const file = `ARG UNUSED=1
# BASE is the base
ARG BASE=base:1
ARG TARGETARCH
# build builds it
FROM ${BASE} AS build
# WHO is who
ARG WHO=me Y
ARG BASE
ARG TARGETOS
RUN --mount=type=secret,id=tok echo $WHO
RUN --mount=type=secret,target=/x/tik --mount=type=cache,id=ch,target=/c --mount=type=ssh,id=k,required true
FROM build as other
ARG OTHER
# last one
FROM base:1
ARG L=$BASE
COPY --from=build /x /y
`
	you := "you"
	for target, want := range map[string]string{
		"":      `"" BASE=base:1 "is the base" 3; WHO=me "is who" 8; Y=- "" 8; L= "" 17 | tok=- "" 11; tik=- "" 12 | k=- "" 12 required`,
		"other": `"other" BASE=base:1 "is the base" 3; WHO=you "is who" 8; Y=- "" 8; OTHER=- "" 14 | tok=- "" 11; tik=- "" 12 | k=- "" 12 required`,
	} {
		opts := options()
		if opts.Target = target; target != "" {
			opts.Args = map[string]*string{"WHO": &you}
		}
		p, err := Parse([]byte(file), opts)
		if err != nil {
			t.Fatal(err)
		}
		o, err := p.Outline()
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%q %s | %s | %s", o.Name, spelled(o.Args), spelled(o.Secrets), spelled(o.SSH)); got != want {
			t.Errorf("target %q:\n%s, want\n%s", target, got, want)
		}
	}
	p, err := Parse([]byte(file), options())
	if err != nil {
		t.Fatal(err)
	}
	want := []Target{{Name: "build", Description: "builds it", Base: "${BASE}", From: 6, To: 6}, {Name: "other", Base: "build", From: 13, To: 13}, {Base: "base:1", Default: true, From: 16, To: 16}}
	if got := p.Targets(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("targets %+v, want %+v", got, want)
	}
}

func spelled(list []Parameter) string {
	var out []string
	for _, p := range list {
		value := "-"
		if p.Value != nil {
			value = *p.Value
		}
		text := fmt.Sprintf("%s=%s %q %d", p.Name, value, p.Description, p.From)
		if p.Required {
			text += " required"
		}
		out = append(out, text)
	}
	return strings.Join(out, "; ")
}
