// Package embedded holds nau-oci, the container runtime and monitor, inside nau.
// `make build` puts the binary beside this file; a plain `go build` leaves it
// out and the program says so when it needs it. Only cmd/nau imports it.
package embedded

import (
	"embed"
	"errors"
)

//go:embed *
var files embed.FS

// ErrMissing says that this nau was built without its runtime.
var ErrMissing = errors.New("this build of nau has no nau-oci inside: build it with `make build`")

// Runtime gives the bytes of nau-oci.
func Runtime() ([]byte, error) {
	data, err := files.ReadFile("nau-oci")
	if err != nil {
		return nil, ErrMissing
	}
	return data, nil
}
