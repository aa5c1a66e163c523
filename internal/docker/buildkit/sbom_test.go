package buildkit

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseSBOM(t *testing.T) {
	for v, want := range map[string]string{"generator=example.org/scan:1": "example.org/scan:1", "type=sbom,disabled=true": "", "type=sbom,generator=a": "a"} {
		if got, err := parseSBOM(v); err != nil || got != want {
			t.Errorf("%q: %q, %v", v, got, err)
		}
	}
	for _, v := range []string{"", "type=sbom,disabled=false", "generator=", "generator=a,foo=b", `"`} {
		if got, err := parseSBOM(v); err == nil {
			t.Errorf("%q is taken: %q", v, got)
		}
	}
}

func TestReadScans(t *testing.T) {
	const good = `{"_type": "x", "predicateType": "https://spdx.dev/Document", "predicate": {"a": 1}}`
	for name, c := range map[string]struct {
		files map[string]string
		err   string
	}{
		"one":       {map[string]string{"a.spdx.json": good, ".scan": "", "log.txt": "x"}, ""},
		"none":      {map[string]string{".scan": ""}, "no statement"},
		"no JSON":   {map[string]string{"a.json": "x"}, "a.json is no statement"},
		"untyped":   {map[string]string{"a.json": `{"predicate": {}}`}, "a.json is no statement"},
		"too large": {map[string]string{"a.json": strings.Repeat(" ", maxScan) + good}, "more than"},
	} {
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, scanDestination), 0o755); err != nil {
			t.Fatal(err)
		}
		for n, text := range c.files {
			if err := os.WriteFile(filepath.Join(dir, scanDestination, n), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink("/etc/os-release", filepath.Join(dir, scanDestination, "link.json")); err != nil {
			t.Fatal(err)
		}
		got, err := readScans(dir)
		if c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: %v, want %s", name, err, c.err)
		}
		if c.err == "" && (err != nil || len(got) != 1 || got[0].kind != "https://spdx.dev/Document" || string(got[0].predicate) != `{"a": 1}`) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
