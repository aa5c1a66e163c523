package registry

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

func writeUsers(t testing.TB, file string, users map[string]string) {
	t.Helper()
	text := "# users\n\n"
	for user, password := range users {
		hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		text += user + ":" + string(hash) + "\n"
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestHtpasswd(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users")
	writeUsers(t, file, map[string]string{"ann": "one", "bob": "two"})
	h, err := OpenHtpasswd(file)
	if err != nil {
		t.Fatal(err)
	}
	check := func(user, password string, want bool) {
		t.Helper()
		for range 2 { // the second answer comes from memory
			if got := h.Check(user, password); got != want {
				t.Errorf("%s with %q: %v", user, password, got)
			}
		}
	}
	check("ann", "one", true)
	check("ann", "two", false)
	check("bob", "two", true)
	check("eve", "one", false)
	check("", "", false)

	writeUsers(t, file, map[string]string{"ann": "three"})
	if err := os.Chtimes(file, time.Time{}, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	check("ann", "one", false)
	check("ann", "three", true)
	check("bob", "two", false)

	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	check("ann", "three", false)

	may, ok := h.Users(true)("", "")
	if !ok || !may(Access{"repository", "x", "pull"}) || may(Access{"repository", "x", "push"}) {
		t.Error("anonymous clients with open reads")
	}
	if may, ok := h.Users(false)("", ""); !ok || may(Access{"repository", "x", "pull"}) {
		t.Error("anonymous clients without open reads")
	}
}

func FuzzHtpasswd(f *testing.F) {
	f.Add([]byte("ann:$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC\n"))
	f.Add([]byte("ann:plain"))
	f.Add([]byte(":x\n\n#"))
	f.Fuzz(func(t *testing.T, b []byte) {
		users, err := parseHtpasswd(b)
		if err != nil {
			return
		}
		for user, hash := range users {
			if user == "" {
				t.Error("a user without a name")
			}
			if _, err := bcrypt.Cost(hash); err != nil {
				t.Errorf("%s has no bcrypt hash", user)
			}
		}
	})
}
