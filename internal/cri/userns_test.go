package cri

import (
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestOwnersOf(t *testing.T) {
	block := func(inside, host, n uint32) []*runtimeapi.IDMapping {
		return []*runtimeapi.IDMapping{{ContainerId: inside, HostId: host, Length: n}}
	}
	pod := runtimeapi.NamespaceMode_POD
	for _, c := range []struct {
		name      string
		u         *runtimeapi.UserNamespace
		want, err string
	}{
		{"none", nil, "", ""},
		{"the node's", &runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_NODE, Uids: block(0, 1, 1)}, "", ""},
		{"its own", &runtimeapi.UserNamespace{Mode: pod, Uids: block(0, 65536, 65536), Gids: block(0, 131072, 65536)}, "0:65536:65536/0:131072:65536", ""},
		{"no mapping", &runtimeapi.UserNamespace{Mode: pod}, "", "without mappings"},
		{"no groups", &runtimeapi.UserNamespace{Mode: pod, Uids: block(0, 1, 1)}, "", "group 0"},
		{"no root", &runtimeapi.UserNamespace{Mode: pod, Uids: block(1, 1, 1), Gids: block(0, 1, 1)}, "", "user 0"},
		{"the container's", &runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_CONTAINER}, "", "mode CONTAINER"},
	} {
		m, err := ownersOf(c.u)
		if c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) || c.err == "" && (err != nil || m.String() != c.want) {
			t.Errorf("%s: %s, %v", c.name, m, err)
		}
	}
}
