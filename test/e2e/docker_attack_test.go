//go:build e2e

package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"nau/test/e2e/harness"
)

// The attack classes that reach through containers of the Docker API. Each proves first that its attack arrives.
func TestDockerAttacks(t *testing.T) {
	needDocker(t)
	m := harness.New(t)
	m.Registry()
	m.Up()
	for _, image := range []string{"nginx", "alpine", "busybox"} {
		m.Must("docker", "pull", "-q", image)
	}
	t.Run("publish", func(t *testing.T) { attackPublished(t, m.In(t)) })
	t.Run("exec", func(t *testing.T) { attackExec(t, m.In(t)) })
	t.Run("copy", func(t *testing.T) { attackCopy(t, m.In(t)) })
}

// answering is an image whose program answers on port 8080 by TCP and by UDP.
const answering = "10.110.0.3:5000/app:v1"

// What is published to loopback, or not at all, cannot be reached from another host, by whatever route its packets come.
func attackPublished(t *testing.T, m *harness.Machine) {
	run(t, m, []line{
		{args: "network create --subnet 172.31.40.0/24 walled"},
		{args: "run -d --name open --network walled --ip 172.31.40.2 -p 8400:80 nginx"},
		{args: "run -d --name shut --network walled --ip 172.31.40.3 -p 127.0.0.1:8401:80 nginx"},
		{args: "run -d --name none --network walled --ip 172.31.40.4 nginx"},
		{args: "run -d --name echo --network walled --ip 172.31.40.5 -p 8402:8080/udp -p 127.0.0.1:8403:8080/udp -p 127.0.0.1:8404:8080 " + answering},
	})
	m.Answers("http://127.0.0.1:8400/", "nginx")
	m.Answers("http://127.0.0.1:8404/", "app")
	other := m.Neighbour("127.0.0.0/8", "172.31.40.0/24")
	// Counts what arrives, before anybody decides.
	m.Must("nft", "add table ip probe")
	defer m.Must("nft", "delete table ip probe")
	m.Must("nft", "add chain ip probe in { type filter hook prerouting priority -400; policy accept; }")
	m.Must("nft", `add rule ip probe in iifname "uplink" ip daddr { 127.0.0.1, 172.31.40.0/24 } counter`)
	ask := func(network, address string) error {
		conn, err := other.Dial(network, address)
		if err != nil {
			return err
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(300 * time.Millisecond))
		fmt.Fprintf(conn, "GET / HTTP/1.0\r\n\r\n") // for UDP as good as anything
		_, err = io.ReadAtLeast(conn, make([]byte, 8), 4)
		return err
	}
	if err := ask("tcp", harness.NodeIP+":8400"); err != nil {
		t.Errorf("a published port is closed to another host: %v", err)
	}
	if err := ask("udp", harness.NodeIP+":8402"); err != nil {
		t.Errorf("a published port of UDP is closed to another host: %v", err)
	}
	m.Answers("http://127.0.0.1:8401/", "nginx") // to the machine itself it is open
	for _, address := range []string{harness.NodeIP + ":8401", "127.0.0.1:8401", "127.0.0.1:8400", "172.31.40.2:80", "172.31.40.3:80", "172.31.40.4:80", "172.31.40.2:8400"} {
		if err := ask("tcp", address); err == nil {
			t.Errorf("another host reaches %s", address)
		}
	}
	for _, address := range []string{harness.NodeIP + ":8403", "127.0.0.1:8403", "127.0.0.1:8402", "172.31.40.5:8080"} {
		if err := ask("udp", address); err == nil {
			t.Errorf("another host reaches %s by UDP", address)
		}
	}
	rules := m.Must("nft", "list", "chain", "ip", "probe", "in")
	if _, after, ok := strings.Cut(rules, "packets "); !ok || strings.HasPrefix(after, "0 ") {
		t.Errorf("no packet of the attack arrived: %s", rules)
	}
	run(t, m, []line{{args: "rm -f open shut none echo"}, {args: "network rm walled"}})
}

// fingerprint is what must not change.
func fingerprint(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(data))
}

// What comes into a container later holds nothing of the host's, and is not to be written to.
func attackExec(t *testing.T, m *harness.Machine) {
	trap := filepath.Join(m.Dir, "trap")
	write(t, filepath.Join(trap, "secret"), "of the host")
	sealed := filepath.Join(m.RunDir, "nau-oci")
	nau, runtime := fingerprint(t, m.Nau), fingerprint(t, sealed)
	m.Must("docker", "run", "-d", "--name", "victim", "alpine", "sleep", "1000")
	m.Must("docker", "exec", "victim", "sh", "-c", "mkdir -p /w/dir; ln -s "+trap+" /w/host; ln -s /proc/1/root"+trap+" /w/root; ln -s /usr /w/usr; ln -s ../../../../../../../.."+trap+" /w/up")

	// CVE-2024-21626, the descriptors: of a first process, of an exec, with and without a terminal and an input.
	for _, args := range [][]string{{"exec"}, {"exec", "-i"}, {"exec", "--privileged"}, {"exec", "-u", "1000"}} {
		for who, script := range map[string]string{"1": "ls /proc/1/fd", "itself": "ls /proc/$$/fd; true"} {
			if who == "1" && slices.Contains(args, "1000") {
				continue // may not look
			}
			if out := m.Must("docker", append(args, "victim", "sh", "-c", script)...); out != "0\n1\n2\n" {
				t.Errorf("docker %s: process %s holds descriptors %q", strings.Join(args, " "), who, out)
			}
		}
	}
	// The working directory is inside, also by a link, and is where it says.
	run(t, m, []line{
		{args: "exec -w /w/usr victim sh -c 'readlink /proc/self/cwd'", out: "/usr\n"},
		{args: "exec -w /w/host victim cat secret", code: 127, out: `chdir to cwd ("/w/host") set in config.json failed: no such file or directory`},
	})
	for _, dir := range []string{"/w/host", "/w/root", "/w/up", "/proc/self/fd/3", "/proc/self/fd/7", "/proc/self/cwd/..", "/proc/1/cwd/../../../../../../.." + trap} {
		for _, args := range [][]string{{"exec", "-w", dir, "victim", "cat", "secret"}, {"exec", "-w", dir, "victim", "sh", "-c", "cat ../../../../../../../../.." + trap + "/secret"}} {
			if r := m.Do("", "docker", args...); strings.Contains(r.Stdout, "of the host") {
				t.Errorf("docker %s reads the host's file", strings.Join(args, " "))
			}
		}
	}
	// A racer changes what the working directory leads to while processes come in.
	m.Must("docker", "exec", "-d", "victim", "sh", "-c", "touch /w/racing; while [ -e /w/racing ]; do rm -rf /w/x; ln -s "+trap+" /w/x; rm -f /w/x; ln -s /proc/self/fd/4 /w/x; rm -f /w/x; mkdir /w/x; done")
	for range 40 {
		if r := m.Do("", "docker", "exec", "-w", "/w/x", "victim", "sh", "-c", "cat secret; cat ../../../../../../.."+trap+"/secret"); strings.Contains(r.Stdout, "of the host") {
			t.Error("a working directory that changes leads to the host")
		}
	}
	// CVE-2019-5736: whoever enters is caught by its exe link, and written to.
	m.Must("docker", "exec", "-d", "victim", "sh", "-c", `while [ -e /w/racing ]; do for p in /proc/[0-9]*; do [ "$(readlink $p/exe)" = /bin/busybox ] || { exec 9<$p/exe && { echo overwritten >/proc/self/fd/9; exec 9<&-; }; } 2>/dev/null; done; done`)
	m.Must("docker", "exec", "victim", "ln", "-s", "/proc/self/exe", "/w/self")
	for range 20 {
		m.Must("docker", "exec", "victim", "true")
		m.Do("", "docker", "exec", "victim", "/w/self", "state")
		m.Do("", "docker", "exec", "victim", "/proc/self/exe", "state")
	}
	m.Must("docker", "exec", "victim", "rm", "/w/racing")
	if fingerprint(t, m.Nau) != nau || fingerprint(t, sealed) != runtime {
		t.Error("a container changed the host's binary")
	}
	run(t, m, []line{{args: "exec victim echo sane", out: "sane\n"}, {args: "rm -f victim"}})
}

// What is copied into a container and out of it stays there, and is read by the engine's own code.
func attackCopy(t *testing.T, m *harness.Machine) {
	trap := filepath.Join(m.Dir, "snare")
	write(t, filepath.Join(trap, "secret"), "of the host")
	untouched := func(t *testing.T) {
		t.Helper()
		entries, err := os.ReadDir(trap)
		if data, _ := os.ReadFile(filepath.Join(trap, "secret")); err != nil || len(entries) != 1 || string(data) != "of the host" {
			t.Errorf("the host's folder has changed: %v, %q, %v", entries, data, err)
		}
	}
	file := filepath.Join(m.Dir, "file")
	write(t, file, "copied")
	t.Run("racer", func(t *testing.T) { // CVE-2018-15664
		m := m.In(t)
		m.Must("docker", "run", "-d", "--name", "racer", "busybox", "sh", "-c", "mkdir -p /w/dir; echo mine >/w/dir/secret; while :; do rm -rf /w/x; ln -s "+trap+" /w/x; rm -f /w/x; cp -r /w/dir /w/x; done")
		var reached int
		for i := range 40 {
			out := filepath.Join(m.Dir, fmt.Sprint("out", i))
			m.Do("", "docker", "cp", "racer:/w/x/secret", out)
			if data, err := os.ReadFile(out); err == nil {
				reached++
				if strings.Contains(string(data), "of the host") {
					t.Error("a copy out of the container has the host's file")
				}
			}
			if m.Do("", "docker", "cp", file, "racer:/w/x/put").Code == 0 {
				reached++
			}
			m.Do("", "docker", "cp", file, "racer:/w/x")
		}
		if reached == 0 {
			t.Error("no copy came through: the racer was not met")
		}
		untouched(t)
		m.Must("docker", "rm", "-f", "racer")
	})
	t.Run("nothing of the container runs", func(t *testing.T) { // CVE-2019-14271, CVE-2026-41567
		m := m.In(t)
		m.Must("docker", "run", "-d", "--name", "trojan", "busybox", "sleep", "1000")
		m.Must("docker", "exec", "trojan", "sh", "-c", `mkdir -p /usr/bin /lib64 /lib/x86_64-linux-gnu /usr/lib /etc /dst
			for p in tar xz unxz gzip gunzip unpigz pigz zstd unzstd bzip2 bunzip2 docker-untar; do for d in /bin /usr/bin /usr/local/bin /sbin; do mkdir -p $d; rm -f $d/$p; printf '#!/bin/busybox sh\necho $0 >>/ran\n' >$d/$p; chmod 755 $d/$p; done; done
			for l in libnss_files.so.2 libnss_dns.so.2 libc.so.6; do echo trojan >/lib64/$l; cp /lib64/$l /lib/x86_64-linux-gnu/; done; echo /lib64/libnss_files.so.2 >/etc/ld.so.preload; rm -f /ran`)
		archive := tarOf(t, tar.Header{Name: "inside", Typeflag: tar.TypeReg, Mode: 0o644}, "packed")
		var zipped bytes.Buffer
		w := gzip.NewWriter(&zipped)
		w.Write(archive)
		w.Close()
		xz, err := base64.StdEncoding.DecodeString(xzPacked)
		if err != nil {
			t.Fatal(err)
		}
		for _, in := range [][]byte{archive, zipped.Bytes(), xz} {
			if r := m.Do(string(in), "docker", "cp", "-", "trojan:/dst"); r.Code != 0 {
				t.Errorf("copy of an archive of %d bytes: %s", len(in), r.Stderr)
			}
		}
		run(t, m, []line{
			{args: "cp trojan:/dst/inside " + filepath.Join(m.Dir, "inside")},
			{args: "exec trojan cat /dst/inside /dst/xz", out: "packedpacked"},
			{args: "exec trojan test -e /ran", code: 1},
		})
		pid, err := os.ReadFile(filepath.Join(m.RunDir, "nau.pid"))
		if err != nil {
			t.Fatal(err)
		}
		maps, err := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/maps")
		if err != nil || !strings.Contains(string(maps), m.Nau) {
			t.Fatalf("what nau has mapped: %v", err)
		}
		for l := range strings.Lines(string(maps)) {
			if f := strings.Fields(l); len(f) > 5 && strings.Contains(f[1], "x") && f[5] != m.Nau && !strings.HasPrefix(f[5], "[") {
				t.Errorf("nau has foreign code mapped: %s", l)
			}
		}
		m.Must("docker", "rm", "-f", "trojan")
	})
	t.Run("mounts", func(t *testing.T) { // CVE-2026-41568, CVE-2026-42306: the place of a mount moves while it is made
		m := m.In(t)
		run(t, m, []line{
			{args: "run -d --name racer -v shared:/v busybox sh -c 'while :; do rm -rf /v/sub; ln -s " + trap + " /v/sub; rm -f /v/sub; ln -s /v/../../../../../../.." + trap + "/made /v/sub; rm -f /v/sub; mkdir -p /v/sub; done'"},
			{args: "create --name shown -v shared:/v -v other:/v/sub busybox"},
		})
		var reached int
		for i := range 40 {
			if m.Do("", "docker", "cp", file, "shown:/v/sub/put").Code == 0 {
				reached++
			}
			out := filepath.Join(m.Dir, fmt.Sprint("shown", i))
			m.Do("", "docker", "cp", "shown:/v/sub/secret", out)
			if data, _ := os.ReadFile(out); strings.Contains(string(data), "of the host") {
				t.Error("a copy out of a mount has the host's file")
			}
		}
		if reached == 0 {
			t.Error("no copy came through: the racer was not met")
		}
		untouched(t)
		if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounts), trap) {
			t.Errorf("a mount has landed on the host's folder: %v", err)
		}
		run(t, m, []line{{args: "rm -f racer shown"}, {args: "volume rm shared other"}})
	})
	t.Run("names", func(t *testing.T) {
		m := m.In(t)
		m.Must("docker", "run", "-d", "--name", "target", "busybox", "sh", "-c", "mkdir /dst; ln -s "+trap+" /dst/old; sleep 1000")
		m.Until("old", "docker", "exec", "target", "ls", "/dst")
		up := strings.Repeat("../", 20) + trap[1:]
		for name, entries := range map[string][]any{
			"dotdot":                {tar.Header{Name: up + "/evil", Typeflag: tar.TypeReg}, "x"},
			"absolute":              {tar.Header{Name: trap + "/evil", Typeflag: tar.TypeReg}, "x"},
			"through a link":        {tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: trap}, "", tar.Header{Name: "l/evil", Typeflag: tar.TypeReg}, "x"},
			"through a link inside": {tar.Header{Name: "old/evil", Typeflag: tar.TypeReg}, "x"},
			"over a link":           {tar.Header{Name: "f", Typeflag: tar.TypeSymlink, Linkname: trap + "/secret"}, "", tar.Header{Name: "f", Typeflag: tar.TypeReg}, "x"},
			"hard link":             {tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: up + "/secret"}, "", tar.Header{Name: "h", Typeflag: tar.TypeReg}, "x"},
			"by proc":               {tar.Header{Name: "p", Typeflag: tar.TypeSymlink, Linkname: "/proc/self/root" + trap}, "", tar.Header{Name: "p/evil", Typeflag: tar.TypeReg}, "x"},
			"by a descriptor":       {tar.Header{Name: "q", Typeflag: tar.TypeSymlink, Linkname: "/proc/self/fd"}, "", tar.Header{Name: "q/3/evil", Typeflag: tar.TypeReg}, "x"},
		} {
			var args []any
			args = append(args, entries...)
			m.Do(string(tarOf(t, args...)), "docker", "cp", "-", "target:/dst")
			if untouched(t); t.Failed() {
				t.Fatalf("by the archive %q", name)
			}
		}
		// On the way out a name that is the container's choice is the client's to distrust: the archive's names stay below what was asked for.
		run(t, m, []line{
			{args: "cp target:/dst/old/secret " + filepath.Join(m.Dir, "never"), code: 1, err: "Could not find the file /dst/old/secret in container target"},
			{args: "exec target echo sane", out: "sane\n"},
			{args: "rm -f target"},
		})
	})
	t.Run("bombs", func(t *testing.T) {
		m := m.In(t)
		before := peak(t, m)
		bomb := filepath.Join(m.Dir, "bomb.tar.gz")
		packZeros(t, bomb, 1<<30)
		m.Must("docker", "run", "-d", "--name", "bombed", "busybox", "sleep", "1000")
		in, err := os.Open(bomb)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		cmd := m.Command("docker", "cp", "-", "bombed:/tmp")
		cmd.Stdin = in
		if err := cmd.Run(); err != nil {
			t.Errorf("copy of a gigabyte of nothing: %v", err)
		}
		m.Must("docker", "import", bomb, "bombed:latest")
		m.Must("sh", "-c", "docker cp bombed:/tmp/zeros - | wc -c")
		if after := peak(t, m); after > before+128 {
			t.Errorf("memory grew from %d to %d MiB over an archive that grows a thousandfold", before, after)
		}
		run(t, m, []line{{args: "rm -f bombed"}, {args: "rmi bombed"}})
	})
}

// xzPacked is a tar archive with one file "xz" that says "packed", packed by xz, in base 64.
const xzPacked = "/Td6WFoAAATm1rRGAgAhARwAAAAQz1jM4Cf/AGBdADwefBugolE3r8EVax9ZqFLAGu4pHkBVOh6JO73IIKHdQjjB1K9lnByN/RiH9XLJ6f8ExFvpblvt43wWY9qThF8jO3Q5yvKsZXwx6k4sdOdDS5AIz3BfjWq1E0yqXDQpAACt2hwQnVHcBQABfIBQAAAAV6ZexbHEZ/sCAAAAAARZWg=="

// tarOf packs headers, each followed by its content.
func tarOf(t *testing.T, entries ...any) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(entries); i += 2 {
		h, body := entries[i].(tar.Header), entries[i+1].(string)
		h.Size, h.Mode = int64(len(body)), 0o644
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, body)
	}
	w.Close()
	return b.Bytes()
}

// packZeros writes an archive with one file of n zero bytes.
func packZeros(t *testing.T, path string, n int64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, _ := gzip.NewWriterLevel(f, gzip.BestSpeed)
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Name: "zeros", Typeflag: tar.TypeReg, Mode: 0o644, Size: n}); err != nil {
		t.Fatal(err)
	}
	part := make([]byte, 1<<20)
	for range n >> 20 {
		if _, err := w.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
}

// peak is the most memory that nau has had, in MiB.
func peak(t *testing.T, m *harness.Machine) int {
	t.Helper()
	pid, err := os.ReadFile(filepath.Join(m.RunDir, "nau.pid"))
	if err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	kib, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib >> 10
}
