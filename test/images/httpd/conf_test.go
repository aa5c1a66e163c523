package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestConfiguration(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return p
	}
	write("html/index.html", "<h1>hello</h1>")
	write("html/sub/page.txt", "page")
	main := write("nginx.conf", `
events {}
http {
  # a comment
  include conf.d/*.conf;
  server {
    listen 80;
    location / { return 200 "hello from a ConfigMap\n"; }
    location = /gone { return 404; }
    location /moved { return 301 /elsewhere; }
  }
}`)
	write("conf.d/files.conf", `server { listen 127.0.0.1:8081; listen [::]:8081; root `+dir+`/html; index index.html; }`)
	servers, err := loadConf(main)
	if err != nil || len(servers) != 2 {
		t.Fatalf("%d servers, %v", len(servers), err)
	}
	if s := servers[0]; strings.Join(s.listen, " ") != "127.0.0.1:8081 [::]:8081" {
		t.Errorf("listens on %v", s.listen)
	}
	for _, c := range []struct {
		server int
		path   string
		code   int
		body   string
	}{
		{1, "/", 200, "hello from a ConfigMap\n"}, {1, "/any/thing", 200, "hello from a ConfigMap\n"}, {1, "/gone", 404, ""}, {1, "/moved/x", 301, ""},
		{0, "/", 200, "<h1>hello</h1>"}, {0, "/sub/page.txt", 200, "page"}, {0, "/sub", 301, ""}, {0, "/sub/", 403, ""}, {0, "/nope", 404, ""}, {0, "/../../nginx.conf", 404, ""},
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "http://x/", nil)
		r.URL.Path = c.path
		servers[c.server].ServeHTTP(w, r)
		b, _ := io.ReadAll(w.Body)
		if w.Code != c.code || c.body != "" && string(b) != c.body {
			t.Errorf("%s: %d %q, want %d %q", c.path, w.Code, b, c.code, c.body)
		}
	}
	for _, bad := range []string{"server {", "}", "http { server { listen 80 } }", ";", `http { server { return; } }`} {
		if _, err := loadConf(write("bad.conf", bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if d, err := loadConf(filepath.Join(dir, "none")); err != nil || d[0].listen[0] != ":80" {
		t.Errorf("default: %v, %v", d, err)
	}
}
