//go:build vm

package vm

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// cluster is a machine with nothing but cgroup version 2, the program and the stock clients, that runs tests of package vm/guest.
func cluster(t *testing.T) *vm {
	t.Helper()
	found, err := find()
	kubectl, err2 := program("kubectl", "kubernetes-client")
	docker, err3 := program("docker", "docker-cli")
	lacks(t, err, err2, err3)
	nau := os.Getenv("NAU")
	if nau == "" {
		nau = filepath.Join(found.source, "bin", "nau")
	}
	if !exists(nau) {
		t.Fatalf("no program to test at %s: `make build` makes it", nau)
	}
	c := contents{
		files: map[string]string{
			"src/bin/nau": nau, "usr/bin/kubectl": kubectl, "usr/bin/docker": docker, "src/go.mod": filepath.Join(found.source, "go.mod"),
			"src/test/vm/guest/guest.test": found.compile(t, "guest.test", "test", "-c", "-tags", "vm", "./test/vm/guest"),
			"src/httpd":                    found.compile(t, "httpd", "build", "-ldflags=-s -w", "./test/images/httpd"),
		},
		run: `mount -t cgroup2 cgroup2 /sys/fs/cgroup
cd test/vm/guest
NAU=/src/bin/nau TEST_HTTPD=/src/httpd ./guest.test -test.v -test.timeout 15m -test.run "$run"
`,
	}
	testdata := filepath.Join(found.source, "test", "e2e", "testdata")
	must(t, filepath.WalkDir(testdata, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			c.files["src/test/e2e/testdata"+strings.TrimPrefix(path, testdata)] = path
		}
		return err
	}))
	return build(t, found, c)
}

// Limits, freezing, statistics, devices, resizing and clean-up on nothing but cgroup version 2.
func TestCgroup2(t *testing.T) {
	if code := cluster(t).boot(t, "TestCgroup2", nil); code != 0 {
		t.Fatalf("the tests inside ended with %d", code)
	}
}

// What was acknowledged is there after the machine was switched off in the same moment, with all that its disk had not been told.
func TestPowerLoss(t *testing.T) {
	v := cluster(t)
	pulled := false
	code := v.boot(t, "TestPowerBefore", func(line string) bool {
		pulled = pulled || strings.HasPrefix(line, "acknowledged")
		return pulled
	})
	if !pulled {
		t.Fatalf("the first half ended with %d", code)
	}
	if code := v.boot(t, "TestPowerAfter", nil); code != 0 {
		t.Fatalf("the second half ended with %d", code)
	}
}
