//go:build e2e

package e2e

import (
	"os"
	"testing"

	"nau/test/e2e/harness"
)

func TestMain(m *testing.M) {
	if socket := os.Getenv(keysOf); socket != "" {
		os.Exit(listKeys(socket))
	}
	os.Exit(harness.Main(m))
}
