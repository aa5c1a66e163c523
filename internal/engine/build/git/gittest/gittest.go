// Package gittest serves repositories that tests make, over smart HTTP, among them such as no client of git would make. Only tests import it.
package gittest

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/storage/memory"
)

// Repo is a repository that a test serves.
type Repo struct {
	*memory.Storage
	t     testing.TB
	Any   bool                // lets clients ask for any commit
	Pack  func([]byte) []byte // changes what is sent; nil = nothing
	Asked []packp.UploadPackRequest
	Token string // wanted as Authorization; "" = none
}

// New makes an empty repository.
func New(t testing.TB) *Repo {
	return &Repo{Storage: memory.NewStorage(), t: t, Any: true}
}

// File is one thing of a commit: its mode and content; a submodule's content is a hash.
type File struct {
	Mode    filemode.FileMode
	Content string
}

// Put stores an object.
func (r *Repo) Put(kind plumbing.ObjectType, content []byte) plumbing.Hash {
	o := r.NewEncodedObject()
	o.SetType(kind)
	w, _ := o.Writer()
	_, err := w.Write(content)
	h, serr := r.SetEncodedObject(o)
	if err := errors.Join(err, w.Close(), serr); err != nil {
		r.t.Fatal(err)
	}
	return h
}

// Tree stores entries in the order given, as no client of git would.
func (r *Repo) Tree(entries ...object.TreeEntry) plumbing.Hash {
	var b bytes.Buffer
	for _, e := range entries {
		b.WriteString(strings.TrimLeft(e.Mode.String(), "0") + " " + e.Name + "\x00")
		b.Write(e.Hash[:])
	}
	return r.Put(plumbing.TreeObject, b.Bytes())
}

// Blob stores a file and names it.
func (r *Repo) Blob(name, content string) object.TreeEntry {
	return object.TreeEntry{Name: name, Mode: filemode.Regular, Hash: r.Put(plumbing.BlobObject, []byte(content))}
}

// Files stores a tree of files by path.
func (r *Repo) Files(files map[string]File) plumbing.Hash {
	top := map[string]object.TreeEntry{}
	below := map[string]map[string]File{}
	for name, f := range files {
		first, rest, deep := strings.Cut(name, "/")
		switch {
		case deep && below[first] == nil:
			below[first] = map[string]File{rest: f}
		case deep:
			below[first][rest] = f
		case f.Mode == filemode.Submodule:
			top[name] = object.TreeEntry{Name: name, Mode: f.Mode, Hash: plumbing.NewHash(f.Content)}
		default:
			top[name] = object.TreeEntry{Name: name, Mode: f.Mode, Hash: r.Put(plumbing.BlobObject, []byte(f.Content))}
		}
	}
	for name, sub := range below {
		top[name] = object.TreeEntry{Name: name, Mode: filemode.Dir, Hash: r.Files(sub)}
	}
	var list []object.TreeEntry
	for _, e := range top {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b object.TreeEntry) int {
		key := func(e object.TreeEntry) string {
			if e.Mode == filemode.Dir {
				return e.Name + "/"
			}
			return e.Name
		}
		return strings.Compare(key(a), key(b))
	})
	return r.Tree(list...)
}

// Day is when all commits were made.
var Day = time.Date(2024, 2, 3, 4, 5, 6, 0, time.UTC)

// Commit stores a commit and points a reference at it.
func (r *Repo) Commit(ref string, tree plumbing.Hash, parents ...plumbing.Hash) plumbing.Hash {
	who := object.Signature{Name: "a", Email: "a@example.com", When: Day}
	c := &object.Commit{Author: who, Committer: who, Message: "m\n", TreeHash: tree, ParentHashes: parents}
	o := r.NewEncodedObject()
	if err := c.Encode(o); err != nil {
		r.t.Fatal(err)
	}
	h, err := r.SetEncodedObject(o)
	if err == nil && ref != "" {
		err = r.SetReference(plumbing.NewHashReference(plumbing.ReferenceName(ref), h))
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return h
}

// Tag stores a tag with a message.
func (r *Repo) Tag(name string, of plumbing.Hash) plumbing.Hash {
	tag := &object.Tag{Name: name, Tagger: object.Signature{Name: "a", When: Day}, Message: "m\n", TargetType: plumbing.CommitObject, Target: of}
	o := r.NewEncodedObject()
	if err := tag.Encode(o); err != nil {
		r.t.Fatal(err)
	}
	h, err := r.SetEncodedObject(o)
	if err = errors.Join(err, r.SetReference(plumbing.NewHashReference(plumbing.ReferenceName("refs/tags/"+name), h))); err != nil {
		r.t.Fatal(err)
	}
	return h
}

func (r *Repo) advertise(w io.Writer) error {
	ar := packp.NewAdvRefs()
	errs := []error{ar.Capabilities.Set(capability.OFSDelta), ar.Capabilities.Set(capability.Shallow), ar.Capabilities.Set(capability.SymRef, "HEAD:refs/heads/main")}
	if r.Any {
		errs = append(errs, ar.Capabilities.Set(capability.AllowReachableSHA1InWant))
	}
	iter, err := r.IterReferences()
	errs = append(errs, err, iter.ForEach(func(ref *plumbing.Reference) error {
		if ref.Type() != plumbing.HashReference {
			return nil
		}
		ar.References[ref.Name().String()] = ref.Hash()
		if ref.Name() == "refs/heads/main" {
			ar.Head = new(ref.Hash())
		}
		return nil
	}))
	return errors.Join(append(errs, ar.Encode(w))...)
}

// reach lists the objects of a commit, with those before it if deep.
func (r *Repo) reach(h plumbing.Hash, deep bool, seen map[plumbing.Hash]bool) {
	if seen[h] {
		return
	}
	seen[h] = true
	o, err := r.EncodedObject(plumbing.AnyObject, h)
	if err != nil {
		delete(seen, h)
		return
	}
	switch o.Type() {
	case plumbing.TagObject:
		t, _ := object.GetTag(r, h)
		r.reach(t.Target, deep, seen)
	case plumbing.CommitObject:
		c, _ := object.GetCommit(r, h)
		r.reach(c.TreeHash, deep, seen)
		for _, p := range c.ParentHashes {
			if deep {
				r.reach(p, deep, seen)
			}
		}
	case plumbing.TreeObject:
		t, err := object.GetTree(r, h)
		if err != nil {
			r.t.Error(err)
			return
		}
		for _, e := range t.Entries {
			if e.Mode != filemode.Submodule {
				r.reach(e.Hash, deep, seen)
			}
		}
	}
}

func (r *Repo) upload(in io.Reader, w io.Writer) error {
	req := packp.NewUploadPackRequest()
	if err := req.Decode(in); err != nil {
		return err
	}
	r.Asked = append(r.Asked, *req)
	deep := req.Depth.IsZero()
	seen := map[plumbing.Hash]bool{}
	res := packp.NewUploadPackResponse(req)
	for _, h := range req.Wants {
		r.reach(h, deep, seen)
		if c, err := object.GetCommit(r, h); err == nil && !deep && len(c.ParentHashes) > 0 {
			res.Shallows = append(res.Shallows, h)
		}
	}
	var list []plumbing.Hash
	for h := range seen {
		list = append(list, h)
	}
	var b bytes.Buffer
	if _, err := packfile.NewEncoder(&b, r.Storage, false).Encode(list, 10); err != nil {
		return err
	}
	pack := b.Bytes()
	if r.Pack != nil {
		pack = r.Pack(pack)
	}
	full := packp.NewUploadPackResponseWithPackfile(req, io.NopCloser(bytes.NewReader(pack)))
	full.ShallowUpdate = res.ShallowUpdate
	return full.Encode(w)
}

func (r *Repo) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	var err error
	switch {
	case r.Token != "" && req.Header.Get("Authorization") != r.Token:
		w.Header().Set("WWW-Authenticate", "Basic")
		w.WriteHeader(http.StatusUnauthorized)
	case strings.HasSuffix(req.URL.Path, "/info/refs"):
		e := pktline.NewEncoder(w)
		if err = errors.Join(e.EncodeString("# service=git-upload-pack\n"), e.Flush()); err == nil {
			err = r.advertise(w)
		}
	case strings.HasSuffix(req.URL.Path, "/git-upload-pack"):
		err = r.upload(req.Body, w)
	default:
		http.NotFound(w, req)
	}
	if err != nil {
		r.t.Log("server:", err)
	}
}

// Handler serves repositories by path.
func Handler(repos map[string]*Repo) http.Handler {
	mux := http.NewServeMux()
	for name, r := range repos {
		mux.Handle("/"+name+"/", r)
	}
	return mux
}

// Serve serves repositories at an address on loopback until the test ends.
func Serve(t testing.TB, repos map[string]*Repo) string {
	s := httptest.NewServer(Handler(repos))
	t.Cleanup(s.Close)
	return s.URL
}

// Regular is a plain file.
func Regular(content string) File { return File{filemode.Regular, content} }
