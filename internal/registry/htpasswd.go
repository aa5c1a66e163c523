package registry

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// Htpasswd is a file of users and passwords as htpasswd(1) writes it with -B: "user:$2y$…" a line. It is read again when it changes. Passwords
// are hashed by bcrypt, and by nothing weaker.
type Htpasswd struct {
	file string

	mu     sync.Mutex
	at     time.Time
	size   int64
	hashes map[string][]byte
	good   map[[sha256.Size]byte]bool // user and password that were right: bcrypt is slow by design, and clients come often
}

// unknownUser is compared with what a stranger sends, so that the time of an answer does not tell who exists.
var unknownUser = []byte("$2a$10$7EqJtq98hPqEX7fNZaFWoOhi5B0G1Y8Vd2b3Oeh6a0M1bS1cVbC2.")

// OpenHtpasswd reads the file.
func OpenHtpasswd(file string) (*Htpasswd, error) {
	h := &Htpasswd{file: file}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h, h.load()
}

// load reads the file if it changed. The caller holds mu.
func (h *Htpasswd) load() error {
	info, err := os.Stat(h.file)
	if err != nil {
		return fmt.Errorf("read users: %w", err)
	}
	if info.ModTime().Equal(h.at) && info.Size() == h.size && h.hashes != nil {
		return nil
	}
	b, err := os.ReadFile(h.file)
	if err != nil {
		return fmt.Errorf("read users: %w", err)
	}
	hashes, err := parseHtpasswd(b)
	if err != nil {
		return fmt.Errorf("read users of %s: %w", h.file, err)
	}
	h.hashes, h.good, h.at, h.size = hashes, map[[sha256.Size]byte]bool{}, info.ModTime(), info.Size()
	return nil
}

func parseHtpasswd(b []byte) (map[string][]byte, error) {
	out := map[string][]byte{}
	sc := bufio.NewScanner(bytes.NewReader(b))
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimSpace(sc.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		user, hash, ok := strings.Cut(line, ":")
		if !ok || user == "" {
			return nil, fmt.Errorf("line %d: not USER:HASH", n)
		}
		if _, err := bcrypt.Cost([]byte(hash)); err != nil {
			return nil, fmt.Errorf("line %d: the password of %s is not hashed by bcrypt (htpasswd -B)", n, user)
		}
		out[user] = []byte(hash)
	}
	if err := sc.Err(); err != nil {
		return nil, err
	}
	if len(out) == 0 {
		return nil, errors.New("no user")
	}
	return out, nil
}

// Check reports whether a user has a password. A file that became unreadable lets nobody in.
func (h *Htpasswd) Check(user, password string) bool {
	h.mu.Lock()
	if h.load() != nil {
		h.mu.Unlock()
		return false
	}
	hash, known := h.hashes[user]
	key := sha256.Sum256([]byte(user + "\x00" + string(hash) + "\x00" + password))
	right := known && h.good[key]
	good := h.good
	h.mu.Unlock()
	if right {
		return true
	}
	if !known {
		hash = unknownUser
	}
	if bcrypt.CompareHashAndPassword(hash, []byte(password)) != nil || !known {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	good[key] = true // of the file that was compared with; a new one has a map of its own
	return true
}

// Users is the Check of BasicAuth and TokenAuth for a file of users who may do everything; anonymous clients may read where openReads is set.
func (h *Htpasswd) Users(openReads bool) func(user, password string) (func(Access) bool, bool) {
	return func(user, password string) (func(Access) bool, bool) {
		if user == "" && password == "" {
			return func(a Access) bool { return openReads && (a.Action == "pull" || a.Action == "search") }, true
		}
		return func(Access) bool { return true }, h.Check(user, password)
	}
}
