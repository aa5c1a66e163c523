//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"nau/internal/engine/anatomy"
	"nau/test/e2e/harness"
)

const handPod = `
apiVersion: v1
kind: Pod
metadata: {name: byhand, labels: {app: byhand}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: web
    image: busybox
    command: [sleep, "100000"]
    ports: [{containerPort: 80, hostPort: 8089}]
    resources: {limits: {cpu: 250m, memory: 64Mi}}
    volumeMounts: [{name: scratch, mountPath: /scratch/deep}]
    securityContext: {runAsUser: 1000, runAsGroup: 3000, capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}, allowPrivilegeEscalation: false, readOnlyRootFilesystem: true}
  volumes: [{name: scratch, emptyDir: {}}]
---
apiVersion: v1
kind: Service
metadata: {name: byhand}
spec: {selector: {app: byhand}, ports: [{port: 80}], sessionAffinity: ClientIP}
`

// terminal is a shell that commands are typed into, one after the other.
type terminal struct {
	t   *testing.T
	cmd *harness.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func open(t *testing.T, cmd *harness.Cmd) *terminal {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	t.Cleanup(func() { in.Close(); cmd.Wait(); r.Close() })
	return &terminal{t, cmd, in, bufio.NewReader(r)}
}

// do types a line and gives what it says; a line that fails fails the test.
func (s *terminal) do(line string) string {
	s.t.Helper()
	if strings.HasPrefix(line, "#") {
		return ""
	}
	fmt.Fprintf(s.in, "%s\necho \"ended: $?\"\n", line)
	said := ""
	for {
		text, err := s.out.ReadString('\n')
		said += text
		if err != nil {
			s.t.Fatalf("%s: the shell is gone: %s", line, said)
		}
		if before, code, ok := strings.Cut(said, "ended: "); ok {
			if code != "0\n" {
				s.t.Errorf("$ %s\n%sexit code %s", line, before, code)
			}
			return before
		}
	}
}

func (s *terminal) all(lines []string) {
	s.t.Helper()
	for _, line := range lines {
		s.do(line)
	}
}

// child is the process that the shell waits for, by its number here.
func child(t *testing.T, parent int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", parent, parent))
	pid, err2 := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || err2 != nil {
		t.Fatalf("children of %d: %q %v", parent, b, err)
	}
	return pid
}

// The commands that stand beside each part make that part: typed into a shell of another network and mount namespace they give a container
// that is as the one that was taken apart.
func TestAnatomyByHand(t *testing.T) {
	needDocker(t)
	nft := harness.Installed(t, "nft", "nftables")
	m := harness.New(t)
	m.Registry()
	m.Up()
	m.Must("docker", "pull", "-q", "busybox")
	m.Must("docker", "run", "-d", "--name", "byhand", "-p", "8090:80", "-m", "64m", "--cpus", "0.5", "--pids-limit", "77", "-v", "kept:/kept", "-w", "/tmp",
		"--hostname", "hand", "--cap-drop", "NET_RAW", "busybox", "sleep", "100000")
	m.Must("docker", "network", "create", "--subnet", "172.30.0.0/24", "shop")
	m.Must("docker", "run", "-d", "--name", "strict", "--network", "shop", "--ip", "172.30.0.9", "-u", "1000:1000", "--group-add", "5", "--cap-add", "NET_ADMIN", "--security-opt", "no-new-privileges",
		"--read-only", "--tmpfs", "/t:size=1m,mode=1777", "--ulimit", "nofile=100:200", "--oom-score-adj", "500", "--cpuset-cpus", "0", "--memory-reservation", "32m", "busybox", "sleep", "100000")
	if r := m.Do(handPod, "kubectl", "apply", "-f", "-"); r.Code != 0 {
		t.Fatal(r.Stderr)
	}
	m.Kubectl("wait", "--for=condition=Ready", "pod/byhand", "--timeout=60s")
	m.Until("10.42", "kubectl", "get", "endpointslices", "-l", "kubernetes.io/service-name=byhand", "-o", "jsonpath={.items[*].endpoints[*].addresses[*]}")
	for _, name := range []string{"byhand", "strict", "pod/byhand"} {
		t.Run(strings.ReplaceAll(name, "/", "-"), func(t *testing.T) { byHand(t, m.In(t), name, nft) })
	}
}

func byHand(t *testing.T, m *harness.Machine, name, nft string) {
	out := m.Must(m.Nau, "anatomy", name, "--json", "--data-dir", m.DataDir, "--run-dir", m.RunDir)
	var live, a anatomy.Anatomy
	if err := json.Unmarshal([]byte(out), &live); err != nil {
		t.Fatal(err)
	}
	// The same in places of its own: nothing of the container that runs is touched.
	dir := filepath.Join(m.Dir, "hand-"+strings.ReplaceAll(name, "/", "-"))
	root := "/" + strings.Split(live.Cgroups.Groups[0].Path, "/")[1] + "/"
	own := strings.TrimSuffix(root, "/") + "-hand/"
	out = strings.NewReplacer(m.DataDir+"/layers", dir+"/layers", m.RunDir, dir+"/run", root, own).Replace(out)
	if err := json.Unmarshal([]byte(out), &a); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir+"/run/ns", 0o755); err != nil {
		t.Fatal(err)
	}

	outer := open(t, m.Command("unshare", "--net", "--mount", "sh"))
	outer.do("ip link set lo up")
	for i := range a.Mounts { // what the engine itself writes for its container
		from, to := live.Mounts[i].Host, a.Mounts[i].Host
		if from == to {
			continue
		}
		var err error
		if a.Mounts[i].File {
			if err = os.MkdirAll(filepath.Dir(to), 0o755); err == nil {
				err = os.WriteFile(to, nil, 0o644)
			}
		} else if err = os.MkdirAll(to, 0o755); err == nil && a.Mounts[i].Type == "tmpfs" {
			outer.do("mount -t tmpfs -o " + a.Mounts[i].Options + "," + a.Mounts[i].Super + " shm " + to)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	ns := anatomy.Recipes(&a)["namespaces"]
	last := len(ns) - 1
	outer.all(ns[:last])
	// The last of them gives the shell inside: another terminal of the same machine.
	inner := open(t, m.Command("nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", outer.cmd.Process.Pid), fmt.Sprintf("--mount=/proc/%d/ns/mnt", outer.cmd.Process.Pid),
		"sh", "-c", strings.Join(slices.DeleteFunc(slices.Clone(ns[:last]), func(l string) bool { return !strings.HasPrefix(l, "ns=") }), "\n")+"\nexec "+ns[last]))
	inner.do("true") // it is there
	pid := child(t, inner.cmd.Process.Pid)
	t.Cleanup(func() {
		syscall.Kill(pid, syscall.SIGKILL)
		inner.in.Close()
		inner.cmd.Wait()
		for _, g := range a.Cgroups.Groups {
			for at := g.Dir; strings.Contains(at, own[:len(own)-1]); at = filepath.Dir(at) {
				os.Remove(at)
			}
		}
	})
	a.Container.Pid = pid
	by := anatomy.Recipes(&a)

	outer.all(by["image"])
	for i, l := range a.Image.Layers {
		if got, want := listing(t, l.Dir), listing(t, live.Image.Layers[i].Dir); l.Inodes > 0 && (got != want || want == "") {
			t.Errorf("layer %d by hand:\n%s\nwant:\n%s", i, got, want)
		}
	}

	outer.all(by["cgroups"])
	for i, g := range a.Cgroups.Groups {
		if b, err := os.ReadFile(filepath.Join(g.Dir, "cgroup.procs")); err != nil || strings.TrimSpace(string(b)) != strconv.Itoa(pid) {
			t.Errorf("in %s are %q: %v", g.Dir, b, err)
		}
		for _, f := range g.Files {
			if !f.Limit {
				continue
			}
			got, _ := os.ReadFile(filepath.Join(g.Dir, f.Name))
			want, err := os.ReadFile(filepath.Join(live.Cgroups.Groups[i].Dir, f.Name))
			if err != nil || string(got) != string(want) {
				t.Errorf("%s/%s is %q, of the live one %q: %v", g.Dir, f.Name, got, want, err)
			}
		}
	}

	if all := strings.Join(by["cgroups"], "\n"); strings.HasPrefix(name, "pod/") && !strings.Contains(all, "echo 4096 > ../pids.max") {
		t.Errorf("the limit of the whole pod's processes is not among\n%s", all)
	}

	outer.all(by["network"])
	inside := func(a *anatomy.Anatomy, how *terminal, args string) string {
		return how.do("nsenter --net=" + a.Network.Netns + " " + args)
	}
	host := open(t, m.Command("sh"))
	for _, args := range []string{"ip -o addr show dev eth0", "ip link show dev eth0", "ip route show", "ip -6 route show dev eth0", "ip neigh show nud permanent"} {
		if got, want := addresses(inside(&a, outer, args)), addresses(inside(&live, host, args)); got != want || want == "" && !strings.Contains(args, "-6") {
			t.Errorf("%s by hand:\n%s\nwant:\n%s", args, got, want)
		}
	}
	ip, _, _ := strings.Cut(live.Network.Veths[0].Inside.Addrs[0], "/")
	outer.do("busybox ping -c 1 -W 5 " + ip) // through the bridge and the cable

	outer.all(by["packets"])
	rules := 0
	for _, table := range a.Packets {
		for _, c := range table.Chains {
			list := nft + " list chain " + table.Family + " " + table.Name + " " + c.Name
			want := strings.Split(host.do(list), "\n")
			for _, line := range strings.Split(outer.do(list), "\n") {
				if !slices.Contains(want, line) {
					t.Errorf("chain %s has by hand %q, want one of\n%s", c.Name, line, strings.Join(want, "\n"))
				}
				if strings.HasPrefix(line, "\t\t") && !strings.HasPrefix(line, "\t\ttype ") {
					rules++
				}
			}
		}
		for _, r := range table.Rules {
			if !strings.Contains(strings.Join(by["packets"], "\n"), "# chain "+r.Chain+" of table "+table.Name+": "+r.Text) { // nft has words for it
				rules--
			}
		}
		for _, e := range table.Elements {
			if key, _, _ := strings.Cut(e.Text, " : "); !strings.Contains(key, "/") {
				get := nft + " get element " + table.Family + " " + table.Name + " " + e.Set + " '{ " + key + " }'"
				if got, want := outer.do(get), host.do(get); got != want {
					t.Errorf("%s by hand:\n%s\nwant:\n%s", get, got, want)
				}
			}
		}
	}
	if rules != 0 {
		t.Errorf("%d more rules by hand than shown", rules)
	}

	outer.all(by["rlimits"])
	if got, want := proc(t, pid, "limits"), proc(t, live.Container.Pid, "limits"); got != want {
		t.Errorf("limits by hand:\n%s\nwant:\n%s", got, want)
	}

	inner.all(by["root"])
	status := a
	status.Container.Command = []string{"cat", "/proc/self/status"} // the host's, before its tree is gone
	for _, line := range anatomy.Recipes(&status)["security"] {
		if !strings.HasPrefix(line, "setpriv ") {
			outer.do(line)
			continue
		}
		got, want := rights(inner.do(line)), rights(proc(t, live.Container.Pid, "status"))
		if got != want || !strings.Contains(want, "CapBnd") {
			t.Errorf("rights by hand:\n%s\nwant:\n%s", got, want)
		}
	}
	if got, want := proc(t, pid, "oom_score_adj"), proc(t, live.Container.Pid, "oom_score_adj"); got != want {
		t.Errorf("oom_score_adj %q, want %q", got, want)
	}

	inner.all(by["mounts"])
	if got, want := mounts(t, pid), mounts(t, live.Container.Pid); got != want {
		t.Errorf("mounts by hand:\n%s\nwant:\n%s", got, want)
	}
	if got, want := listing(t, fmt.Sprintf("/proc/%d/root/dev", pid)), listing(t, fmt.Sprintf("/proc/%d/root/dev", live.Container.Pid)); got != want {
		t.Errorf("/dev by hand:\n%s\nwant:\n%s", got, want)
	}
	for _, n := range a.Namespaces {
		link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, n.Kind))
		same := link == fmt.Sprintf("%s:[%d]", n.Kind, n.Inode)
		if err != nil || same != n.With(anatomy.Host) {
			t.Errorf("%s by hand is %s, of the live one %d, which is shared with %v: %v", n.Kind, link, n.Inode, n.Shared, err)
		}
		if pin := strings.TrimSpace(outer.do("stat -Lc %i " + n.Pin + " /proc/self/mounts | head -1")); n.Pin != "" && link != n.Kind+":["+pin+"]" {
			t.Errorf("%s is %s, pinned is %s", n.Kind, link, pin)
		}
	}

	program, enter := by["processes"][0], by["processes"][1]
	fmt.Fprintln(inner.in, program)
	m.Until("sleep", "cat", fmt.Sprintf("/proc/%d/comm", pid))
	if cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); err != nil || cwd != live.Container.Dir {
		t.Errorf("it runs in %s: %v", cwd, err)
	}
	if got := regexp.MustCompile(`(?m)^NSpid:.*\t1$`).FindString(proc(t, pid, "status")); got == "" {
		t.Error("it is not process 1 of its namespace")
	}
	step := open(t, m.Command("sh", "-c", enter))
	want := strings.TrimSpace(m.Must("nsenter", "--target", strconv.Itoa(live.Container.Pid), "--all", "hostname"))
	if got := strings.TrimSpace(step.do("hostname")); got != want {
		t.Errorf("inside, the host's name is %q, want %q", got, want)
	}
}

func proc(t *testing.T, pid int, file string) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// listing is a folder's tree: modes, owners, sizes, device numbers, names, links.
func listing(t *testing.T, dir string) string {
	t.Helper()
	if dir == "" {
		return ""
	}
	var out strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		size, link := info.Size(), ""
		if d.IsDir() {
			size = 0
		}
		if d.Type()&fs.ModeSymlink != 0 {
			if link, err = os.Readlink(path); err != nil {
				return err
			}
		}
		name := strings.TrimPrefix(path, dir)
		if strings.HasPrefix(name, "/pts/") {
			return nil
		}
		fmt.Fprintf(&out, "%v %d:%d %d %d %s %s\n", info.Mode(), st.Uid, st.Gid, size, st.Rdev, name, link)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// addresses leaves out of what ip(8) says what is another one in every network: indexes, and the MAC address of the other end.
func addresses(text string) string {
	text = regexp.MustCompile(`(?m)^\d+: |@if\d+|link-netnsid \d+|link-netns \S+|\\.*$|expires \d+sec`).ReplaceAllString(text, "")
	lines := strings.Split(text, "\n")
	lines = slices.DeleteFunc(lines, func(l string) bool { return strings.Contains(l, "fe80::") || strings.TrimSpace(l) == "" })
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// rights are the lines of a process's status that say what it may do.
func rights(status string) string {
	var out []string
	for line := range strings.Lines(status) {
		name, _, _ := strings.Cut(line, ":")
		if slices.Contains([]string{"Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs"}, name) {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return strings.Join(out, "\n")
}

// mounts are a process's mounts, what differs between two containers left out.
func mounts(t *testing.T, pid int) string {
	t.Helper()
	var out []string
	for _, l := range anatomy.ParseMountinfo(proc(t, pid, "mountinfo")) {
		text := l.Target + " " + l.Type + " " + l.Options
		if l.Type == "tmpfs" || l.Type == "proc" || l.Type == "devpts" {
			text += " " + l.Options2[2:] // read-only is said of the mount: mount(8) makes the file system so too
		}
		out = append(out, text)
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}
