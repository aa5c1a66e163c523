package image

import "testing"

func TestDockerConfigLookups(t *testing.T) {
	c, err := ParseDockerConfig([]byte(`{"auths":{
		"https://index.docker.io/v1/":{"auth":"am9lOnNlY3JldA=="},
		"reg.example:5000":{"username":"u","password":"p"},
		"reg.example:5000/team":{"username":"team","password":"p"},
		"*.wild.example":{"identitytoken":"t"},
		"bad.example":{"auth":"???"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct{ host, repo, user, token string }{
		{"docker.io", "library/nginx", "joe", ""},
		{"reg.example:5000", "other/app", "u", ""},
		{"reg.example:5000", "team/app", "team", ""},
		{"reg.example:5000", "teammate/app", "u", ""},
		{"a.wild.example", "x", "", "t"},
	} {
		a, err := c.For(x.host, x.repo)
		if err != nil || a == nil || a.Username != x.user || a.IdentityToken != x.token {
			t.Errorf("%s/%s: %+v, %v", x.host, x.repo, a, err)
		}
	}
	for _, h := range []string{"reg.example", "wild.example", "a.b.wild.example", "nobody.example"} {
		if a, err := c.For(h, ""); a != nil || err != nil {
			t.Errorf("%s: %+v, %v", h, a, err)
		}
	}
	if _, err := c.For("bad.example", ""); err == nil {
		t.Error("bad auth was taken")
	}
	old, err := ParseDockerConfig([]byte(`{"reg.example":{"username":"u","password":"p"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if a, _ := old.For("reg.example", ""); a == nil || a.Username != "u" {
		t.Errorf("the old form: %+v", a)
	}
}
