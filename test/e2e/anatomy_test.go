//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"nau/internal/engine/anatomy"
	"nau/test/e2e/harness"
)

const anatomyPod = `
apiVersion: v1
kind: Pod
metadata: {name: parts, labels: {app: parts}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: web
    image: nginx:alpine
    ports: [{containerPort: 80, hostPort: 8088}]
    resources: {limits: {cpu: 500m, memory: 128Mi}}
  - name: side
    image: busybox
    command: [sleep, "100000"]
    securityContext: {capabilities: {drop: [ALL]}, allowPrivilegeEscalation: false}
---
apiVersion: v1
kind: Service
metadata: {name: parts}
spec: {selector: {app: parts}, ports: [{port: 80}]}
`

// What anatomy tells is what the kernel says.
func TestAnatomy(t *testing.T) {
	m := harness.New(t)
	m.Registry()
	m.Up()
	if r := m.Do(anatomyPod, "kubectl", "apply", "-f", "-"); r.Code != 0 {
		t.Fatal(r.Stderr)
	}
	m.Kubectl("wait", "--for=condition=Ready", "pod/parts", "--timeout=60s")
	look := func(args ...string) (a anatomy.Anatomy) {
		out := m.Must(m.Nau, append([]string{"anatomy", "--json", "--data-dir", m.DataDir, "--run-dir", m.RunDir}, args...)...)
		if err := json.Unmarshal([]byte(out), &a); err != nil {
			t.Fatal(err)
		}
		if len(a.Missing) > 0 {
			t.Errorf("not shown: %q", a.Missing)
		}
		return a
	}
	web, side := look("pod/parts", "-c", "web"), look("pod/parts", "-n", "default", "-c", "side")
	ip := m.Kubectl("get", "pod", "parts", "-o", "jsonpath={.status.podIP}")

	t.Run("namespaces", func(t *testing.T) {
		if len(web.Namespaces) < 7 {
			t.Errorf("%d namespaces", len(web.Namespaces))
		}
		for i, n := range web.Namespaces {
			link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", web.Container.Pid, n.Kind))
			if want := fmt.Sprintf("%s:[%d]", n.Kind, n.Inode); err != nil || link != want {
				t.Errorf("%s is %s in /proc, %s here: %v", n.Kind, link, want, err)
			}
			shared := map[string]bool{"uts": true, "ipc": true, "net": true}[n.Kind]
			if same := n.Inode == side.Namespaces[i].Inode; !n.With(anatomy.Host) && (same != shared || n.With(side.Container.Name) != shared) {
				t.Errorf("%s shared with the other container: %t, said %q", n.Kind, same, n.Shared)
			}
		}
	})
	t.Run("layers", func(t *testing.T) {
		var compressed, unpacked int64
		for _, l := range web.Image.Layers {
			compressed, unpacked = compressed+l.Compressed, unpacked+l.Size
			if l.Inodes > 0 && l.Dir != "" && !strings.Contains(strings.Join(web.Root.Lower, " "), l.Dir) {
				t.Errorf("layer %s is not below the root: %v", l.Dir, web.Root.Lower)
			}
			if l.Blob == "" {
				continue
			}
			if st, err := os.Stat(l.Blob); err != nil || st.Size() != l.Compressed {
				t.Errorf("blob %s: %v, said %d bytes", l.Blob, err, l.Compressed)
			}
		}
		if len(web.Image.Layers) == 0 || compressed != web.Image.Compressed || compressed == 0 || unpacked != web.Image.Size || unpacked == 0 {
			t.Errorf("%d layers of %d and %d bytes, said %d and %d", len(web.Image.Layers), compressed, unpacked, web.Image.Compressed, web.Image.Size)
		}
	})
	t.Run("veth", func(t *testing.T) {
		if len(web.Network.Veths) != 1 {
			t.Fatalf("%d pairs", len(web.Network.Veths))
		}
		v := web.Network.Veths[0]
		out := m.Must("ip", "-o", "link", "show", "dev", v.Host.Name)
		if !strings.HasPrefix(out, fmt.Sprintf("%d: %s@if%d:", v.Host.Index, v.Host.Name, v.Inside.Index)) || !strings.Contains(out, "master "+v.Bridge.Name) {
			t.Errorf("host end %+v, ip says %s", v.Host, out)
		}
		inside := strings.TrimSpace(m.Must("kubectl", "exec", "parts", "-c", "side", "--", "cat", "/sys/class/net/eth0/iflink", "/sys/class/net/eth0/address"))
		if want := fmt.Sprintf("%d\n%s", v.Host.Index, v.Inside.MAC); inside != want {
			t.Errorf("inside the pair is %q, said %q", inside, want)
		}
		if !strings.Contains(strings.Join(v.Inside.Addrs, " "), ip+"/") {
			t.Errorf("addresses %v lack %s", v.Inside.Addrs, ip)
		}
	})
	t.Run("packets", func(t *testing.T) {
		service := m.In(t).Kubectl("get", "service", "parts", "-o", "jsonpath={.spec.clusterIP}")
		var all []string
		for _, table := range web.Packets {
			for _, e := range table.Elements {
				all = append(all, e.Text)
			}
		}
		for _, want := range []string{"tcp . 8088 : " + ip + " . 80", service + " . tcp . 80 : goto "} {
			if !strings.Contains(strings.Join(all, "\n"), want) {
				t.Errorf("no element %q in\n%s", want, strings.Join(all, "\n"))
			}
		}
	})
	t.Run("limits and rights", func(t *testing.T) {
		limits := 0
		for _, g := range web.Cgroups.Groups {
			if _, err := os.Stat(g.Dir); err != nil {
				t.Error(err)
			}
			for _, f := range g.Files {
				if (f.Name == "memory.max" || f.Name == "memory.limit_in_bytes") && f.Value == "134217728" || strings.HasPrefix(f.Means, "0.5 CPUs") {
					limits++
				}
			}
		}
		if limits != 2 {
			t.Errorf("found %d of the two limits: %+v", limits, web.Cgroups)
		}
		if c := side.Security.Capabilities; len(c.Bounding)+len(c.Permitted)+len(c.Effective)+len(c.Inheritable)+len(c.Ambient) != 0 || !side.Security.NoNewPrivs {
			t.Errorf("the container without capabilities: %+v", side.Security)
		}
		if len(web.Processes) == 0 || web.Processes[0].Pid != web.Container.Pid || web.Processes[0].Inside != 1 {
			t.Errorf("processes %+v", web.Processes)
		}
	})
	t.Run("page and names", func(t *testing.T) {
		m := m.In(t)
		where := []string{"--data-dir", m.DataDir, "--run-dir", m.RunDir}
		page := m.Must(m.Nau, append([]string{"anatomy", web.Container.ID[:12]}, where...)...)
		for _, want := range []string{"unshare --mount --pid --fork", "mount -t overlay overlay -o lowerdir=", "type veth peer name eth0", "nft add element", "> cgroup.procs"} {
			if !strings.Contains(page, want) {
				t.Errorf("the page lacks %q", want)
			}
		}
		if strings.Contains(page, "\x1b") {
			t.Error("colours without a terminal")
		}
		if r := m.Do("", m.Nau, append([]string{"anatomy", "pod/nobody"}, where...)...); r.Code == 0 || !strings.Contains(r.Stderr, "no such container") {
			t.Errorf("code %d, %s", r.Code, r.Stderr)
		}
	})
	t.Run("after the end", func(t *testing.T) {
		m.In(t).Down()
		a := look(web.Container.ID)
		if a.Container.Pid != web.Container.Pid && a.Container.Pid != 0 || len(a.Image.Layers) != len(web.Image.Layers) || a.Root.Upper != web.Root.Upper {
			t.Errorf("got %+v, %+v", a.Container, a.Root)
		}
	})
}
