package cri

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"nau/internal/engine"
	"nau/internal/engine/testbed"
	"nau/internal/engine/testbed/busybox"
)

// TestCritest runs the validation suite of cri-tools against the socket. NAU_CRITEST is the path of its executable, NAU_CRITEST_ARGS are further arguments
// (-ginkgo.focus=…). The images that the suite wants come from a registry of the test's own, made of busybox.
func TestCritest(t *testing.T) {
	program := os.Getenv("NAU_CRITEST")
	if program == "" {
		t.Skip("NAU_CRITEST names no critest executable")
	}
	testbed.Need(t)
	const staging = "k8s-staging-cri-tools/"
	user := func(u string) v1.Image {
		return busybox.Image(t, func(c *v1.Config) { c.User = u }, map[string]string{"user": u})
	}
	web := func(port string) v1.Image {
		return busybox.Image(t, func(c *v1.Config) {
			c.Cmd = []string{"sh", "-c", "echo httpd; exec httpd -f -p " + port + " -h /www -r 'master process'"}
		}, map[string]string{"www/index.html": "Welcome\n", "var/run/nginx.pid": "1\n"})
	}
	marked := func(s string) v1.Image { return busybox.Image(t, nil, map[string]string{"mark": s}) }
	images := map[string]v1.Image{
		"e2e-test-images/busybox:1.29-2": busybox.Image(t, nil, map[string]string{
			"bin/pgrep": "#!/bin/sh\nfor p in /proc/[0-9]*; do test \"$(cat $p/comm)\" = \"$1\" && echo ${p#/proc/}; done\ntrue\n",
			"bin/ipcs":  "#!/bin/sh\ncat /proc/sysvipc/shm\n",
		}), "e2e-test-images/nginx:1.14-2": web("80"), "pause:3.9": marked("pause"), "e2e-test-images/httpd:2.4.39-4": web("80"),
		staging + "hostnet-nginx-" + runtime.GOARCH + ":latest": web("12003"),
		staging + "test-image-user-uid:latest":                  user("1002"),
		staging + "test-image-user-username:latest":             user("www-data"),
		staging + "test-image-user-uid-group:latest":            user("1003:root"),
		staging + "test-image-user-username-group:latest":       user("www-data:root"),
		staging + "test-image-predefined-group:latest": busybox.Image(t, nil, map[string]string{
			"etc/passwd": "root:x:0:0:root:/root:/bin/sh\ndefault-user:x:1000:1000::/home:/bin/sh\n", "etc/group": "root:x:0:\ngroup-defined-in-image:x:50000:default-user\ndefault-user:x:1000:\n"}),
		staging + "test-image-latest:latest": marked("latest"), staging + "test-image-tag:test": marked("tag"), staging + "test-image-tag:all": marked("all"),
		staging + "test-image-1:latest": marked("1"), staging + "test-image-2:latest": marked("2"), staging + "test-image-3:latest": marked("3"),
	}
	same := marked("tags")
	for _, tag := range []string{"1", "2", "3"} {
		images[staging+"test-image-tags:"+tag] = same
	}
	host := "http://" + busybox.Serve(t, images)
	b := newBed(t, func(c *engine.Config) {
		c.Registries.Mirrors = map[string][]string{"registry.k8s.io": {host}, "gcr.io": {host}, "k8s.gcr.io": {host}}
	})
	path := filepath.Join(b.cfg.RunDir, "cri.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = b.s.Serve(l) }()
	args := []string{"-runtime-endpoint", "unix://" + path, "-image-endpoint", "unix://" + path}
	cmd := exec.Command(program, append(args, strings.Fields(os.Getenv("NAU_CRITEST_ARGS"))...)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		t.Error(err)
	}
}
