package server

import (
	"io/fs"
	"net/http"
	"os"
	"strings"
)

// rooted is a directory below which no path, and no link in one, leads out.
type rooted string

// Open implements http.FileSystem.
func (d rooted) Open(name string) (http.File, error) {
	root, err := os.OpenRoot(string(d))
	if err != nil {
		return nil, fs.ErrNotExist
	}
	defer root.Close()
	name = strings.TrimPrefix(name, "/")
	if name == "" {
		name = "."
	}
	return root.Open(name)
}
