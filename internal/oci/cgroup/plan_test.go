package cgroup

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func p[T any](v T) *T { return &v }

func weight(major, minor int64, weight, leaf uint16) (d specs.LinuxWeightDevice) {
	d.Major, d.Minor, d.Weight, d.LeafWeight = major, minor, &weight, &leaf
	return d
}

// lines words a plan as "controller file=value" for reading; what is not written is in parentheses.
func lines(w []Write) (out []string) {
	for _, x := range w {
		if x.File == "" {
			out = append(out, "("+x.Lost+")")
			continue
		}
		out = append(out, strings.TrimSpace(x.Controller+" "+x.File+"="+x.Value))
	}
	return out
}

func TestPlans(t *testing.T) {
	for _, c := range []struct {
		name   string
		r      specs.LinuxResources
		v1, v2 []string
	}{
		{name: "nothing"},
		{"memory", specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: p(int64(1 << 20)), Swap: p(int64(3 << 20)), Reservation: p(int64(4096))}},
			[]string{"memory memory.limit_in_bytes=1048576", "memory memory.memsw.limit_in_bytes=3145728", "memory memory.soft_limit_in_bytes=4096"},
			[]string{"memory.swap.max=2097152", "memory.max=1048576", "memory.low=4096"}},
		{"memory without bounds", specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: p(int64(-1))}},
			[]string{"memory memory.limit_in_bytes=-1", "memory memory.memsw.limit_in_bytes=-1"}, []string{"memory.swap.max=max", "memory.max=max"}},
		{"cpu", specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: p(uint64(1024)), Quota: p(int64(50000)), Period: p(uint64(100000)), Cpus: "0-1", Mems: "0"}},
			[]string{"cpu cpu.shares=1024", "cpu cpu.cfs_period_us=100000", "cpu cpu.cfs_quota_us=50000", "cpuset cpuset.cpus=0-1", "cpuset cpuset.mems=0"},
			[]string{"cpu.weight=100", "cpu.max=50000 100000", "cpuset.cpus=0-1", "cpuset.mems=0"}},
		{"cpu without quota", specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: p(int64(-1)), Period: p(uint64(100000))}},
			[]string{"cpu cpu.cfs_period_us=100000", "cpu cpu.cfs_quota_us=-1"}, []string{"cpu.max=max 100000"}},
		{"pids", specs.LinuxResources{Pids: &specs.LinuxPids{Limit: p(int64(7))}}, []string{"pids pids.max=7"}, []string{"pids.max=7"}},
		{"pids without bound", specs.LinuxResources{Pids: &specs.LinuxPids{Limit: p(int64(-1))}}, []string{"pids pids.max=max"}, []string{"pids.max=max"}},
		{"block devices", specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{Weight: p(uint16(1000)), ThrottleReadBpsDevice: []specs.LinuxThrottleDevice{throttle(8, 0, 100)}}},
			[]string{"blkio blkio.bfq.weight=1000", "blkio blkio.weight=1000", "blkio blkio.throttle.read_bps_device=8:0 100"},
			[]string{"io.bfq.weight=1000", "io.weight=10000", "io.max=8:0 rbps=100"}},
		{"weights of devices", specs.LinuxResources{BlockIO: &specs.LinuxBlockIO{LeafWeight: p(uint16(20)), WeightDevice: []specs.LinuxWeightDevice{weight(8, 0, 1000, 30)}}},
			[]string{"blkio blkio.leaf_weight=20", "blkio blkio.bfq.weight_device=8:0 1000", "blkio blkio.weight_device=8:0 1000", "blkio blkio.leaf_weight_device=8:0 30"},
			[]string{"io.bfq.weight=8:0 1000", "io.weight=8:0 10000", "(blockIO.leafWeight)", "(blockIO.weightDevice 8:0 leafWeight)"}},
		{"what version 2 lacks", specs.LinuxResources{
			Memory:  &specs.LinuxMemory{Kernel: p(int64(1)), KernelTCP: p(int64(2)), Swappiness: p(uint64(3)), DisableOOMKiller: p(true)},
			Network: &specs.LinuxNetwork{ClassID: p(uint32(4)), Priorities: []specs.LinuxInterfacePriority{{Name: "lo", Priority: 5}}}},
			[]string{"(memory.kernel 1)", "memory memory.kmem.tcp.limit_in_bytes=2", "memory memory.swappiness=3", "memory memory.oom_control=1", "net_cls net_cls.classid=4", "net_prio net_prio.ifpriomap=lo 5"},
			[]string{"(memory.kernel)", "(memory.kernelTCP)", "(memory.swappiness)", "(memory.disableOOMKiller)", "(network.classID)", "(network.priorities)"}},
		{"huge pages", specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 4}}},
			[]string{"hugetlb hugetlb.2MB.limit_in_bytes=4"}, []string{"hugetlb.2MB.max=4", "hugetlb.2MB.rsvd.max=4"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			v1, err := PlanV1(&c.r)
			if err != nil {
				t.Fatal(err)
			}
			v2, err := PlanV2(&c.r)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.v1, lines(v1)); diff != "" {
				t.Errorf("version 1 (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.v2, lines(v2)); diff != "" {
				t.Errorf("version 2 (-want +got):\n%s", diff)
			}
		})
	}
}

func throttle(major, minor int64, rate uint64) specs.LinuxThrottleDevice {
	d := specs.LinuxThrottleDevice{Rate: rate}
	d.Major, d.Minor = major, minor
	return d
}

func TestPlansThatAreRefused(t *testing.T) {
	for name, r := range map[string]specs.LinuxResources{
		"swap below memory":       {Memory: &specs.LinuxMemory{Limit: p(int64(2)), Swap: p(int64(1))}},
		"swap without memory":     {Memory: &specs.LinuxMemory{Swap: p(int64(1))}},
		"real time":               {CPU: &specs.LinuxCPU{RealtimeRuntime: p(int64(1))}},
		"unified path":            {Unified: map[string]string{"../x.y": "1"}},
		"unified cgroup.procs":    {Unified: map[string]string{"cgroup.procs": "1"}},
		"unified without a dot":   {Unified: map[string]string{"memory": "1"}},
		"unified subtree_control": {Unified: map[string]string{"cgroup.subtree_control": "+x"}},
	} {
		if _, err := PlanV2(&r); err == nil {
			t.Errorf("%s: planned for version 2", name)
		}
	}
	if _, err := PlanV1(&specs.LinuxResources{Unified: map[string]string{"memory.high": "1"}}); err == nil {
		t.Error("unified: planned for version 1")
	}
	w, err := PlanV2(&specs.LinuxResources{Unified: map[string]string{"memory.high": "1", "memory.min": "2"}})
	if err != nil || cmp.Diff([]string{"memory.high=1", "memory.min=2"}, lines(w)) != "" {
		t.Errorf("unified: %v, %v", lines(w), err)
	}
}

func TestWeights(t *testing.T) {
	for w, want := range map[uint64]uint64{10: 1, 500: 4950, 1000: 10000} {
		if got := ioWeight(w); got != want {
			t.Errorf("io weight of %d: %d, want %d", w, got, want)
		}
	}
}

func rule(allow bool, typ string, major, minor int64, access string) specs.LinuxDeviceCgroup {
	return specs.LinuxDeviceCgroup{Allow: allow, Type: typ, Major: &major, Minor: &minor, Access: access}
}

func TestDevicePlanV1(t *testing.T) {
	got := lines(PlanDevicesV1([]specs.LinuxDeviceCgroup{{Access: "rwm"}, rule(true, "c", 10, 229, "rw"), rule(true, "", 7, -1, "r")}))
	want := []string{"devices devices.deny=a", "devices devices.allow=c 10:229 rw", "devices devices.allow=b 7:* r", "devices devices.allow=c 7:* r"}
	if diff := cmp.Diff(want, got[:len(want)]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := lines(PlanDevicesV1([]specs.LinuxDeviceCgroup{{Access: "rwm"}, {Allow: true, Access: "rwm"}})); len(got) != 1 || got[0] != "devices devices.allow=a" {
		t.Errorf("all allowed: %q", got)
	}
}

// decide runs a device program as the kernel would.
func decide(t *testing.T, prog []bpfInsn, typ, access, major, minor int32) bool {
	t.Helper()
	var r [6]int64
	ctx := map[int16]int64{0: int64(access)<<16 | int64(typ), 4: int64(major), 8: int64(minor)}
	for pc := 0; pc < len(prog); pc++ {
		i := prog[pc]
		dst, src := i.regs&15, i.regs>>4
		switch i.op {
		case ldxW:
			r[dst] = ctx[i.off]
		case movX:
			r[dst] = r[src]
		case movK:
			r[dst] = int64(i.imm)
		case andK:
			r[dst] &= int64(i.imm)
		case rshK:
			r[dst] >>= uint(i.imm)
		case jneK:
			if r[dst] != int64(i.imm) {
				pc += int(i.off)
			}
		case jeqK:
			if r[dst] == int64(i.imm) {
				pc += int(i.off)
			}
		case bpfExit:
			return r[0] != 0
		default:
			t.Fatalf("instruction %d: unknown operation %#x", pc, i.op)
		}
	}
	t.Fatal("program ran off its end")
	return false
}

func TestDeviceProgramV2(t *testing.T) {
	prog, err := deviceProgram(append([]specs.LinuxDeviceCgroup{{Access: "rwm"}, rule(true, "c", 10, 229, "r"), rule(true, "b", 8, -1, "rw"), rule(false, "b", 8, 3, "w")}, defaultDevices...))
	if err != nil {
		t.Fatal(err)
	}
	const block, char, mknod, read, write = 1, 2, 1, 2, 4
	for _, c := range []struct {
		name                      string
		typ, access, major, minor int32
		want                      bool
	}{
		{"null", char, read | write, 1, 3, true},
		{"a terminal", char, read | write, 136, 9, true},
		{"making any node", block, mknod, 99, 99, true},
		{"kmsg", char, read, 1, 11, false},
		{"fuse to read", char, read, 10, 229, true},
		{"fuse to write", char, read | write, 10, 229, false},
		{"a disk", block, read | write, 8, 1, true},
		{"the denied disk to read", block, read, 8, 3, true},
		{"the denied disk to write", block, read | write, 8, 3, false},
		{"the disk's number as a character device", char, read, 8, 1, false},
	} {
		if got := decide(t, prog, c.typ, c.access, c.major, c.minor); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	if _, err := deviceProgram([]specs.LinuxDeviceCgroup{{Type: "x"}}); err == nil {
		t.Error("an unknown type was compiled")
	}
}

func TestFigures(t *testing.T) {
	if got := ioStat("8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0\nnonsense\n"); len(got) != 1 || got[0].WriteOps != 4 || got[0].Major != 8 {
		t.Errorf("io.stat: %+v", got)
	}
	if got := blkio("8:0 Read 10\n8:0 Write 20\nTotal 30\n", "8:0 Read 1\n8:0 Write 2\n"); len(got) != 1 || got[0].ReadBytes != 10 || got[0].WriteOps != 2 {
		t.Errorf("blkio: %+v", got)
	}
	if unlimited(9223372036854771712) != 0 || unlimited(5) != 5 {
		t.Error("unlimited")
	}
}
