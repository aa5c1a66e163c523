//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"nau/test/e2e/harness"
)

// dockerAPI speaks to a machine's Docker socket without a CLI in between.
type dockerAPI struct{ client *http.Client }

func newDockerAPI(m *harness.Machine) dockerAPI {
	socket := filepath.Join(m.RunDir, "docker.sock")
	return dockerAPI{&http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}}
}

// do makes one request and decodes its answer into out, if that is not nil.
func (d dockerAPI) do(method, path, body string, out any) error {
	req, err := http.NewRequest(method, "http://docker/v1.47"+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := d.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %d %s", method, path, resp.StatusCode, b)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(b, out)
}

// life is one container's: made, started, waited for, removed.
func (d dockerAPI) life(n int, network string) error {
	var made struct{ ID string }
	body := fmt.Sprintf(`{"Image":"busybox","Cmd":["true"],"HostConfig":{"NetworkMode":%q,"PortBindings":{"80/tcp":[{"HostPort":"%d"}]},"Mounts":[{"Type":"volume","Target":"/v"}]}}`, network, 20000+n%64)
	if err := d.do("POST", fmt.Sprintf("/containers/create?name=churn%d", n), body, &made); err != nil {
		return err
	}
	for _, step := range [][2]string{{"POST", "/start"}, {"POST", "/wait"}} {
		if err := d.do(step[0], "/containers/"+made.ID+step[1], "", nil); err != nil {
			return err
		}
	}
	return d.do("DELETE", "/containers/"+made.ID+"?v=1", "", nil)
}

// descriptors counts what nau has open.
func descriptors(t *testing.T, m *harness.Machine) int {
	t.Helper()
	pid, err := os.ReadFile(filepath.Join(m.RunDir, "nau.pid"))
	if err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadDir("/proc/" + strings.TrimSpace(string(pid)) + "/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// A thousand containers come and go, in the default network and in one of their own, with ports and volumes: nothing of them stays.
func TestChurn(t *testing.T) {
	needDocker(t)
	t.Parallel()
	m := harness.New(t)
	m.Registry()
	m.Up()
	m.Must("docker", "pull", "-q", "busybox")
	m.Must("docker", "network", "create", "town")
	api := newDockerAPI(m)
	defer api.client.CloseIdleConnections()
	churn := func(from, to int) {
		t.Helper()
		var g errgroup.Group
		g.SetLimit(8)
		for i := from; i < to; i++ {
			g.Go(func() error { return api.life(i, []string{"bridge", "town"}[i%2]) })
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		api.client.CloseIdleConnections()
	}
	routines := func() int {
		var info struct{ NGoroutines int }
		if err := api.do("GET", "/info", "", &info); err != nil {
			t.Fatal(err)
		}
		return info.NGoroutines
	}
	churn(0, 32) // what is made once is made now
	kernel, files, disk, at := m.Kernel(), descriptors(t, m), onDisk(t, m), routines()
	churn(32, 1032)
	if now := onDisk(t, m); now > disk+recordSpace {
		t.Errorf("the disk grew from %d to %d bytes", disk, now)
	}
	// The kernel takes the last namespaces' links down in its own time.
	m.WaitNoVeth()
	kernel.Equal(t, m.Kernel())
	// Connections of ours may be closing still: ten of each are none of a thousand.
	if now := descriptors(t, m); now > files+10 {
		t.Errorf("open descriptors grew from %d to %d", files, now)
	}
	if now := routines(); now > at+30 {
		t.Errorf("goroutines grew from %d to %d", at, now)
	}
	if out := m.Must("docker", "volume", "ls", "-q"); out != "" {
		t.Errorf("volumes are left: %s", out)
	}
}
