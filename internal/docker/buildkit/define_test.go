package buildkit

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"nau/internal/docker/buildkit/wire"
)

// ops makes a definition; a step that is text is a source, with attributes after spaces; a number is a field of a step that is not known here.
func ops(t testing.TB, steps ...any) *wire.Definition {
	def := &wire.Definition{}
	add := func(m *wire.Op, more []byte) {
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		def.Def = append(def.Def, append(b, more...))
	}
	for _, s := range steps {
		switch s := s.(type) {
		case string:
			words := strings.Fields(s)
			src := &wire.SourceOp{Identifier: words[0], Attrs: map[string]string{}}
			for _, w := range words[1:] {
				k, v, _ := strings.Cut(w, "=")
				src.Attrs[k] = v
			}
			add(&wire.Op{Source: src}, nil)
		case int:
			b := protowire.AppendTag(nil, protowire.Number(s), protowire.BytesType)
			add(&wire.Op{}, protowire.AppendBytes(b, []byte("x")))
		}
	}
	add(&wire.Op{Inputs: []*wire.Input{{Digest: "x"}}}, nil)
	return def
}

func TestDefine(t *testing.T) {
	for name, c := range map[string]struct {
		def  *wire.Definition
		want defined
		err  string
	}{
		"a result": {ops(t, "nau-result://sha256:a"), defined{image: "sha256:a"}, ""},
		"a repository": {ops(t, "git://e.com/a/b.git#v1:sub git.fullurl=http://e.com:80/a/b.git git.authtokensecret=GIT_AUTH_TOKEN git.authheadersecret=GIT_AUTH_HEADER"),
			defined{address: "http://e.com:80/a/b.git?ref=v1&subdir=sub", repository: true}, ""},
		"by SSH": {ops(t, "git://e.com/b git.fullurl=git@e.com:b git.knownsshhosts=x git.mountsshsock=default git.keepgitdir=true"),
			defined{address: "git@e.com:b?keep-git-dir=true", repository: true}, ""},
		"checked":          {ops(t, "git://e.com/b.git git.checksum=abcd git.skipsubmodules=true"), defined{address: "https://e.com/b.git?checksum=abcd&submodules=false", repository: true}, ""},
		"an archive":       {ops(t, "https://e.com/x.tar", 4), defined{address: "https://e.com/x.tar"}, ""},
		"a signed tag":     {ops(t, "git://e.com/b.git git.sig.pubkey=x"), defined{}, "git.sig.pubkey=x is not served"},
		"another secret":   {ops(t, "git://e.com/b.git git.authtokensecret=MINE"), defined{}, "must be called"},
		"a step that runs": {ops(t, "https://e.com/x.tar", 2), defined{}, "not definitions of steps"},
		"a merge":          {ops(t, "https://e.com/x.tar", 6), defined{}, "not definitions of steps"},
		"files of nothing": {ops(t, 4), defined{}, "not definitions of steps"},
		"files of a clone": {ops(t, "git://e.com/b.git", 4), defined{}, "not definitions of steps"},
		"two sources":      {ops(t, "https://e.com/x.tar", "https://e.com/y.tar"), defined{}, "not definitions of steps"},
		"an image":         {ops(t, "docker-image://busybox"), defined{}, "source docker-image://busybox"},
		"nothing":          {ops(t), defined{}, "empty"},
		"what is no step":  {&wire.Definition{Def: [][]byte{{0xff}}}, defined{}, "read definition"},
	} {
		got, err := define(c.def)
		if c.err == "" && (err != nil || got != c.want) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: %+v, %v; want %+v, %s", name, got, err, c.want, c.err)
		}
	}
}
