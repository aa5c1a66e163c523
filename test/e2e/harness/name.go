package harness

import (
	"crypto/sha256"
	"encoding/hex"
)

// instanceName is the tag that an instance puts on kernel objects, as the
// documentation describes it: "nau" and four digits of its data directory's
// digest.
func instanceName(dataDir string) string {
	sum := sha256.Sum256([]byte(dataDir))
	return "nau" + hex.EncodeToString(sum[:2])
}
