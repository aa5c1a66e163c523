package docker

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	dc "github.com/moby/moby/api/types/container"

	"nau/internal/engine/cdi"
)

func TestDeviceRequests(t *testing.T) {
	dir := t.TempDir()
	text := `{"cdiVersion":"0.6.0","kind":"vendor.example/gpu","devices":[{"name":"0"},{"name":"1"},{"name":"all"}]}`
	if err := os.WriteFile(filepath.Join(dir, "gpu.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	gpu := [][]string{{"gpu"}}
	for _, tt := range []struct {
		r    dc.DeviceRequest
		dir  string
		want string
		err  string
	}{
		{dc.DeviceRequest{Driver: "cdi", DeviceIDs: []string{"v/c=x", "v/c=y"}}, "", "v/c=x v/c=y", ""},
		{dc.DeviceRequest{Driver: "cdi", DeviceIDs: []string{"/dev/x"}}, "", "", "invalid CDI device name"},
		{dc.DeviceRequest{Driver: "cdi"}, "", "", `could not select device driver "cdi" with capabilities: []`},
		{dc.DeviceRequest{Count: -1, Capabilities: gpu}, dir, "vendor.example/gpu=all", ""},
		{dc.DeviceRequest{Count: 1, Capabilities: gpu}, dir, "vendor.example/gpu=0", ""},
		{dc.DeviceRequest{Count: 2, Capabilities: gpu, Driver: "vendor"}, dir, "vendor.example/gpu=0 vendor.example/gpu=1", ""},
		{dc.DeviceRequest{Count: 3, Capabilities: gpu}, dir, "", "3 GPUs are asked for, there are 2"},
		{dc.DeviceRequest{DeviceIDs: []string{"1"}, Capabilities: gpu}, dir, "vendor.example/gpu=1", ""},
		{dc.DeviceRequest{DeviceIDs: []string{"9"}, Capabilities: gpu}, dir, "", "no GPU 9"},
		{dc.DeviceRequest{Count: 1, DeviceIDs: []string{"1"}, Capabilities: gpu}, dir, "", "cannot set both Count and DeviceIDs"},
		{dc.DeviceRequest{Count: -1, Capabilities: gpu}, "", "", `could not select device driver "" with capabilities: [[gpu]]`},
		{dc.DeviceRequest{Count: -1, Capabilities: gpu, Driver: "other"}, dir, "", `could not select device driver "other" with capabilities: [[gpu]]`},
		{dc.DeviceRequest{Count: -1, Capabilities: [][]string{{"tpu"}}}, dir, "", "could not select device driver"},
		{dc.DeviceRequest{Driver: "cdi", DeviceIDs: []string{"v/c=x"}, Options: map[string]string{"a": "b"}}, dir, "", "options of a device request"},
	} {
		got, err := deviceRequests([]dc.DeviceRequest{tt.r}, func() *cdi.Registry { return cdi.Load([]string{tt.dir + "/none", tt.dir}) })
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) || statusOf(err) != 400 {
				t.Errorf("%+v: %v, want %q", tt.r, err, tt.err)
			}
			continue
		}
		if err != nil || !slices.Equal(got, strings.Fields(tt.want)) {
			t.Errorf("%+v: %q %v", tt.r, got, err)
		}
	}
}
