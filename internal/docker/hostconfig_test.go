package docker

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/blkiodev"
	dc "github.com/moby/moby/api/types/container"
	dm "github.com/moby/moby/api/types/mount"
	dn "github.com/moby/moby/api/types/network"

	"nau/internal/engine/container"
	"nau/internal/engine/spec"
	"nau/internal/oci/monitor"
)

// everything is a machine that can limit all that there is.
var everything = support{Memory: true, Swap: true, Reservation: true, OOMKillDisable: true, Swappiness: true, CPUShares: true, CFS: true, Cpuset: true, Pids: true,
	Weight: true, WeightOf: true, ReadBps: true, WriteBps: true, ReadIOps: true, WriteIOps: true, Cpus: "0-3", Mems: "0", CPUs: 4}

// outcome is all that a request comes to, in the engine's words.
func outcome(c dc.Config, h dc.HostConfig) (string, error) {
	if err := checkModes(&c, &h); err != nil {
		return "", err
	}
	adapt(&h, spec.Host{})
	other := &container.Record{ID: strings.Repeat("0", 64), Config: container.Config{Origin: Origin}}
	other.Config.Extra, _ = json.Marshal(stored{Config: &dc.Config{}, Host: &dc.HostConfig{IpcMode: dc.IPCModeShareable}, Mounts: []dc.MountPoint{{Type: dm.TypeVolume, Name: "v", Destination: "/from", RW: true}}})
	find := func(string) (*container.Record, error) { return other, nil }
	e, _, err := compose(&c, &h, surroundings{can: everything, runtimes: map[string]string{"other": "/x"}, folder: "/f", id: other.ID, find: find})
	if err != nil {
		return "", err
	}
	place, err := sandboxConfig(&c, &h, nil, netip.MustParseAddr("172.17.0.1"))
	if err != nil {
		return "", err
	}
	mounts, err := wishes(&c, &h, spec.Host{}, find)
	if err != nil {
		return "", err
	}
	ports, _, err := (&Server{}).choosePorts(&stored{Config: &c, Host: &h})
	if err != nil {
		return "", err
	}
	text := ""
	for _, w := range mounts {
		b, _ := json.Marshal([]any{w.mount, w.volume, w.subpath, w.noCopy})
		text += string(b)
	}
	b, err := json.Marshal([]any{e, place, ports})
	return text + string(b), err
}

// A privileged container is confined by what is named, and by nothing else.
func TestSecurityOfPrivileged(t *testing.T) {
	const profile = `{"defaultAction":"SCMP_ACT_LOG"}`
	unconfined := spec.Profile{Kind: spec.ProfileUnconfined}
	for _, c := range []struct {
		privileged bool
		opts       []string
		seccomp    spec.Profile
		armor      spec.Profile
		noNew      bool
	}{
		{false, nil, spec.Profile{}, spec.Profile{}, false},
		{true, nil, unconfined, unconfined, false},
		{true, []string{"seccomp=builtin"}, spec.Profile{}, unconfined, false},
		{true, []string{"seccomp=" + profile, "no-new-privileges"}, spec.Profile{Kind: spec.ProfileInline, Value: profile}, unconfined, true},
		{true, []string{"apparmor=mine", "no-new-privileges:true"}, unconfined, spec.Profile{Kind: spec.ProfileLocal, Value: "mine"}, true},
	} {
		got, err := security(&dc.HostConfig{Privileged: c.privileged, SecurityOpt: c.opts}, spec.Host{AppArmor: true})
		if err != nil || got.Seccomp != c.seccomp || got.AppArmor != c.armor || got.NoNewPrivs != c.noNew {
			t.Errorf("privileged %v, options %q: %+v, %v", c.privileged, c.opts, got, err)
		}
	}
}

// Every field of a host configuration does something, is refused in plain words, or is listed here with the reason why it does neither.
// A field that the API gains fails this test until it is looked at.
func TestEveryHostConfigField(t *testing.T) {
	yes, seventy, mask := true, int64(70), uint32(0o27)
	rate := []*blkiodev.ThrottleDevice{{Path: "/dev/sda", Rate: 1 << 20}}
	works := map[string]func(*dc.HostConfig){
		"Binds":                func(h *dc.HostConfig) { h.Binds = []string{"/a:/b"} },
		"LogConfig":            func(h *dc.HostConfig) { h.LogConfig.Type = "local" },
		"NetworkMode":          func(h *dc.HostConfig) { h.NetworkMode = "host" },
		"PortBindings":         func(h *dc.HostConfig) { h.PortBindings = dn.PortMap{dn.MustParsePort("80/tcp"): {{HostPort: "8080"}}} },
		"PublishAllPorts":      func(h *dc.HostConfig) { h.PublishAllPorts = true },
		"RestartPolicy":        func(h *dc.HostConfig) { h.RestartPolicy.Name = "always" },
		"AutoRemove":           func(h *dc.HostConfig) { h.AutoRemove = true },
		"VolumesFrom":          func(h *dc.HostConfig) { h.VolumesFrom = []string{"other"} },
		"ConsoleSize":          func(h *dc.HostConfig) { h.ConsoleSize = [2]uint{20, 80} },
		"Annotations":          func(h *dc.HostConfig) { h.Annotations = map[string]string{"a": "b"} },
		"CapAdd":               func(h *dc.HostConfig) { h.CapAdd = []string{"NET_ADMIN"} },
		"CapDrop":              func(h *dc.HostConfig) { h.CapDrop = []string{"ALL"} },
		"CgroupnsMode":         func(h *dc.HostConfig) { h.CgroupnsMode = "private" },
		"DNS":                  func(h *dc.HostConfig) { h.DNS = []netip.Addr{netip.MustParseAddr("192.0.2.53")} },
		"DNSOptions":           func(h *dc.HostConfig) { h.DNSOptions = []string{"ndots:3"} },
		"DNSSearch":            func(h *dc.HostConfig) { h.DNSSearch = []string{"example.org"} },
		"ExtraHosts":           func(h *dc.HostConfig) { h.ExtraHosts = []string{"h:host-gateway"} },
		"GroupAdd":             func(h *dc.HostConfig) { h.GroupAdd = []string{"7"} },
		"IpcMode":              func(h *dc.HostConfig) { h.IpcMode = "none" },
		"OomScoreAdj":          func(h *dc.HostConfig) { h.OomScoreAdj = 5 },
		"PidMode":              func(h *dc.HostConfig) { h.PidMode = "host" },
		"Privileged":           func(h *dc.HostConfig) { h.Privileged = true },
		"ReadonlyRootfs":       func(h *dc.HostConfig) { h.ReadonlyRootfs = true },
		"SecurityOpt":          func(h *dc.HostConfig) { h.SecurityOpt = []string{"no-new-privileges"} },
		"Tmpfs":                func(h *dc.HostConfig) { h.Tmpfs = map[string]string{"/t": "size=1m"} },
		"UTSMode":              func(h *dc.HostConfig) { h.UTSMode = "host" },
		"ShmSize":              func(h *dc.HostConfig) { h.ShmSize = 1 << 20 },
		"Sysctls":              func(h *dc.HostConfig) { h.Sysctls = map[string]string{"net.ipv4.ip_forward": "1"} },
		"Runtime":              func(h *dc.HostConfig) { h.Runtime = "other" },
		"Umask":                func(h *dc.HostConfig) { h.Umask = &mask },
		"Mounts":               func(h *dc.HostConfig) { h.Mounts = []dm.Mount{{Type: "tmpfs", Target: "/t"}} },
		"MaskedPaths":          func(h *dc.HostConfig) { h.MaskedPaths = []string{} },
		"ReadonlyPaths":        func(h *dc.HostConfig) { h.ReadonlyPaths = []string{"/x"} },
		"Init":                 func(h *dc.HostConfig) { h.Init = &yes },
		"CPUShares":            func(h *dc.HostConfig) { h.CPUShares = 512 },
		"Memory":               func(h *dc.HostConfig) { h.Memory = 64 << 20 },
		"NanoCPUs":             func(h *dc.HostConfig) { h.NanoCPUs = 5e8 },
		"CgroupParent":         func(h *dc.HostConfig) { h.CgroupParent = "/p" },
		"BlkioWeight":          func(h *dc.HostConfig) { h.BlkioWeight = 300 },
		"BlkioWeightDevice":    func(h *dc.HostConfig) { h.BlkioWeightDevice = []*blkiodev.WeightDevice{{Path: "/dev/sda", Weight: 20}} },
		"BlkioDeviceReadBps":   func(h *dc.HostConfig) { h.BlkioDeviceReadBps = rate },
		"BlkioDeviceWriteBps":  func(h *dc.HostConfig) { h.BlkioDeviceWriteBps = rate },
		"BlkioDeviceReadIOps":  func(h *dc.HostConfig) { h.BlkioDeviceReadIOps = rate },
		"BlkioDeviceWriteIOps": func(h *dc.HostConfig) { h.BlkioDeviceWriteIOps = rate },
		"CPUPeriod":            func(h *dc.HostConfig) { h.CPUPeriod = 50_000 },
		"CPUQuota":             func(h *dc.HostConfig) { h.CPUQuota = 50_000 },
		"CpusetCpus":           func(h *dc.HostConfig) { h.CpusetCpus = "0-1,3" },
		"CpusetMems":           func(h *dc.HostConfig) { h.CpusetMems = "0" },
		"Devices":              func(h *dc.HostConfig) { h.Devices = []dc.DeviceMapping{{PathOnHost: "/dev/null"}} },
		"DeviceCgroupRules":    func(h *dc.HostConfig) { h.DeviceCgroupRules = []string{"c 1:3 r"} },
		"DeviceRequests": func(h *dc.HostConfig) {
			h.DeviceRequests = []dc.DeviceRequest{{Driver: "cdi", DeviceIDs: []string{"v.example/c=a"}}}
		},
		"MemoryReservation": func(h *dc.HostConfig) { h.MemoryReservation = 32 << 20 },
		"MemorySwap":        func(h *dc.HostConfig) { h.MemorySwap = -1 },
		"MemorySwappiness":  func(h *dc.HostConfig) { h.MemorySwappiness = &seventy },
		"OomKillDisable":    func(h *dc.HostConfig) { h.OomKillDisable = &yes },
		"PidsLimit":         func(h *dc.HostConfig) { h.PidsLimit = &seventy },
		"Ulimits":           func(h *dc.HostConfig) { h.Ulimits = []*dc.Ulimit{{Name: "nofile", Soft: 5, Hard: 6}} },
	}
	refused := map[string]struct {
		set  func(*dc.HostConfig)
		text string
	}{
		"Cgroup":             {func(h *dc.HostConfig) { h.Cgroup = "container:x" }, "cannot join the cgroup of another"},
		"StorageOpt":         {func(h *dc.HostConfig) { h.StorageOpt = map[string]string{"size": "1G"} }, "--storage-opt is supported only for overlay over xfs with 'pquota' mount option"},
		"UsernsMode":         {func(h *dc.HostConfig) { h.UsernsMode = "private" }, "invalid user namespace mode: private"},
		"Isolation":          {func(h *dc.HostConfig) { h.Isolation = "hyperv" }, "invalid isolation 'hyperv' on linux"},
		"CPURealtimePeriod":  {func(h *dc.HostConfig) { h.CPURealtimePeriod = 1000 }, "kernel does not support CPU real-time scheduler"},
		"CPURealtimeRuntime": {func(h *dc.HostConfig) { h.CPURealtimeRuntime = 500 }, "kernel does not support CPU real-time scheduler"},
		"IOMaximumIOps":      {func(h *dc.HostConfig) { h.IOMaximumIOps = 1 }, "QoS maximum IOPs configuration is not supported on linux"},
		"IOMaximumBandwidth": {func(h *dc.HostConfig) { h.IOMaximumBandwidth = 1 }, "QoS maximum bandwidth configuration is not supported on linux"},
	}
	elsewhere := map[string]string{
		"CPUCount":        "is kept and means nothing, as with Docker",
		"CPUPercent":      "is discarded with a warning: TestWindowsLimits",
		"VolumeDriver":    "is asked when there is a volume for it: TestVolumeDriver",
		"ContainerIDFile": "the client writes the file; the server only shows where",
		"Links":           "are looked up when the container starts: TestLinks",
	}
	var names []string
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		for i := range typ.NumField() {
			if f := typ.Field(i); f.Anonymous {
				walk(f.Type)
			} else {
				names = append(names, f.Name)
			}
		}
	}
	walk(reflect.TypeFor[dc.HostConfig]())
	config := dc.Config{Image: "i", Cmd: []string{"x"}, ExposedPorts: dn.PortSet{dn.MustParsePort("99/tcp"): {}}}
	plain, err := outcome(config, dc.HostConfig{})
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, name := range names {
		listed[name] = true
		set, works := works[name]
		r, refuses := refused[name]
		switch _, other := elsewhere[name]; {
		case works:
			h := dc.HostConfig{}
			set(&h)
			if got, err := outcome(config, h); err != nil || got == plain {
				t.Errorf("%s is accepted and does nothing: %v", name, err)
			}
		case refuses:
			h := dc.HostConfig{}
			r.set(&h)
			if _, err := outcome(config, h); err == nil || !strings.Contains(err.Error(), r.text) || statusOf(err) >= 500 {
				t.Errorf("%s: %v, want %q", name, err, r.text)
			}
		case !other:
			t.Errorf("HostConfig.%s is in no table: make it work, or refuse it", name)
		}
	}
	for name := range works {
		if !listed[name] {
			t.Errorf("%s is no field", name)
		}
	}
}

// What an update is laid over, what it leaves, what it refuses.
func TestMerged(t *testing.T) {
	n := int64(5)
	old := dc.Resources{Memory: 64 << 20, MemorySwap: 128 << 20, CPUShares: 100, BlkioDeviceReadBps: []*blkiodev.ThrottleDevice{{Path: "/dev/a", Rate: 1}}}
	got, err := merged(old, dc.Resources{CPUShares: 200, PidsLimit: &n, BlkioDeviceReadBps: []*blkiodev.ThrottleDevice{}})
	if err != nil || got.Memory != old.Memory || got.CPUShares != 200 || *got.PidsLimit != 5 || len(got.BlkioDeviceReadBps) != 0 {
		t.Errorf("%+v %v", got, err)
	}
	for text, change := range map[string]dc.Resources{
		"already set memoryswap limit":              {Memory: 256 << 20},
		"Devices cannot be changed":                 {Devices: []dc.DeviceMapping{{PathOnHost: "/dev/null"}}},
		"OomKillDisable cannot be changed":          {OomKillDisable: new(bool)},
		"CgroupParent cannot be changed":            {CgroupParent: "/x"},
		"Ulimits cannot be changed by an update":    {Ulimits: []*dc.Ulimit{{Name: "nofile"}}},
		"DeviceRequests cannot be changed":          {DeviceRequests: []dc.DeviceRequest{{}}},
		"DeviceCgroupRules cannot be changed by an": {DeviceCgroupRules: []string{"a"}},
	} {
		if _, err := merged(old, change); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v", text, err)
		}
	}
	for text, pair := range map[string][2]dc.Resources{
		"Nano CPUs cannot be updated as CPU Quota has already been set":  {{CPUQuota: 5000}, {NanoCPUs: 1}},
		"Nano CPUs cannot be updated as CPU Period has already been set": {{CPUPeriod: 5000}, {NanoCPUs: 1}},
		"CPU Period cannot be updated as NanoCPUs has already been set":  {{NanoCPUs: 1}, {CPUPeriod: 5000}},
		"CPU Quota cannot be updated as NanoCPUs has already been set":   {{NanoCPUs: 1}, {CPUQuota: 5000}},
	} {
		if _, err := merged(pair[0], pair[1]); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// What the kernel lacks is taken out and warned of, as Docker words it.
func TestLimitsWithoutSupport(t *testing.T) {
	yes, n := true, int64(50)
	r := dc.Resources{Memory: 64 << 20, MemorySwap: 128 << 20, MemoryReservation: 32 << 20, MemorySwappiness: &n, OomKillDisable: &yes, CPUShares: 5, CPUPeriod: 5000, CpusetCpus: "0", PidsLimit: &n,
		BlkioWeight: 50, BlkioWeightDevice: []*blkiodev.WeightDevice{{Path: "/x", Weight: 50}}, BlkioDeviceReadBps: []*blkiodev.ThrottleDevice{{Path: "/x", Rate: 1}}}
	out, warnings, err := limits(&r, support{CPUs: 4})
	if err != nil || len(warnings) != 12 {
		t.Errorf("%d warnings: %q %v", len(warnings), warnings, err)
	}
	if out.Memory != nil || out.Pids != nil || out.CPUShares != nil || out.Cpus != "" || out.Swappiness != nil || len(out.BlockIO.ReadBps) > 0 {
		t.Errorf("%+v", out)
	}
	for text, r := range map[string]dc.Resources{
		"kernel does not support CPU real-time scheduler": {CPURealtimePeriod: 5},
		"Requested CPUs are not available":                {CpusetCpus: "0-7"},
		"Invalid value x for cpuset cpus":                 {CpusetCpus: "x"},
		"Minimum memory reservation allowed is 6MB":       {MemoryReservation: 1},
		"valid memory swappiness range is 0-100":          {MemorySwappiness: func() *int64 { n := int64(101); return &n }()},
		"CPU cfs quota can not be less than 1ms":          {CPUQuota: 5},
		"CPU cfs period can not be less than 1ms":         {CPUPeriod: 5},
		"Range of blkio weight is from 10 to 1000: /x":    {BlkioWeightDevice: []*blkiodev.WeightDevice{{Path: "/x", Weight: 5}}},
		"Memory limit when using Memoryswap limit":        {MemorySwap: 5},
		"limit can not be less than memory reservation":   {Memory: 7 << 20, MemoryReservation: 8 << 20},
		"Conflicting options: Nano CPUs and CPU Period ":  {NanoCPUs: 1, CPUPeriod: 5000},
	} {
		if _, _, err := limits(&r, everything); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestProbeSupport(t *testing.T) {
	tree := func(files map[string]string) string {
		root := t.TempDir()
		for f, text := range files {
			p := filepath.Join(root, f)
			if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return root
	}
	v2 := probeSupport(tree(map[string]string{"cgroup.controllers": "cpuset cpu io memory pids\n", "cpuset.cpus.effective": "0-1\n", "cpuset.mems.effective": "0\n"}), spec.Host{CgroupV2: true}, 2)
	if !v2.Memory || !v2.Swap || v2.Swappiness || v2.OOMKillDisable || !v2.WriteIOps || v2.Cpus != "0-1" {
		t.Errorf("%+v", v2)
	}
	v1 := probeSupport(tree(map[string]string{"memory/memory.limit_in_bytes": "", "memory/memory.swappiness": "", "cpu/cpu.shares": "", "blkio/blkio.throttle.read_bps_device": "", "cpuset/cpuset.cpus": "0-3\n"}), spec.Host{}, 4)
	if !v1.Memory || v1.Swap || !v1.Swappiness || !v1.CPUShares || v1.CFS || v1.Weight || !v1.ReadBps || v1.WriteBps || v1.Cpus != "0-3" {
		t.Errorf("%+v", v1)
	}
	if in, ok := within("0-1,3", "0-3"); !in || !ok {
		t.Error("within")
	}
	if in, ok := within("4", "0-3"); in || !ok {
		t.Error("not within")
	}
	for _, bad := range []string{"a", "1-0", "-1", "1,,2", "9999999"} {
		if _, ok := numbers(bad); ok {
			t.Errorf("%q is a list", bad)
		}
	}
}

func TestLogging(t *testing.T) {
	c := &dc.Config{Image: "img", Env: []string{"A=1", "B=2"}, Labels: map[string]string{"l": "v", "other": "w"}}
	for _, tt := range []struct {
		driver string
		opts   map[string]string
		want   monitor.LogConfig
		err    string
	}{
		{"", nil, monitor.LogConfig{Format: "docker", Path: "/f/id-json.log", MaxSize: 64 << 20, MaxFiles: 2}, ""},
		{"json-file", map[string]string{"max-size": "1m", "max-file": "3", "compress": "true", "labels": "l,none", "env-regex": "^B"},
			monitor.LogConfig{Format: "docker", Path: "/f/id-json.log", MaxSize: 1 << 20, MaxFiles: 3, Compress: true, Attrs: map[string]string{"l": "v", "B": "2"}}, ""},
		{"local", nil, monitor.LogConfig{Format: "docker", Path: "/f/id-json.log", MaxSize: 20 << 20, MaxFiles: 5, Compress: true}, ""},
		{"none", nil, monitor.LogConfig{Format: "none"}, ""},
		{"syslog", map[string]string{"syslog-address": "udp://127.0.0.1:1", "tag": "{{.Name}}/{{ .ID }}", "cache-max-size": "1m", "mode": "non-blocking", "max-buffer-size": "4m"},
			monitor.LogConfig{Format: "docker", Path: "/f/id-json.log", MaxSize: 1 << 20, MaxFiles: 5}, ""},
		{"journald", nil, monitor.LogConfig{Format: "docker", Path: "/f/id-json.log", MaxSize: 20 << 20, MaxFiles: 5}, ""},
		{"gelf", nil, monitor.LogConfig{}, "failed to initialize logging driver: logger: no log driver named 'gelf' is registered: there are journald, json-file, local, none, syslog"},
		{"local", map[string]string{"labels": "x"}, monitor.LogConfig{}, "unknown log opt 'labels' for log driver local"},
		{"json-file", map[string]string{"max-size": "x"}, monitor.LogConfig{}, "invalid max-size: x"},
		{"json-file", map[string]string{"max-file": "0"}, monitor.LogConfig{}, "max-file cannot be less than 1"},
		{"json-file", map[string]string{"max-file": "1", "compress": "true"}, monitor.LogConfig{}, "compress cannot be true when"},
		{"json-file", map[string]string{"mode": "x"}, monitor.LogConfig{}, "logging mode 'x' is not supported"},
		{"json-file", map[string]string{"max-buffer-size": "1m"}, monitor.LogConfig{}, "max-buffer-size option is only supported with 'mode=non-blocking'"},
		{"json-file", map[string]string{"tag": "{{.Nothing}}"}, monitor.LogConfig{}, "there is no Nothing"},
		{"json-file", map[string]string{"tag": "{{json .}}"}, monitor.LogConfig{}, "only names as {{.Name}}"},
		{"json-file", map[string]string{"env-regex": "("}, monitor.LogConfig{}, "regular expression"},
		{"syslog", map[string]string{"syslog-format": "x"}, monitor.LogConfig{}, "Invalid syslog format"},
	} {
		h := &dc.HostConfig{LogConfig: dc.LogConfig{Type: tt.driver, Config: tt.opts}}
		got, err := logging(c, h, "/f", "id")
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) || statusOf(err) != 400 {
				t.Errorf("%s %v: %v, want %q", tt.driver, tt.opts, err, tt.err)
			}
			continue
		}
		if len(got.Attrs) == 0 {
			got.Attrs = nil
		}
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s %v: %+v %v", tt.driver, tt.opts, got, err)
		}
	}
	r := &container.Record{ID: strings.Repeat("ab", 32), Config: container.Config{Name: "n"}}
	if got, err := expandTag("{{.Name}}-{{.ID}}-{{.ImageName}}", tagValues(r, c)); err != nil || got != "n-abababababab-img" {
		t.Errorf("%q %v", got, err)
	}
	if !slices.Contains(logDrivers, "journald") || slices.Contains(logDrivers, "gelf") {
		t.Error(logDrivers)
	}
}

// Every option of every kind of mount does something or is refused.
// A driver of a container's volumes is looked for when there is a volume for it.
func TestVolumeDriver(t *testing.T) {
	for _, tt := range []struct {
		name, driver string
		binds        []string
		volumes      map[string]struct{}
		err          string
	}{
		{name: "no volume", driver: "nfs"},
		{name: "a folder", driver: "nfs", binds: []string{"/tmp:/x"}},
		{name: "a volume", driver: "nfs", binds: []string{"vol:/x"}, err: `create vol: error looking up volume plugin nfs: plugin "nfs" not found`},
		{name: "one without a name", driver: "nfs", volumes: map[string]struct{}{"/x": {}}, err: `: error looking up volume plugin nfs: plugin "nfs" not found`},
		{name: "the local one", driver: "local", binds: []string{"vol:/x"}},
	} {
		_, err := wishes(&dc.Config{Volumes: tt.volumes}, &dc.HostConfig{VolumeDriver: tt.driver, Binds: tt.binds}, spec.Host{}, nil)
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.err)
		}
	}
}

func TestWindowsLimits(t *testing.T) {
	r := dc.Resources{CPUCount: 2, CPUPercent: 30}
	warnings, err := checkOthers(&r, everything)
	if want := []string{"linux does not support CPU percent. Percent discarded."}; err != nil || !slices.Equal(warnings, want) || r.CPUPercent != 0 || r.CPUCount != 2 {
		t.Errorf("%v, %v, %+v", warnings, err, r)
	}
}

func TestMountOptions(t *testing.T) {
	host := spec.Host{RecursiveRO: true}
	real := t.TempDir()
	for _, tt := range []struct {
		m    dm.Mount
		want spec.Mount
		err  string
	}{
		{dm.Mount{Type: "bind", Source: real, Target: "/t", ReadOnly: true}, spec.Mount{ReadOnly: true, RecursiveReadOnly: true}, ""},
		{dm.Mount{Type: "bind", Source: real, Target: "/t", ReadOnly: true, BindOptions: &dm.BindOptions{ReadOnlyNonRecursive: true}}, spec.Mount{ReadOnly: true}, ""},
		{dm.Mount{Type: "bind", Source: real, Target: "/t", ReadOnly: true, BindOptions: &dm.BindOptions{Propagation: "rslave"}}, spec.Mount{ReadOnly: true, Propagation: "rslave"}, ""},
		{dm.Mount{Type: "bind", Source: real, Target: "/t", BindOptions: &dm.BindOptions{NonRecursive: true}}, spec.Mount{NonRecursive: true}, ""},
		{dm.Mount{Type: "bind", Source: real + "/new", Target: "/t", BindOptions: &dm.BindOptions{CreateMountpoint: true}}, spec.Mount{MakeSource: true}, ""},
		{dm.Mount{Type: "bind", Source: real + "/none", Target: "/t"}, spec.Mount{}, "bind source path does not exist"},
		{dm.Mount{Type: "bind", Source: real, Target: "/t", BindOptions: &dm.BindOptions{ReadOnlyForceRecursive: true}}, spec.Mount{}, "need ReadOnly"},
		{dm.Mount{Type: "bind", Source: real, Target: "/t", ReadOnly: true, BindOptions: &dm.BindOptions{ReadOnlyForceRecursive: true}}, spec.Mount{}, "needs Propagation rprivate"},
		{dm.Mount{Type: "bind", Source: real, Target: "/t", ReadOnly: true, BindOptions: &dm.BindOptions{ReadOnlyForceRecursive: true, ReadOnlyNonRecursive: true}}, spec.Mount{}, "cannot be combined"},
		{dm.Mount{Type: "bind", Source: real, Target: "/t", VolumeOptions: &dm.VolumeOptions{}}, spec.Mount{}, "field VolumeOptions must not be specified"},
		{dm.Mount{Type: "volume", Source: "v", Target: "/t", BindOptions: &dm.BindOptions{}}, spec.Mount{}, "field BindOptions must not be specified"},
		{dm.Mount{Type: "volume", Source: "v", Target: "/t", ClusterOptions: &dm.ClusterOptions{}}, spec.Mount{}, "field ClusterOptions must not be specified"},
		{dm.Mount{Type: "cluster", Source: "v", Target: "/t"}, spec.Mount{}, "mount type unknown"},
		{dm.Mount{Type: "tmpfs", Target: "/t", TmpfsOptions: &dm.TmpfsOptions{SizeBytes: 5, Mode: 0o700, Options: [][]string{{"exec"}, {"uid", "7"}}}},
			spec.Mount{Type: "tmpfs", Options: []string{"nosuid", "nodev", "size=5", "mode=700", "uid=7"}}, ""},
		{dm.Mount{Type: "tmpfs", Target: "/t", TmpfsOptions: &dm.TmpfsOptions{Options: [][]string{{"nonsense"}}}}, spec.Mount{}, `invalid option: "nonsense"`},
		{dm.Mount{Type: "tmpfs", Source: "x", Target: "/t"}, spec.Mount{}, "field Source must not be specified"},
		{dm.Mount{Type: "image", Source: "i", Target: "/t", ImageOptions: &dm.ImageOptions{Subpath: "../s"}}, spec.Mount{}, "subpath must be a relative path within the volume"},
		{dm.Mount{Type: "image", Source: "i", Target: "/t", ImageOptions: &dm.ImageOptions{Subpath: "s"}}, spec.Mount{Type: spec.MountImage, ReadOnly: true, SubPath: "s"}, ""},
	} {
		got, err := wishes(&dc.Config{}, &dc.HostConfig{Mounts: []dm.Mount{tt.m}}, host, nil)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) || statusOf(err) != 400 {
				t.Errorf("%+v: %v, want %q", tt.m, err, tt.err)
			}
			continue
		}
		if err != nil || len(got) != 1 {
			t.Errorf("%+v: %v", tt.m, err)
			continue
		}
		m := got[0].mount
		if tt.want.Target = "/t"; tt.want.Type != "tmpfs" {
			tt.want.Source = tt.m.Source
		}
		if !reflect.DeepEqual(m, tt.want) {
			t.Errorf("%+v:\ngot  %+v\nwant %+v", tt.m, m, tt.want)
		}
	}
}
