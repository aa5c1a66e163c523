package node

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/utils/clock"

	corev1 "k8s.io/api/core/v1"

	"nau/internal/nodeagent/fakecri"
)

// TestImagesAreShown follows the list of images in the status: what came within a few seconds is one write.
func TestImagesAreShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, known := fake.NewClientset(), map[string]*runtimeapi.Image{}
		for i := range 60 {
			name := fmt.Sprintf("example.com/i%02d", i)
			known[name] = &runtimeapi.Image{Id: name, RepoTags: []string{name + ":1", name + ":2", name + ":3"}, Size: uint64(1000 + i),
				RepoDigests: []string{name + "@sha256:a", name + "@sha256:b", name + "@sha256:c"}}
		}
		rt := fakecri.New(fakecri.Options{Images: known})
		k, err := New(Config{Name: "n", Hostname: "n", IPs: []net.IP{net.ParseIP("192.0.2.1")}, Client: client, Runtime: rt, Images: rt, Version: "v1", MaxPods: 110,
			RootDir: t.TempDir(), LeaseRenewal: 24 * time.Hour, Clock: clock.RealClock{}, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer synctest.Wait()
		defer cancel()
		go k.Run(ctx)
		synctest.Wait()
		status := func() *corev1.NodeStatus {
			t.Helper()
			n, err := client.CoreV1().Nodes().Get(t.Context(), "n", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return &n.Status
		}
		pull := func(name string) {
			t.Helper()
			if _, err := rt.PullImage(t.Context(), &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: name}}); err != nil {
				t.Fatal(err)
			}
			k.ImagesChanged()
		}
		writes := func() (n int) {
			for _, a := range client.Actions() {
				if a.Matches("patch", "nodes/status") {
					n++
				}
			}
			return n
		}
		before := writes()
		pull("example.com/i00")
		time.Sleep(imagesDelay / 2)
		for i := range 59 {
			pull(fmt.Sprintf("example.com/i%02d", i+1))
		}
		synctest.Wait()
		if n := len(status().Images); n != 0 {
			t.Errorf("%d images are shown at once", n)
		}
		time.Sleep(imagesDelay / 2)
		synctest.Wait()
		s := status()
		if len(s.Images) != imagesInNode || writes() != before+1 {
			t.Fatalf("%d images in %d writes, want %d in one", len(s.Images), writes()-before, imagesInNode)
		}
		first := s.Images[0]
		if first.SizeBytes != 1059 || s.Images[49].SizeBytes != 1010 {
			t.Errorf("sizes %d … %d, want the largest first", first.SizeBytes, s.Images[49].SizeBytes)
		}
		if want := "[example.com/i59@sha256:a example.com/i59@sha256:b example.com/i59@sha256:c example.com/i59:1 example.com/i59:2]"; fmt.Sprint(first.Names) != want {
			t.Errorf("names %v, want %s", first.Names, want)
		}
		if _, err := rt.RemoveImage(t.Context(), &runtimeapi.RemoveImageRequest{Image: &runtimeapi.ImageSpec{Image: "example.com/i59"}}); err != nil {
			t.Fatal(err)
		}
		k.ImagesChanged()
		time.Sleep(imagesDelay)
		synctest.Wait()
		if got := status().Images[0].SizeBytes; got != 1058 {
			t.Errorf("the largest is of %d bytes after the one before was removed", got)
		}
	})
}
