package sandbox

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"nau/internal/engine/events"
	"nau/internal/engine/network"
	"nau/internal/engine/record"
	"nau/internal/engine/testbed"
	"nau/internal/kernel"
)

func TestMain(m *testing.M) { testbed.Main(m) }

func settings(t testing.TB) Settings {
	t.Helper()
	testbed.Need(t)
	dir := t.TempDir()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	net, err := network.Open(network.Config{Dir: filepath.Join(dir, "networks"), Instance: "nautest", Log: log,
		Unreachable: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/15")}})
	if err != nil {
		t.Fatal(err)
	}
	spec := network.Spec{Name: "pods", Driver: network.Bridge, Link: "nau0", Routed: true, MTU: 1500,
		Subnets: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16"), netip.MustParsePrefix("fd42::/64")}}
	if err := net.Ensure(spec); err != nil {
		t.Fatal(err)
	}
	if err := net.Start(nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := net.Purge(); err != nil {
			t.Error(err)
		}
		net.Close()
	})
	return Settings{Dir: filepath.Join(dir, "sandboxes"), RunDir: filepath.Join(dir, "run"), CgroupParent: "/nautest", Net: net, Events: &events.Bus{}, Log: log}
}

func pods(c Config) Config {
	c.Origin, c.Networks = "test", []Attachment{{Network: "pods"}}
	return c
}

func mounts(t testing.TB, below string) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(b), " "+below)
}

func TestSandboxLife(t *testing.T) {
	s := settings(t)
	m, err := Open(s)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	r, err := m.Run(ctx, pods(Config{Name: "one", Hostname: "host-1", Sysctls: map[string]string{"net.core.somaxconn": "77"}}))
	if err != nil {
		t.Fatal(err)
	}
	place, err := m.Place(r.ID)
	if err != nil {
		t.Fatal(err)
	}
	err = kernel.EnterAll(map[kernel.Namespace]string{kernel.Net: place.Namespaces.Net, kernel.UTS: place.Namespaces.UTS, kernel.IPC: place.Namespaces.IPC}, func() error {
		name, _ := os.Hostname()
		b, err := os.ReadFile("/proc/sys/net/core/somaxconn")
		if name != "host-1" || strings.TrimSpace(string(b)) != "77" {
			t.Errorf("inside: host %q, sysctl %q, %v", name, b, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	hosts, _ := os.ReadFile(place.Hosts)
	if !strings.Contains(string(hosts), r.Addrs()[0].String()+"\thost-1\n") {
		t.Errorf("hosts file %q", hosts)
	}
	if _, err := m.Run(ctx, pods(Config{Name: "one"})); !errors.Is(err, ErrNameTaken) {
		t.Errorf("same name: %v", err)
	}
	again, err := Open(s) // a restart
	if err != nil {
		t.Fatal(err)
	}
	if got, err := again.Find(r.ID[:8]); err != nil || got.State != Ready || len(again.Endpoints()) != 1 {
		t.Errorf("after restart: %+v, %v", got, err)
	}
	for range 2 {
		if err := again.Remove(ctx, r.ID); err != nil {
			t.Fatal(err)
		}
	}
	if n := mounts(t, s.RunDir); n != 0 {
		t.Errorf("%d mounts are left", n)
	}
}

func TestLeftoversOfACrashAreCleaned(t *testing.T) {
	s := settings(t)
	m, err := Open(s)
	if err != nil {
		t.Fatal(err)
	}
	r, err := m.Run(context.Background(), pods(Config{}))
	if err != nil {
		t.Fatal(err)
	}
	lost, err := m.Run(context.Background(), pods(Config{}))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.records.Delete(lost.ID); err != nil { // as if the crash came before the record
		t.Fatal(err)
	}
	if err := kernel.Unpin(m.ns(r.ID, kernel.Net)); err != nil { // as a reboot does
		t.Fatal(err)
	}
	m, err = Open(s)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := m.Get(r.ID); err != nil || got.State != NotReady {
		t.Errorf("got %+v, %v", got, err)
	}
	if n := mounts(t, s.RunDir); n != 0 {
		t.Errorf("%d mounts are left", n)
	}
}

func TestForeignSysctlsAreRefused(t *testing.T) {
	s := settings(t)
	m, err := Open(s)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]Config{
		"kernel.panic":             pods(Config{}),
		"vm.overcommit_memory":     pods(Config{}),
		"net/../kernel/panic":      pods(Config{}),
		"net.ipv4.ip_forward":      {HostNet: true},
		"kernel.shmmax":            {HostNet: true, IPC: Host},
		"net.ipv4.no_such_setting": pods(Config{}),
	} {
		c.Sysctls = map[string]string{name: "1"}
		if _, err := m.Run(context.Background(), c); err == nil {
			t.Errorf("%s was set", name)
		}
	}
	if n := mounts(t, s.RunDir); n != 0 {
		t.Errorf("%d mounts are left of refused sandboxes", n)
	}
}

func BenchmarkRun(b *testing.B) {
	m, err := Open(settings(b))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := m.Run(context.Background(), pods(Config{})); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	for _, r := range m.List() {
		if err := m.Remove(context.Background(), r.ID); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRunAndRemove(b *testing.B) {
	m, err := Open(settings(b))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		r, err := m.Run(context.Background(), pods(Config{}))
		if err != nil {
			b.Fatal(err)
		}
		if err := m.Remove(context.Background(), r.ID); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkThirtyAtOnce takes the time until thirty sandboxes that were asked for together stand.
func BenchmarkThirtyAtOnce(b *testing.B) {
	m, err := Open(settings(b))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		var wg sync.WaitGroup
		for range 30 {
			wg.Go(func() {
				if _, err := m.Run(context.Background(), pods(Config{})); err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
		b.StopTimer()
		for _, r := range m.List() {
			if err := m.Remove(context.Background(), r.ID); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
	}
}

// Who changes a sandbox while another removes it brings no record back.
func TestChangeOfWhatIsRemoved(t *testing.T) {
	s := settings(t)
	m, err := Open(s)
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		r, err := m.Define(pods(Config{}))
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if err := m.Update(r.ID, func(*Record) {}); err != nil && !errors.Is(err, ErrNotFound) {
					t.Error(err)
				}
			})
		}
		all.Go(func() {
			if err := m.Remove(context.Background(), r.ID); err != nil {
				t.Error(err)
			}
		})
		all.Wait()
	}
	m.Close()
	if all, damaged, err := record.Look[Record](s.Dir); err != nil || len(all)+len(damaged) > 0 {
		t.Errorf("%d records came back, %q, %v", len(all), damaged, err)
	}
}
