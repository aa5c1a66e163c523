package fakecri

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// started is a runtime with a pod and a running container.
func started(t *testing.T, opts Options) (r *Runtime, pod, id string) {
	t.Helper()
	r = New(opts)
	p, err := r.RunPodSandbox(t.Context(), &runtimeapi.RunPodSandboxRequest{Config: &runtimeapi.PodSandboxConfig{Metadata: &runtimeapi.PodSandboxMetadata{Name: "p"}}})
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: p.PodSandboxId,
		Config: &runtimeapi.ContainerConfig{Metadata: &runtimeapi.ContainerMetadata{Name: "c"}, Image: &runtimeapi.ImageSpec{Image: "i"}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.StartContainer(t.Context(), &runtimeapi.StartContainerRequest{ContainerId: c.ContainerId}); err != nil {
		t.Fatal(err)
	}
	return r, p.PodSandboxId, c.ContainerId
}

func TestStreamsOverTheWire(t *testing.T) {
	r, _, id := started(t, Options{Exec: func(c *runtimeapi.ContainerConfig, cmd []string) ([]byte, int32, error) {
		return fmt.Appendf(nil, "%s: %s", c.Metadata.Name, strings.Join(cmd, " ")), int32(len(cmd) - 1), nil
	}})
	if _, err := r.Exec(t.Context(), &runtimeapi.ExecRequest{ContainerId: id, Cmd: []string{"x"}, Stdout: true}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("exec before there is a server: %v", err)
	}
	server, err := r.ServeStreams()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	run := func(address string, opts remotecommand.StreamOptions) error {
		t.Helper()
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		e, err := remotecommand.NewSPDYExecutor(&rest.Config{Host: u.Host}, "POST", u)
		if err != nil {
			t.Fatal(err)
		}
		return e.StreamWithContext(t.Context(), opts)
	}
	for _, cmd := range [][]string{{"true"}, {"exit", "1"}} {
		res, err := r.Exec(t.Context(), &runtimeapi.ExecRequest{ContainerId: id, Cmd: cmd, Stdout: true})
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		err = run(res.Url, remotecommand.StreamOptions{Stdout: &out})
		code := 0
		var exit utilexec.CodeExitError
		if errors.As(err, &exit) {
			code = exit.Code
		} else if err != nil {
			t.Fatal(err)
		}
		if want := "c: " + strings.Join(cmd, " "); out.String() != want || code != len(cmd)-1 {
			t.Errorf("exec %v: %q, code %d", cmd, out.String(), code)
		}
	}
	res, err := r.Attach(t.Context(), &runtimeapi.AttachRequest{ContainerId: id, Stdin: true, Stdout: true})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := run(res.Url, remotecommand.StreamOptions{Stdin: strings.NewReader("echo"), Stdout: &out}); err != nil || out.String() != "echo" {
		t.Errorf("attach: %q, %v", out.String(), err)
	}
	if _, err := r.Exec(t.Context(), &runtimeapi.ExecRequest{ContainerId: "none", Cmd: []string{"x"}, Stdout: true}); status.Code(err) != codes.NotFound {
		t.Errorf("exec in a container that is not there: %v", err)
	}
	r.Exit(id, 0, "", "")
	if _, err := r.Attach(t.Context(), &runtimeapi.AttachRequest{ContainerId: id, Stdout: true}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("attach to a container that has ended: %v", err)
	}
}

func TestStreamedLists(t *testing.T) {
	r, _, _ := started(t, Options{})
	const more = 2 * piece
	for i := range more {
		if _, err := r.RunPodSandbox(t.Context(), &runtimeapi.RunPodSandboxRequest{Config: &runtimeapi.PodSandboxConfig{Metadata: &runtimeapi.PodSandboxMetadata{Name: fmt.Sprint(i)}}}); err != nil {
			t.Fatal(err)
		}
		if _, err := r.PullImage(t.Context(), &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: fmt.Sprint(i)}}); err != nil {
			t.Fatal(err)
		}
	}
	pods, err := r.StreamPodSandboxes(t.Context(), &runtimeapi.StreamPodSandboxesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	containers, err := r.StreamContainers(t.Context(), &runtimeapi.StreamContainersRequest{Filter: &runtimeapi.ContainerFilter{Id: "none"}})
	if err != nil {
		t.Fatal(err)
	}
	images, err := r.StreamImages(t.Context(), &runtimeapi.StreamImagesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		next                  func() (int, error)
		wantItems, wantPieces int
	}{
		"pods":       {func() (int, error) { m, err := pods.Recv(); return len(m.GetPodSandboxes()), err }, more + 1, 3},
		"containers": {func() (int, error) { m, err := containers.Recv(); return len(m.GetContainers()), err }, 0, 0},
		"images":     {func() (int, error) { m, err := images.Recv(); return len(m.GetImages()), err }, more, 2},
	} {
		items, messages := 0, 0
		for {
			n, err := c.next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			items, messages = items+n, messages+1
		}
		if items != c.wantItems || messages != c.wantPieces {
			t.Errorf("%s: %d items in %d messages, want %d in %d", what, items, messages, c.wantItems, c.wantPieces)
		}
	}
}
