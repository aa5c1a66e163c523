package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// containerdConfig is of the form that containerd 1.5 and all later ones read. Everything is below the machine's folder, and pods get addresses of the
// cluster's range on a bridge of the machine's network.
const containerdConfig = `
version = 2
root = '%[1]s/containerd'
state = '%[1]s/containerd-run'
temp = '%[1]s/containerd-tmp'
imports = []
[grpc]
  address = '%[1]s/containerd.sock'
[ttrpc]
  address = '%[1]s/containerd.ttrpc'
[plugins.'io.containerd.nri.v1.nri']
  disable = true
[plugins.'io.containerd.internal.v1.opt']
  path = '%[1]s/containerd-opt'
[plugins.'io.containerd.grpc.v1.cri']
  sandbox_image = 'docker.io/library/pause:latest'
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins.'io.containerd.grpc.v1.cri'.registry]
    config_path = '%[1]s/hosts'
  [plugins.'io.containerd.grpc.v1.cri'.cni]
    bin_dir = '%[2]s'
    conf_dir = '%[1]s/cni'
  [plugins.'io.containerd.grpc.v1.cri'.containerd]
    snapshotter = 'overlayfs'
    [plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc]
      runtime_type = 'io.containerd.runc.v2'
      [plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc.options]
        BinaryName = '%[3]s'
        Root = '%[1]s/runc'
        SystemdCgroup = false
`

const containerdNetwork = `{"cniVersion":"1.0.0","name":"pods","plugins":[{"type":"bridge","bridge":"pods0","isGateway":true,"hairpinMode":true,
"ipam":{"type":"host-local","dataDir":"%s/addresses","ranges":[[{"subnet":"10.42.0.0/24"}]],"routes":[{"dst":"0.0.0.0/0"}]}}]}`

// OfContainerd is a program of containerd's: that of the folder CONTAINERD, where the machine's own is not meant, else of one of dirs or of the path.
// The test is skipped with a Lacking where there is none.
func OfContainerd(t testing.TB, name, pack string, dirs ...string) string {
	t.Helper()
	for _, dir := range append([]string{os.Getenv("CONTAINERD")}, dirs...) {
		if path := filepath.Join(dir, name); dir != "" && unix.Access(path, unix.X_OK) == nil {
			return path
		}
	}
	return Installed(t, name, pack)
}

// Containerd starts a containerd in the machine, whose images are those of Registry and whose containers are made by the OCI runtime at the path
// ("" = runc), and gives the flag for Up.
func (m *Machine) Containerd(runtime string) (flag string) {
	m.t.Helper()
	if err := os.Chmod(m.Dir, 0o711); err != nil { // runc goes to a container's folder as the root of its user namespace
		m.t.Fatal(err)
	}
	program := OfContainerd(m.t, "containerd", "containerd")
	if runtime == "" {
		runtime = OfContainerd(m.t, "runc", "runc")
	}
	plugins := filepath.Dir(OfContainerd(m.t, "bridge", "containernetworking-plugins", "/usr/lib/cni", "/opt/cni/bin"))
	for path, content := range map[string]string{
		"containerd.toml":            fmt.Sprintf(containerdConfig, m.Dir, plugins, runtime),
		"cni/10-pods.conflist":       fmt.Sprintf(containerdNetwork, m.Dir),
		"hosts/docker.io/hosts.toml": "server = 'http://" + registryAddress + "'\n[host.'http://" + registryAddress + "']\n  capabilities = ['pull', 'resolve']\n",
	} {
		path = filepath.Join(m.Dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			m.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			m.t.Fatal(err)
		}
	}
	log, err := os.Create(filepath.Join(m.Dir, "containerd.log"))
	if err != nil {
		m.t.Fatal(err)
	}
	cmd := m.Command(program, "--config", filepath.Join(m.Dir, "containerd.toml"))
	cmd.Env = append(cmd.Env, "PATH="+filepath.Dir(program)+":"+os.Getenv("PATH"))
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		m.Down()
		cmd.Process.Signal(unix.SIGTERM)
		cmd.Wait()
		m.end() // shims and containers of a test that did not come to its end
		m.unmount()
		if text, err := os.ReadFile(log.Name()); err == nil && m.t.Failed() {
			m.t.Logf("containerd.log:\n%s", tail(text))
		}
		log.Close()
		os.RemoveAll(filepath.Join(m.Dir, "containerd"))
		m.inside(func() error { return deleteLink("pods0") })
	})
	socket := filepath.Join(m.Dir, "containerd.sock")
	if !poll(func() bool { _, err := os.Stat(socket); return err == nil }) {
		text, _ := os.ReadFile(log.Name())
		m.t.Fatalf("containerd does not listen:\n%s", tail(text))
	}
	return "--container-runtime-endpoint=" + m.ContainerdEndpoint()
}

// PullAddress is where the registry's images are pulled from by a client that is told of no mirror.
const PullAddress = registryAddress

// ContainerdEndpoint is where Containerd's answers.
func (m *Machine) ContainerdEndpoint() string {
	return "unix://" + filepath.Join(m.Dir, "containerd.sock")
}

// tail is the end of a log.
func tail(text []byte) string {
	const most = 16 << 10
	return strings.ToValidUTF8(string(text[max(0, len(text)-most):]), "")
}
