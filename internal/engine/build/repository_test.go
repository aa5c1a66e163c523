package build

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing/filemode"

	"nau/internal/engine/build/git/gittest"
)

func TestBuildRepository(t *testing.T) {
	b := newBed(t)
	r, inner := gittest.New(t), gittest.New(t)
	in := inner.Commit("refs/heads/main", inner.Files(map[string]gittest.File{"in": gittest.Regular("inner")}))
	files := map[string]gittest.File{"Dockerfile": gittest.Regular("FROM " + b.ref + "\nCOPY . /all/\n"), "a": gittest.Regular("A"), "bin/run": {Mode: filemode.Executable, Content: "#!"},
		"bin/link": {Mode: filemode.Symlink, Content: "/etc/machine-id"}, ".gitmodules": gittest.Regular("[submodule \"m\"]\n\tpath = mod\n\turl = ../inner.git\n"),
		"mod": {Mode: filemode.Submodule, Content: in.String()}}
	first := r.Commit("refs/heads/main", r.Files(files))
	address := gittest.Serve(t, map[string]*gittest.Repo{"r.git": r, "inner.git": inner}) + "/r.git"
	img, _ := b.must(map[string]string{"Dockerfile": "FROM BASE\nADD --exclude=Dockerfile " + address + "#main /src\nADD --chmod=700 --chown=web " + address + "#main:bin /bin2/\n" +
		"ADD --keep-git-dir --checksum=" + first.String() + " " + address + " /kept\n"}, nil)
	have := b.tree(img, 1)
	want(t, have, map[string]string{"src/a": "644 0:0 A", "src/bin/run": "755 0:0 #!", "src/bin/link": "777 0:0 /etc/machine-id", "src/mod/in": "644 0:0 inner",
		"bin2/run": "700 33:33 #!", "src/Dockerfile": "", "src/.git/HEAD": "", "kept/.git/HEAD": "644 0:0 ref: refs/heads/main"})
	again, out := b.must(map[string]string{"Dockerfile": "FROM BASE\nADD --keep-git-dir " + address + " /kept\n"}, nil)
	third, out3 := b.must(map[string]string{"Dockerfile": "FROM BASE\nADD --keep-git-dir " + address + " /kept\n"}, nil)
	if third.ID != again.ID || !strings.Contains(out3, "Using cache") {
		t.Errorf("a kept repository is not found again:\n%s%s", out, out3)
	}
	for name, dockerfile := range map[string]string{
		"checksum":  "FROM BASE\nADD --checksum=" + strings.Repeat("0", 40) + " " + address + " /x",
		"no branch": "FROM BASE\nADD " + address + "#none /x",
	} {
		if _, _, err := b.build(map[string]string{"Dockerfile": dockerfile}, nil); !errors.Is(err, ErrContext) {
			t.Errorf("%s: %v", name, err)
		}
		b.idle()
	}
	// A context.
	for _, keep := range []string{"0", "1"} {
		dir, release, err := b.b.Scratch()
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		args := map[string]*string{keepsRepository: &keep}
		if _, from, err := b.b.Remote(context.Background(), address, dir, Request{Args: args}); err != nil || from.Address != address+"#refs/heads/main" || from.Algorithm != "sha1" || from.Digest != first.String() {
			t.Fatalf("%+v %v", from, err)
		}
		img, err := b.b.Build(context.Background(), Request{Folder: dir, Args: args})
		if err != nil {
			t.Fatal(err)
		}
		have := b.tree(img, 1)
		want(t, have, map[string]string{"all/a": "644 0:0 A", "all/mod/in": "644 0:0 inner"})
		if _, kept := have["all/.git/HEAD"]; kept != (keep == "1") {
			t.Errorf("%s=%s keeps: %v", keepsRepository, keep, kept)
		}
		release()
	}
	// A private one.
	r.Token = "Basic eC1hY2Nlc3MtdG9rZW46c2VjcmV0" // x-access-token:secret
	private := map[string]string{"Dockerfile": "FROM BASE\nADD " + address + " /private"}
	if _, _, err := b.build(private, func(q *Request) { q.NoCache = true }); err == nil || !strings.Contains(err.Error(), "GIT_AUTH_TOKEN") {
		t.Errorf("without a token: %v", err)
	}
	b.must(private, func(q *Request) {
		q.Secret = func(_ context.Context, id string) ([]byte, error) {
			if id == "GIT_AUTH_TOKEN" {
				return []byte("secret"), nil
			}
			return nil, ErrNotGiven
		}
	})
}
