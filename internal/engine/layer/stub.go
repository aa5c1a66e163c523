package layer

import (
	"context"
	"errors"
	"io"

	"github.com/opencontainers/go-digest"
)

func (s *Store) Changes(ctx context.Context, key string) ([]Change, error) {
	return nil, errors.ErrUnsupported
}
func (s *Store) Diff(ctx context.Context, key string, w io.Writer) error {
	return errors.ErrUnsupported
}
func (s *Store) Commit(ctx context.Context, key string, w io.Writer) (digest.Digest, int64, error) {
	return "", 0, errors.ErrUnsupported
}
