package harness

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"nau/internal/engine/content"
	"nau/internal/registry"
	"nau/test/images"
)

const (
	// registryAddress is where a machine's registry answers: everybody.
	registryAddress = "127.0.0.1:5000"
	// PrivateRegistry answers to RegistryUser with RegistryPassword only.
	PrivateRegistry  = "127.0.0.1:5005"
	RegistryUser     = "reader"
	RegistryPassword = "open-sesame"
)

// served are the registry's two doors, over one content store that all machines
// of a run share: images are made once.
var served struct{ public, private http.Handler }

// Main makes the test images, runs the tests and gives the exit code.
func Main(m *testing.M) int {
	if os.Geteuid() != 0 {
		return m.Run() // every test says why it skips
	}
	dir, err := os.MkdirTemp("", "nau-e2e-images-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = fill(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "make test images:", err)
		return 1
	}
	return m.Run()
}

func fill(dir string) error {
	set, err := images.Build(context.Background(), images.Options{HTTPD: os.Getenv("TEST_HTTPD")})
	if err != nil {
		return err
	}
	store, err := content.Open(dir, nil)
	if err != nil {
		return err
	}
	open, err := registry.New(registry.Config{Content: store})
	if err != nil {
		return err
	}
	closed, err := registry.New(registry.Config{Content: store, Auth: &registry.BasicAuth{Realm: "tests",
		Check: func(user, password string) (func(registry.Access) bool, bool) {
			return func(registry.Access) bool { return true }, user == RegistryUser && password == RegistryPassword
		}}})
	if err != nil {
		return err
	}
	served.public, served.private = open, closed
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: open, ReadHeaderTimeout: time.Minute}
	defer server.Close()
	go server.Serve(listener)
	list, err := set.Find()
	if err != nil {
		return err
	}
	return set.Push(context.Background(), "http://"+listener.Addr().String(), list)
}

// Registry lets the registry with the test images answer inside; every later
// Up asks it for images of the names that the lectures use.
func (m *Machine) Registry() {
	m.t.Helper()
	for address, handler := range map[string]http.Handler{registryAddress: served.public, PrivateRegistry: served.private} {
		listener := m.Listen("tcp", address)
		server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
		go server.Serve(listener)
		m.t.Cleanup(func() { server.Close() })
	}
	for _, host := range []string{"docker.io", "10.110.0.3:5000"} {
		m.Flags = append(m.Flags, "--registry-mirror", host+"=http://"+registryAddress)
	}
}

// Serve lets the registry with the test images answer on loopback of the test's own network, for tests without a machine of New's.
func Serve(t testing.TB) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: served.public, ReadHeaderTimeout: time.Minute}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return listener.Addr().String()
}

// Listen opens a listener inside.
func (m *Machine) Listen(network, address string) (listener net.Listener) {
	m.t.Helper()
	if err := m.inside(func() (err error) {
		listener, err = net.Listen(network, address)
		return err
	}); err != nil {
		m.t.Fatal(err)
	}
	return listener
}
