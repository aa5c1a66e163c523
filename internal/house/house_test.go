package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// file is one parsed Go source of the house.
type file struct {
	path string // below the repository's root, slashes
	ast  *ast.File
	fset *token.FileSet
}

func sources(t *testing.T) []file {
	t.Helper()
	root := filepath.Join("..", "..")
	var files []file
	for _, top := range []string{"cmd", "internal", "test"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
				return err
			}
			fset := token.NewFileSet()
			parsed, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
			if err != nil {
				return err
			}
			rel, _ := filepath.Rel(root, path)
			files = append(files, file{filepath.ToSlash(rel), parsed, fset})
			return nil
		})
		if err != nil && !strings.Contains(err.Error(), "no such file") {
			t.Fatal(err)
		}
	}
	if len(files) < 10 {
		t.Fatalf("read %d files: the walk lost the house", len(files))
	}
	return files
}

func imports(f file) []string {
	var out []string
	for _, spec := range f.ast.Imports {
		p, _ := strconv.Unquote(spec.Path.Value)
		out = append(out, p)
	}
	return out
}

// rule forbids imports: files below any of From may not import anything that
// starts with one of Never, unless it starts with one of But.
type rule struct {
	From, Never, But []string
	Why              string
}

var rules = []rule{
	{
		From:  []string{"internal/engine/", "internal/oci/", "internal/kernel/"},
		Never: []string{"nau/internal/api", "nau/internal/client", "nau/internal/apiserver", "nau/internal/controller", "nau/internal/scheduler", "nau/internal/nodeagent", "k8s.io/api/", "k8s.io/client-go"},
		Why:   "the engine knows containers, not Kubernetes: docker and CRI are both only dialects of it",
	},
	{
		From:  []string{"internal/controller/", "internal/scheduler/", "internal/nodeagent/", "internal/proxy/", "internal/dns/", "internal/ingress/"},
		Never: []string{"nau/internal/apiserver", "nau/internal/store"},
		Why:   "components see the cluster through the client, so that they run on other machines as well",
	},
	{
		From:  []string{"internal/nodeagent/"},
		Never: []string{"nau/internal/engine", "nau/internal/cri"},
		Why:   "the node agent drives any CRI runtime; ours has no back door",
	},
	{
		From:  []string{"internal/store/"},
		Never: []string{"nau/internal/api", "nau/internal/apiserver", "k8s.io/api/"},
		Why:   "the store holds keys, bytes and revisions and knows no kinds",
	},
	{From: []string{"internal/docker/"}, Never: []string{"nau/internal/cri", "nau/internal/client"}, Why: "the dialects are siblings and share only the engine"},
	{From: []string{"internal/cri/"}, Never: []string{"nau/internal/docker", "nau/internal/client"}, Why: "the dialects are siblings and share only the engine"},
	{From: []string{"internal/swarm/"}, Never: []string{"nau/internal/engine"}, Why: "swarm is a dialect of the API"},
	{
		From:  []string{"cmd/nau-oci/"},
		Never: []string{"nau/", "k8s.io/", "github.com/spf13/"},
		But:   []string{"nau/internal/oci", "nau/internal/kernel"},
		Why:   "every container start pays for the package initialisation of nau-oci",
	},
	{
		From:  []string{"internal/", "cmd/"},
		Never: []string{"k8s.io/kubernetes", "github.com/opencontainers/runc", "github.com/docker/docker", "github.com/moby/moby/v2", "k8s.io/apiserver/pkg/server"},
		Why:   "Nau is an implementation, not a bundle",
	},
}

func hasPrefix(s string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) || s == strings.TrimSuffix(p, "/") {
			return true
		}
	}
	return false
}

func TestImportsGoDown(t *testing.T) {
	for _, f := range sources(t) {
		if strings.HasSuffix(f.path, "_test.go") {
			continue
		}
		for _, r := range rules {
			if !hasPrefix(f.path, r.From) {
				continue
			}
			for _, imp := range imports(f) {
				if hasPrefix(imp, r.Never) && !hasPrefix(imp, r.But) {
					t.Errorf("%s imports %s: %s", f.path, imp, r.Why)
				}
			}
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	said := map[string]bool{}
	for _, f := range sources(t) {
		if strings.HasSuffix(f.path, "_test.go") {
			continue
		}
		dir := filepath.ToSlash(filepath.Dir(f.path))
		said[dir] = said[dir] || (f.ast.Doc != nil && len(f.ast.Doc.Text()) > 60)
	}
	for dir, ok := range said {
		if !ok {
			t.Errorf("%s has no package comment: say what it is, what it is not, who may import it", dir)
		}
	}
}

// deciderIO are the calls that make a decider impure: state and time come in
// as arguments, so that every decision can be put in a table.
var deciderIO = map[string][]string{
	"time": {"Now", "Since", "Until", "Sleep", "After", "NewTimer", "NewTicker", "AfterFunc"},
	"os":   {"Open", "ReadFile", "WriteFile", "Getenv", "Stat", "ReadDir"},
	"rand": {"Int", "Intn", "Float64", "Perm"},
}

func TestDecidersArePure(t *testing.T) {
	for _, f := range sources(t) {
		base := filepath.Base(f.path)
		if base != "decide.go" && !(strings.HasPrefix(base, "decide_") && !strings.HasSuffix(base, "_test.go")) {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			pkg, ok := sel.X.(*ast.Ident)
			if !ok {
				return true
			}
			for _, name := range deciderIO[pkg.Name] {
				if sel.Sel.Name == name {
					t.Errorf("%s: %s.%s: a decider has no clock, disk or network; take it as an argument", f.fset.Position(n.Pos()), pkg.Name, name)
				}
			}
			return true
		})
	}
}

var phrasing = regexp.MustCompile(`^"(?i:failed to|error while|could not|unable to) `)

func TestErrorsNameTheVerbAndTheNoun(t *testing.T) {
	for _, f := range sources(t) {
		// Docker's clients compare Docker's own words.
		if strings.HasSuffix(f.path, "_test.go") || strings.HasPrefix(f.path, "test/") || strings.HasPrefix(f.path, "internal/docker/") {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || (sel.Sel.Name != "Errorf" && sel.Sel.Name != "New") {
				return true
			}
			pkg, ok := sel.X.(*ast.Ident)
			if !ok || (pkg.Name != "fmt" && pkg.Name != "errors") {
				return true
			}
			if lit, ok := call.Args[0].(*ast.BasicLit); ok && phrasing.MatchString(lit.Value) {
				t.Errorf("%s: %s: write \"verb noun: cause\" (an error is a failure already)", f.fset.Position(n.Pos()), lit.Value)
			}
			return true
		})
	}
}

// helperPrograms are never executed: the kernel is spoken to directly and
// archives are unpacked in Go (CVE-2019-14271).
var helperPrograms = regexp.MustCompile(`^"(ip|nft|iptables|mount|umount|runc|sh|bash|modprobe|sysctl|tar|gzip|xz|zstd|unshare|nsenter)"$`)

func TestNoHelperProgramIsExecuted(t *testing.T) {
	for _, f := range sources(t) {
		if strings.HasSuffix(f.path, "_test.go") || strings.HasPrefix(f.path, "test/") {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || !strings.HasPrefix(sel.Sel.Name, "Command") {
				return true
			}
			for _, arg := range call.Args {
				if lit, ok := arg.(*ast.BasicLit); ok && helperPrograms.MatchString(lit.Value) {
					t.Errorf("%s executes %s: speak to the kernel through internal/kernel", f.fset.Position(n.Pos()), lit.Value)
				}
			}
			return true
		})
	}
}

func TestFilesAreOneRoom(t *testing.T) {
	for _, f := range sources(t) {
		if strings.HasSuffix(f.path, "_test.go") || ast.IsGenerated(f.ast) {
			continue
		}
		if lines := f.fset.File(f.ast.Pos()).LineCount(); lines > 1000 {
			t.Errorf("%s has %d lines: past a thousand it is two rooms", f.path, lines)
		}
	}
}
