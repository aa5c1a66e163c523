package build

import "testing"

// What Docker 29's classic builder writes before a RUN in the history.
func TestClassicArguments(t *testing.T) {
	proxy := "http://u:p@x"
	for _, tt := range []struct {
		name  string
		set   map[string]string
		env   []string
		given map[string]*string
		want  string
	}{
		{"nothing", nil, nil, nil, ""},
		{"one", map[string]string{"foo": "bar"}, []string{"PATH=/bin"}, nil, "|1 foo=bar "},
		{"overruled by ENV", map[string]string{"foo": "bar"}, []string{"foo=other"}, nil, ""},
		{"a declared proxy", map[string]string{"HTTP_PROXY": proxy, "foo": "bar"}, nil, map[string]*string{"HTTP_PROXY": &proxy}, "|2 HTTP_PROXY=" + proxy + " foo=bar "},
		{"an undeclared proxy", nil, nil, map[string]*string{"http_proxy": &proxy}, "|0 "},
		{"an undeclared argument", nil, nil, map[string]*string{"foo": &proxy}, ""},
	} {
		if got := classicArguments(tt.set, tt.env, tt.given); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
