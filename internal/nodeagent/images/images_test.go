package images

import (
	"testing"
	"time"
)

func TestCredentialMatch(t *testing.T) {
	creds, err := ParseDockerConfig([]byte(`{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"},"*.example.com":{"username":"a","password":"b"},
		"reg:5000/team":{"auth":"eDp5Og=="},"bad":{"auth":"%%"}}}`), false)
	if err != nil {
		t.Fatal(err)
	}
	find := func(reg, repo string) string {
		for _, c := range creds {
			if c.For(reg, repo) {
				return c.Auth.Username + ":" + c.Auth.Password
			}
		}
		return ""
	}
	for _, tt := range []struct{ reg, repo, want string }{
		{"docker.io", "library/nginx", "u:p"}, {"a.example.com", "x", "a:b"}, {"example.com", "x", ""}, {"a.b.example.com", "x", ""},
		{"reg:5000", "team/app", "x:y:"}, {"reg:5000", "teamx/app", ""}, {"reg:5000", "other", ""},
	} {
		if got := find(tt.reg, tt.repo); got != tt.want {
			t.Errorf("%s/%s: %q, want %q", tt.reg, tt.repo, got, tt.want)
		}
	}
}

func FuzzParseDockerConfig(f *testing.F) {
	f.Add([]byte(`{"auths":{"x":{"auth":"dTpw"}}}`), false)
	f.Add([]byte(`{"x":{"auth":"dTpw"}}`), true)
	f.Fuzz(func(t *testing.T, b []byte, legacy bool) {
		creds, err := ParseDockerConfig(b, legacy)
		if err != nil {
			return
		}
		for i := range creds {
			creds[i].For("docker.io", "library/x")
		}
	})
}

func TestParse(t *testing.T) {
	for in, want := range map[string]string{"nginx": "nginx:latest", "nginx:1": "nginx:1", "localhost:5000/a/b": "localhost:5000/a/b:latest"} {
		if got, _, _, err := parse(in); err != nil || got != want {
			t.Errorf("parse(%q) = %q, %v", in, got, err)
		}
	}
	if _, _, _, err := parse("Bad Name"); err == nil {
		t.Error("a bad name was taken")
	}
}

func TestVictims(t *testing.T) {
	now := time.Unix(10000, 0)
	old := now.Add(-time.Hour)
	list := []Candidate{{ID: "new", Size: 50, Seen: now, LastUsed: old}, {ID: "used", Size: 50, InUse: true, Seen: old}, {ID: "b", Size: 5, Seen: old, LastUsed: old.Add(time.Minute)},
		{ID: "a", Size: 5, Seen: old, LastUsed: old}, {ID: "pin", Size: 9, Pinned: true, Seen: old}}
	if got := Victims(list, 84, 100, 85, 80, now); got != nil {
		t.Errorf("below the threshold: %v", got)
	}
	if got := Victims(list, 90, 100, 85, 80, now); len(got) != 2 || got[0] != "a" || got[1] != "b" {
		t.Errorf("victims: %v", got)
	}
	if got := Victims(list, 85, 100, 85, 80, now); len(got) != 1 {
		t.Errorf("victims: %v", got)
	}
}
