package build

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"nau/internal/engine/build/git"
	"nau/internal/engine/layer"
	"nau/internal/engine/record"
)

// Scratch makes a folder that lasts until release, or until the builder opens again.
func (b *Builder) Scratch() (dir string, release func(), err error) {
	dir = filepath.Join(b.cfg.Dir, "work", record.NewID()[:16])
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", nil, fmt.Errorf("make work folder: %w", err)
	}
	return dir, func() {
		if err := removeUnmounted(dir); err != nil {
			b.cfg.Log.Warn("work folder of a build is left", "error", err)
		}
	}, nil
}

// Unpack fills a folder with an archive in any compression. All of it belongs to root.
func Unpack(ctx context.Context, dir string, archive io.Reader) error {
	if err := layer.Extract(ctx, dir, "/", archive, layer.ExtractOptions{Owner: &[2]int{0, 0}, Overwrite: true, Dots: true}); err != nil {
		return fmt.Errorf("%w: %w", ErrContext, err)
	}
	return nil
}

// IsRemote tells whether a context is named by an address instead of a folder.
func IsRemote(address string) bool { return isURL(address) || git.Is(address) }

// Remote fills dir with the context at an address: a repository, or an archive. An address of a plain text is that of a Dockerfile alone, which is
// returned. Of the request its arguments, secrets and agent count.
func (b *Builder) Remote(ctx context.Context, address, dir string, req Request) (dockerfile []byte, from Material, err error) {
	if git.Is(address) {
		from, err = b.Repository(ctx, address, dir, req)
		return nil, from, err
	}
	body, head, err := download(ctx, address)
	if err != nil {
		return nil, from, err
	}
	defer body.Close()
	h := sha256.New()
	all := io.TeeReader(body, h)
	if strings.HasPrefix(head.Get("Content-Type"), "text/plain") {
		dockerfile, err = io.ReadAll(io.LimitReader(all, maxDockerfile+1))
		if err == nil && len(bytes.TrimSpace(dockerfile)) == 0 {
			return nil, from, fmt.Errorf("%w: the Dockerfile at %s is empty", ErrDockerfile, address)
		}
	} else if err = Unpack(ctx, dir, all); err == nil {
		_, err = io.Copy(io.Discard, all) // what follows the archive is of the digest too
	}
	if err != nil {
		return nil, from, fmt.Errorf("download %s: %w", address, err)
	}
	return dockerfile, downloaded(address, h.Sum(nil)), nil
}

// downloaded names a download as a material, without credentials.
func downloaded(address string, sum []byte) Material {
	if u, err := url.Parse(address); err == nil {
		u.User = nil
		address = u.String()
	}
	return Material{Address: address, Algorithm: "sha256", Digest: hex.EncodeToString(sum)}
}

// download begins to read an address.
func download(ctx context.Context, address string) (io.ReadCloser, http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("download %s: %w: %w", address, ErrContext, err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, nil, fmt.Errorf("download %s: %w", address, err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, nil, errors.Join(fmt.Errorf("download %s: %w: the server answers %s", address, ErrContext, res.Status), res.Body.Close())
	}
	return res.Body, res.Header, nil
}
