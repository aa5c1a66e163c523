package network

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// Networks whose IDs begin and end alike have links of their own in one sandbox.
func TestHostLinksAreApart(t *testing.T) {
	const sandbox = "a40f85813f5d4c0f"
	seen := map[string]string{hostLink(sandbox, "first", "eth0"): "first"}
	for n := range 2000 {
		network := fmt.Sprintf("aa%04xbb", n)
		name := hostLink(sandbox, network, "eth1")
		if other, taken := seen[name]; taken {
			t.Fatalf("%s is the link to %s and to %s", name, other, network)
		}
		if len(name) >= unix.IFNAMSIZ {
			t.Fatalf("%s is too long a name", name)
		}
		seen[name] = network
	}
}
