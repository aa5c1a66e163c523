package build

import (
	"slices"
	"testing"
)

// Histories are worded as BuildKit words them: as written, with the words expanded, and without what is for another image or nobody.
func TestHistory(t *testing.T) {
	for _, c := range []struct {
		file string
		want []string
	}{
		{"CMD [\"a\\\"b\",\"c\"]", []string{`CMD ["a\"b" "c"]`}},
		{"ENTRYPOINT echo x", []string{`ENTRYPOINT ["/bin/sh" "-c" "echo x"]`}},
		{"ENTRYPOINT []", []string{"ENTRYPOINT []"}},
		{"SHELL [\"/bin/sh\",\"-e\"]", []string{"SHELL [/bin/sh -e]"}},
		{"VOLUME /a /b", []string{"VOLUME [/a /b]"}},
		{"USER $NOBODY", []string{"USER "}},
		{"HEALTHCHECK --interval=5s --start-interval=1s CMD [\"x\"]", []string{"HEALTHCHECK {Test:[CMD x] Interval:5s Timeout:0s StartPeriod:0s StartInterval:1s Retries:0}"}},
		{"ONBUILD RUN x", []string{""}},
		{"WORKDIR /o\nCOPY a .", []string{"WORKDIR /o", "COPY a ."}},
		{"ARG M=600\nCOPY --chmod=$M --chown=1:2 --link a b/", []string{"ARG M=600", "COPY --chown=1:2 --chmod=600 a b/"}},
		{"COPY --parents --exclude=x a /b/", []string{"COPY --parents a /b/"}},
		{"COPY <<one <<two /d/\n1\none\n2\ntwo", []string{"COPY <<one <<two /d/"}},
		{"ARG A=arg\nENV A=env\nRUN x", []string{"ARG A=arg", "ENV A=env", "RUN |1 A=env /bin/sh -c x"}},
	} {
		_, steps, _ := expand(t, "FROM scratch\n"+c.file, options(), ImageConfig{})
		var got []string
		for _, s := range steps {
			got = append(got, s.History)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.file, got, c.want)
		}
	}
}
