// Package embedded holds nau-oci, the container runtime and monitor, inside nau:
// compressed, since it is unpacked once a start and most of nau is not read then.
// `make build` puts it beside this file; a plain `go build` leaves it
// out and the program says so when it needs it. Only cmd/nau imports it.
package embedded

import (
	"embed"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

//go:embed *
var files embed.FS

// ErrMissing says that this nau was built without its runtime.
var ErrMissing = errors.New("this build of nau has no nau-oci inside: build it with `make build`")

// Runtime gives the bytes of nau-oci.
func Runtime() ([]byte, error) {
	packed, err := files.ReadFile("nau-oci.zst")
	if err != nil {
		return nil, ErrMissing
	}
	r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("unpack nau-oci: %w", err)
	}
	defer r.Close()
	data, err := r.DecodeAll(packed, nil)
	if err != nil {
		return nil, fmt.Errorf("unpack nau-oci: %w", err)
	}
	return data, nil
}
