package harness

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
)

// registryAddress is where the machine's registry answers.
const registryAddress = "127.0.0.1:5000"

// Registry starts a registry process inside with the test images; every later
// Up asks it for images of the names that the lectures use.
func (m *Machine) Registry() {
	m.t.Helper()
	program := filepath.Join(filepath.Dir(m.Nau), "mkimages")
	if _, err := os.Stat(program); err != nil {
		m.t.Fatalf("no test images: %v; test/run.sh builds their maker", err)
	}
	cmd := m.Command(program, "-serve", registryAddress, "-data", filepath.Join(m.Dir, "registry"))
	cmd.Dir = repository(m.t)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "ready") {
		m.t.Fatalf("the registry said %q: %v", line, err)
	}
	for _, host := range []string{"docker.io", "10.110.0.3:5000"} {
		m.Flags = append(m.Flags, "--registry-mirror", host+"=http://"+registryAddress)
	}
}
