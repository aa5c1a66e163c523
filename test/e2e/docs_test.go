//go:build e2e

package e2e

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"nau/test/e2e/harness"
)

// blocks are the commands of a page: what stands in ```sh or is indented by four spaces.
func blocks(text string) (out [][]string) {
	var block []string
	fence := "" // the one that is open
	for line := range strings.Lines(text + "\n") {
		line = strings.TrimRight(line, "\n")
		command, indented := strings.CutPrefix(line, "    ")
		switch {
		case strings.HasPrefix(line, "```"):
			if fence == "" {
				fence = line
			} else {
				fence = ""
			}
		case fence == "```sh":
			block = append(block, line)
			continue
		case fence == "" && indented && strings.TrimSpace(command) != "":
			block = append(block, command)
			continue
		}
		if len(block) > 0 {
			out, block = append(out, block), nil
		}
	}
	return out
}

// What the pages of docs/ tell people to type is typed here; a page with commands that no test has is an error.
func TestDocs(t *testing.T) {
	tests := map[string]func(t *testing.T, block []string){"published-ports.md": firewall, "oci-validation.md": validation}
	root := filepath.Join("..", "..", "docs")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".md" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		page, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		for i, block := range blocks(string(text)) {
			test := tests[page]
			if test == nil {
				t.Errorf("docs/%s: no test types these commands:\n%s", page, strings.Join(block, "\n"))
				continue
			}
			t.Run(fmt.Sprintf("%s %d", page, i+1), func(t *testing.T) { test(t, block) })
			delete(tests, page)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for page := range tests {
		t.Errorf("docs/%s has no commands any more", page)
	}
}

// The host's firewall shuts a published port to strangers: one far away is kept out, one that the rule excepts comes in.
func firewall(t *testing.T, block []string) {
	needDocker(t)
	harness.Installed(t, "nft", "nftables")
	m := harness.New(t)
	m.Registry()
	m.Up()
	m.Must("docker", "run", "-d", "--name", "web", "-p", "8000:80", "nginx")
	outside := open(t, m.Command("unshare", "--net", "sh"))
	outside.do("true") // it is there
	m.Must("ip", "link", "add", "door", "type", "veth", "peer", "name", "street", "netns", fmt.Sprint(outside.cmd.Process.Pid))
	m.Must("ip", "addr", "add", "198.51.100.1/24", "dev", "door")
	m.Must("ip", "link", "set", "door", "up")
	m.Must("ip", "route", "add", "192.0.2.77/32", "dev", "door")
	outside.all([]string{"ip addr add 198.51.100.9/24 dev street", "ip addr add 192.0.2.77/32 dev street", "ip link set street up", "ip route add default via 198.51.100.1"})
	page := func(from string) string {
		return outside.do("curl -s --noproxy '*' --connect-timeout 2 --interface " + from + " http://" + harness.NodeIP + ":8000/ || echo nothing")
	}
	m.Answers("http://"+harness.NodeIP+":8000/", "nginx")
	if got := page("198.51.100.9"); !strings.Contains(got, "nginx") {
		t.Errorf("from far away, before: %q", got)
	}
	for _, line := range block {
		m.Must("sh", "-c", line)
	}
	if got := page("198.51.100.9"); got != "nothing\n" {
		t.Errorf("from far away, with the rule: %q", got)
	}
	if got := page("192.0.2.77"); !strings.Contains(got, "nginx") {
		t.Errorf("from the excepted network: %q", got)
	}
	m.Must("nft", "delete", "table", "inet", "host")
}

// How to make the table of OCI's runtime validation: with one program of it in place of all, on nau-oci alone.
func validation(t *testing.T, block []string) {
	harness.Require(t)
	dir := harness.Client(t, "oci-validation")
	at := t.TempDir()
	script := strings.NewReplacer("$(test/clients/build.sh oci-validation)", dir, "/tmp/nau-oci", at+"/nau-oci", "./test/oci ", "./test/oci -only default ", " runc crun", "").
		Replace(strings.Join(block, "\n"))
	for _, want := range []string{"dir=" + dir, "-o " + at + "/nau-oci", "-only default", "$dir/programs"} {
		if !strings.Contains(script, want) {
			t.Fatalf("the page's commands have changed: no %q in\n%s", want, script)
		}
	}
	m := harness.New(t)
	repository, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	caches, err := exec.Command("go", "env", "GOCACHE", "GOMODCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	cache := strings.Fields(string(caches))
	out := m.Must("sh", "-ec", "cd "+repository+"\nexport CGO_ENABLED=0 GOFLAGS=-trimpath GOCACHE="+cache[0]+" GOMODCACHE="+cache[1]+"\n"+script)
	if !strings.Contains(out, "\nok 100 ") || strings.Contains(out, "\nnot ok ") {
		t.Errorf("the validation says\n%s", out)
	}
}
