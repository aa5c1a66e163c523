// Package harness gives end-to-end tests a machine of their own: a network
// namespace without an uplink, directories, a registry with the test images,
// and the stock clients run inside. It is for tests only; it drives nau as a
// user does and knows nothing of its inside.
package harness

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// NodeIP is the machine's address, on an interface that leads nowhere.
const NodeIP = "192.0.2.10"

// Machine is one such machine.
type Machine struct {
	t       testing.TB
	Nau     string // the program under test
	Dir     string // everything is below it
	DataDir string
	RunDir  string
	netns   *os.File
	Flags   []string // further flags of every `nau up`
	// Shared says that others leave links, rules and routes in the machine's network, which ends with it: they are not looked for.
	Shared bool
	env    []string
}

// Require skips where the tests cannot run at all: without root.
func Require(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		Skip(t, Lacking{"root", "end-to-end tests make namespaces, mounts and rules"})
	}
}

// New makes a machine; it is purged and checked for leaks at the test's end.
func New(t testing.TB) *Machine {
	t.Helper()
	Require(t)
	nau := os.Getenv("NAU")
	if nau == "" {
		nau = filepath.Join(repository(t), "bin", "nau")
	}
	if _, err := os.Stat(nau); err != nil {
		t.Fatalf("no program to test: %v; `make build` makes it", err)
	}
	dir, err := os.MkdirTemp("", "nau-e2e-") // short: sockets have 108 bytes for their path
	if err != nil {
		t.Fatal(err)
	}
	m := &Machine{t: t, Nau: nau, Dir: dir, DataDir: filepath.Join(dir, "data"), RunDir: filepath.Join(dir, "run")}
	m.netns = newNetns(t)
	m.env = append(cleanEnv(), "KUBECONFIG="+m.Kubeconfig(), "HOME="+dir, "DOCKER_HOST=unix://"+filepath.Join(m.RunDir, "docker.sock"))
	before := m.Kernel()
	t.Cleanup(func() {
		if t.Failed() {
			m.showState()
			m.showLog()
		}
		m.Purge()
		if after := m.Kernel(); !t.Failed() {
			if m.Shared {
				after = after.withoutNetwork()
			}
			before.Equal(t, after)
		}
		m.netns.Close()
		os.RemoveAll(dir)
	})
	return m
}

// Purge ends it with all that it made, whatever state it is in.
func (m *Machine) Purge() {
	m.Command(m.Nau, "down", "--purge", "--data-dir", m.DataDir, "--run-dir", m.RunDir).Run()
}

// Beside is a second place for an instance on the same machine.
func (m *Machine) Beside() *Machine {
	b := *m
	b.DataDir, b.RunDir = filepath.Join(m.Dir, "data-b"), filepath.Join(m.Dir, "run-b")
	b.env = append(cleanEnv(), "KUBECONFIG="+b.Kubeconfig(), "HOME="+b.Dir)
	m.t.Cleanup(b.Purge)
	return &b
}

func repository(t testing.TB) string {
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == "/" {
			t.Fatal("no go.mod above the tests")
		}
		dir = filepath.Dir(dir)
	}
}

// cleanEnv is the environment without proxies and without another cluster.
func cleanEnv() []string {
	var out []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		switch strings.ToLower(name) {
		case "http_proxy", "https_proxy", "all_proxy", "no_proxy", "kubeconfig", "docker_host", "home":
		default:
			out = append(out, kv)
		}
	}
	return out
}

// newNetns makes a network namespace with loopback and one dead-end interface.
func newNetns(t testing.TB) *os.File {
	t.Helper()
	type result struct {
		file *os.File
		err  error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread dies with the goroutine
		done <- func() result {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return result{nil, fmt.Errorf("unshare network: %w", err)}
			}
			lo, err := netlink.LinkByName("lo")
			if err != nil {
				return result{nil, err}
			}
			if err := netlink.LinkSetUp(lo); err != nil {
				return result{nil, err}
			}
			link := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "uplink"}}
			if err := netlink.LinkAdd(link); err != nil {
				return result{nil, err}
			}
			addr, _ := netlink.ParseAddr(NodeIP + "/24")
			if err := netlink.AddrAdd(link, addr); err != nil {
				return result{nil, err}
			}
			if err := netlink.LinkSetUp(link); err != nil {
				return result{nil, err}
			}
			file, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
			return result{file, err}
		}()
	}()
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	return r.file
}

func deleteLink(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkDel(link)
}

// inside runs f on a thread in the machine's network namespace.
func (m *Machine) inside(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked
		if err := unix.Setns(int(m.netns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

// Cmd is a command inside the machine.
type Cmd struct {
	*exec.Cmd
	m *Machine
}

// Command prepares a command; it starts inside the machine's network.
func (m *Machine) Command(name string, args ...string) *Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env = m.env
	cmd.Dir = m.Dir
	return &Cmd{cmd, m}
}

// Start starts it inside.
func (c *Cmd) Start() error { return c.m.inside(c.Cmd.Start) }

// Run runs it inside and waits.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Result is what a command left.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// Do runs a command inside with a bound on its time and gives all it left.
func (m *Machine) Do(stdin string, name string, args ...string) Result {
	m.t.Helper()
	cmd := m.Command(name, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if stdin != "" {
		cmd.Stdin = strings.NewReader(stdin)
	}
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		m.t.Fatalf("%s: %v", name, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { cmd.Process.Kill() })
	defer stop()
	err := cmd.Wait()
	r := Result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
	if err != nil && r.Code == 0 {
		m.t.Fatalf("%s %s: %v", name, strings.Join(args, " "), err)
	}
	return r
}

// Must runs a command that has to succeed and gives its output.
func (m *Machine) Must(name string, args ...string) string {
	m.t.Helper()
	r := m.Do("", name, args...)
	if r.Code != 0 {
		m.t.Fatalf("%s %s: exit code %d\n%s%s", name, strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// Kubectl runs the stock kubectl, which has to succeed.
func (m *Machine) Kubectl(args ...string) string {
	m.t.Helper()
	return m.Must("kubectl", args...)
}

// Kubeconfig is the admin's.
func (m *Machine) Kubeconfig() string { return filepath.Join(m.DataDir, "kubeconfig") }

// Up starts nau in the background and gives what it printed.
func (m *Machine) Up(flags ...string) string {
	m.t.Helper()
	args := append([]string{"up", "-d", "--data-dir", m.DataDir, "--run-dir", m.RunDir, "--node-name", "node-1"}, m.Flags...)
	return m.Must(m.Nau, append(args, flags...)...)
}

// Down stops it.
func (m *Machine) Down(flags ...string) string {
	m.t.Helper()
	return m.Must(m.Nau, append([]string{"down", "--data-dir", m.DataDir, "--run-dir", m.RunDir}, flags...)...)
}

// Example is the path of a manifest of the lectures.
func (m *Machine) Example(name string) string {
	return filepath.Join(repository(m.t), "test", "e2e", "testdata", "lectures", name)
}

// showState tells what the cluster thinks of its pods, where it still answers.
func (m *Machine) showState() {
	for _, args := range [][]string{{"get", "pods", "-A", "-o", "wide"}, {"get", "events", "-A", "--sort-by=.lastTimestamp"}} {
		r := m.Do("", "kubectl", append(args, "--request-timeout=5s")...)
		m.t.Logf("kubectl %s:\n%s%s", strings.Join(args, " "), r.Stdout, r.Stderr)
	}
}

func (m *Machine) showLog() {
	data, err := os.ReadFile(filepath.Join(m.DataDir, "nau.log"))
	if err != nil {
		return
	}
	m.t.Logf("the end of nau.log:\n%s", tail(data))
}
