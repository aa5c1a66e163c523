//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/gorilla/websocket"

	"nau/test/e2e/harness"
)

// limitFile is a cgroup's file as containers see it, on version 1 or 2.
func limitFile(v1, v2 string) string {
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		return "/sys/fs/cgroup/" + v2
	}
	return "/sys/fs/cgroup/" + v1
}

// onV1 chooses a value by the version of the machine's cgroups.
func onV1(v1, v2 string) string {
	if strings.HasPrefix(limitFile("1", "2"), "/sys/fs/cgroup/2") {
		return v2
	}
	return v1
}

// blockDevice is one of this machine's, by its node.
func blockDevice() string {
	entries, _ := os.ReadDir("/sys/block")
	for _, e := range entries {
		if _, err := os.Stat("/dev/" + e.Name()); err == nil {
			return "/dev/" + e.Name()
		}
	}
	return ""
}

// notTheEngines are flags that the command line acts on by itself or that are for Windows; each with its reason.
var notTheEngines = map[string]string{
	"disable-content-trust": "the command line checks signatures, or not", "pull": "the command line pulls before it creates", "quiet": "output of the pull", "help": "prints help",
	"cpu-count": "Windows", "cpu-percent": "Windows", "io-maxbandwidth": "Windows", "io-maxiops": "Windows",
	"platform": "TestDockerRunFlags/refused has it", "use-api-socket": "the command line makes a mount and a configuration of it",
	"link-local-ip": "refused or given by the network's room", "ip6": "the networks' tests", "detach-keys": "TestDockerStreams", "sig-proxy": "TestDockerStreams",
}

// Every flag of `docker run` does what it says inside the container, or is refused in Docker's words.
func TestDockerRunFlags(t *testing.T) {
	needDocker(t)
	m := harness.New(t)
	m.Registry()
	cdi := filepath.Join(m.Dir, "cdi")
	write(t, filepath.Join(cdi, "gpu.json"), `{"cdiVersion":"0.6.0","kind":"vendor.example/gpu","containerEdits":{"env":["GPU=seen"]},"devices":[
		{"name":"0","containerEdits":{"deviceNodes":[{"path":"/dev/gpu0","hostPath":"/dev/zero"}]}},{"name":"all","containerEdits":{"deviceNodes":[{"path":"/dev/gpus","hostPath":"/dev/zero"}]}}]}`)
	if r := m.Do("", m.Nau, "up", "-d", "--data-dir", m.DataDir, "--run-dir", m.RunDir, "--runtime", "x=/no/such"); r.Code != 2 || !strings.Contains(r.Stderr, "--runtime") {
		t.Errorf("a runtime that is no program: code %d, %s", r.Code, r.Stderr)
	}
	m.Up("--cdi-spec-dir", cdi)
	m.Must("docker", "pull", "-q", "busybox")
	m.Must("docker", "network", "create", "--subnet", "172.31.7.0/24", "net")
	env, labels, id := filepath.Join(m.Dir, "env"), filepath.Join(m.Dir, "labels"), filepath.Join(m.Dir, "id")
	write(t, env, "FROM_FILE=yes\n")
	write(t, labels, "from.file=yes\n")
	profile := filepath.Join(m.Dir, "seccomp.json")
	write(t, profile, `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}`)
	bound := filepath.Join(m.Dir, "bound")
	write(t, filepath.Join(bound, "deep", "f"), "bound\n")
	device := blockDevice()
	memory := limitFile("memory/memory.limit_in_bytes", "memory.max")
	rows := map[string][]line{
		"add-host":   {{args: "--add-host a:192.0.2.7 --add-host me=host-gateway busybox cat /etc/hosts", out: "192.0.2.7\ta"}},
		"annotation": {{args: "--annotation a.b=c --name annotated busybox true"}, {args: "inspect -f '{{index .HostConfig.Annotations \"a.b\"}}' annotated", out: "c\n"}},
		"attach": {{args: "-a stderr busybox sh -c 'echo out; echo err >&2'", err: "err\n"},
			{args: "-t -a stderr busybox echo out"}, {args: "-i -a stdin busybox true"}},
		"blkio-weight":  {{args: "--blkio-weight 500 busybox true"}},
		"cap-add":       {{args: "--cap-add NET_ADMIN busybox grep CapEff /proc/self/status", out: "00000000a80435fb"}},
		"cap-drop":      {{args: "--cap-drop ALL busybox grep CapEff /proc/self/status", out: "0000000000000000"}},
		"cgroup-parent": {{args: "--cgroup-parent /nau-parent --name below -d busybox sleep 1000"}, {args: "rm -f below"}},
		"cgroupns": {{args: "--cgroupns private busybox cat /proc/self/cgroup", out: onV1("memory:/\n", "::/\n")},
			{args: "--cgroupns host busybox cat /proc/self/cgroup", out: "/sandbox/"}},
		"cidfile":        {{args: "--cidfile " + id + " busybox true"}},
		"cpu-period":     {{args: "--cpu-period 50000 --cpu-quota 20000 busybox cat " + limitFile("cpu/cpu.cfs_period_us", "cpu.max"), out: onV1("50000\n", "20000 50000\n")}, {args: "--cpu-period 5 busybox true", code: 125, err: "CPU cfs period can not be less than 1ms"}},
		"cpu-quota":      {{args: "--cpu-quota 20000 busybox cat " + limitFile("cpu/cpu.cfs_quota_us", "cpu.max"), out: "20000"}},
		"cpu-rt-period":  {{args: "--cpu-rt-period 10000 busybox true", code: 125, err: "kernel does not support CPU real-time scheduler"}},
		"cpu-rt-runtime": {{args: "--cpu-rt-runtime 9000 busybox true", code: 125, err: "kernel does not support CPU real-time scheduler"}},
		"cpu-shares":     {{args: "-c 2048 busybox cat " + limitFile("cpu/cpu.shares", "cpu.weight"), out: onV1("2048\n", "79\n")}},
		"cpus":           {{args: "--cpus 0.5 busybox cat " + limitFile("cpu/cpu.cfs_quota_us", "cpu.max"), out: "50000"}, {args: "--cpus 1000 busybox true", code: 125, err: "range of CPUs is from 0.01 to"}},
		"cpuset-cpus":    {{args: "--cpuset-cpus 0 busybox grep Cpus_allowed_list /proc/self/status", out: "\t0\n"}, {args: "--cpuset-cpus 5000 busybox true", code: 125, err: "Requested CPUs are not available - requested 5000, available: "}},
		"cpuset-mems":    {{args: "--cpuset-mems 0 busybox grep Mems_allowed_list /proc/self/status", out: "\t0\n"}},
		"detach":         {{args: "-d --name detached busybox sleep 1000"}, {args: "rm -f detached"}},
		"device": {{args: "--device /etc:/dev/etc busybox true", code: 125, err: `error gathering device information while adding custom device "/etc": not a device node`}, {args: "--device /dev/loop-control:/dev/inside:r busybox sh -c 'test -c /dev/inside && ! echo x > /dev/inside'", err: "Operation not permitted"}, {args: "--device /dev/no-such busybox true", code: 127, err: `error gathering device information while adding custom device "/dev/no-such": no such file or directory`},
			{args: "--device vendor.example/gpu=0 busybox sh -c 'echo $GPU; test -c /dev/gpu0 && head -c 1 /dev/gpu0 | wc -c'", out: "seen\n1\n"},
			{args: "--device vendor.example/gpu=9 busybox true", code: 125, err: "CDI device injection failed: unresolvable CDI devices vendor.example/gpu=9"}},
		"device-cgroup-rule": {{args: "--device-cgroup-rule 'c 10:237 r' --cap-add MKNOD busybox sh -c 'mknod /m c 10 237 && dd if=/m bs=1 count=0'"}, {args: "--device-cgroup-rule nonsense busybox true", code: 125, err: "invalid device cgroup format"}},
		"gpus":               {{args: "--gpus all busybox ls /dev/gpus", out: "/dev/gpus"}, {args: "--gpus 1 busybox ls /dev/gpu0", out: "/dev/gpu0"}, {args: "--gpus 2 busybox true", code: 125, err: "2 GPUs are asked for, there are 1"}},
		"dns":                {{args: "--dns 192.0.2.53 --dns-search example.org --dns-option ndots:3 busybox cat /etc/resolv.conf", out: "nameserver 192.0.2.53"}},
		"dns-option":         {{args: "--dns-option ndots:3 busybox cat /etc/resolv.conf", out: "ndots:3"}},
		"dns-search":         {{args: "--dns-search example.org busybox cat /etc/resolv.conf", out: "search example.org"}},
		"domainname":         {{args: "--domainname example.org --hostname h busybox sh -c 'hostname -f; cat /proc/sys/kernel/domainname'", out: "h.example.org\nexample.org\n"}},
		"entrypoint":         {{args: "--entrypoint echo busybox entry", out: "entry\n"}},
		"env":                {{args: "-e A=b -e PATH=/bin busybox sh -c 'echo $A $PATH'", out: "b /bin\n"}},
		"env-file":           {{args: "--env-file " + env + " busybox sh -c 'echo $FROM_FILE'", out: "yes\n"}},
		"expose":             {{args: "-d --expose 99/udp --name exposing busybox sleep 1000"}, {args: "ps --filter expose=99/udp --format {{.Names}}", out: "exposing\n"}, {args: "rm -f exposing"}},
		"group-add":          {{args: "--group-add 4242 --group-add daemon busybox id -G", out: "4242"}},
		"health-cmd": {{args: "-d --name healthy --health-cmd true --health-interval 1s --health-timeout 2s --health-retries 4 --health-start-period 3s --health-start-interval 100ms busybox sleep 1000"},
			{args: "inspect -f '{{json .Config.Healthcheck}}' healthy", out: `{"Test":["CMD-SHELL","true"],"Interval":1000000000,"Timeout":2000000000,"StartPeriod":3000000000,"StartInterval":100000000,"Retries":4}`},
		},
		"no-healthcheck": {{args: "-d --no-healthcheck --name unchecked busybox sleep 1000"}, {args: "inspect -f '{{json .State.Health}}{{json .Config.Healthcheck.Test}}' unchecked", out: `null["NONE"]`}, {args: "rm -f unchecked"}},
		"hostname":       {{args: "-h here busybox sh -c 'hostname; grep here /etc/hosts; cat /etc/hostname'", out: "here\n"}, {args: "-h here --network host busybox sh -c 'hostname; echo $HOSTNAME'", out: "here\nhere\n"}, {args: "-h here --uts host busybox true", code: 125, err: "conflicting options: hostname and the UTS mode"}},
		"init":           {{args: "--init busybox ps", out: "/sbin/docker-init -- ps"}},
		"interactive":    {{args: "-i busybox cat", stdin: "typed", out: "typed"}},
		"ip":             {{args: "--network net --ip 172.31.7.77 busybox ip -4 addr show eth0", out: "172.31.7.77/24"}},
		"ipc": {{args: "-d --name donor --ipc shareable busybox sleep 1000"}, {args: "exec donor touch /dev/shm/shared"}, {args: "--ipc container:donor busybox ls /dev/shm", out: "shared"},
			{args: "-d --name private busybox sleep 1000"}, {args: "--ipc container:private busybox true", code: 125, err: "non-shareable IPC (hint: use IpcMode:shareable for the donor container"},
			{args: "--ipc none busybox grep -c /dev/shm /proc/mounts", code: 1, out: "0\n"}, {args: "--ipc nonsense busybox true", code: 125, err: "invalid IPC mode: nonsense"}, {args: "rm -f donor private"}},
		"isolation":          {{args: "--isolation hyperv busybox true", code: 125, err: "invalid isolation 'hyperv' on linux"}, {args: "--isolation default busybox true"}},
		"kernel-memory":      {{args: "--kernel-memory 50m busybox true"}},
		"label":              {{args: "-d -l a=b --label-file " + labels + " --name labelled busybox sleep 1000"}, {args: "ps --filter label=from.file=yes --filter label=a --format {{.Names}}", out: "labelled\n"}, {args: "rm -f labelled"}},
		"link":               {{args: "-d --name db -e WORD=x --expose 5432 busybox sleep 1000"}, {args: "--name app --link db:data busybox sh -c 'grep data /etc/hosts; env'", out: "DATA_PORT_5432_TCP_PORT=5432"}, {args: "create --name second --link db:d busybox true"}, {args: "rm --link /second/d", out: "/second/d"}, {args: "inspect -f '{{len .HostConfig.Links}}' second", out: "0\n"}, {args: "rm second"}, {args: "rm -f db"}},
		"log-driver":         {{args: "--log-driver gelf busybox true", code: 125, err: "logger: no log driver named 'gelf' is registered"}, {args: "-d --log-driver journald --name journal busybox true", code: 127, err: "journald is not enabled on this host"}, {args: "rm -f journal"}},
		"log-opt":            {{args: "-d --name logged --log-opt labels=shown --log-opt tag={{.Name}} --label shown=yes busybox echo text"}, {args: "wait logged"}, {args: "logs --details logged", out: "shown=yes,tag=logged text\n"}, {args: "rm logged"}, {args: "--log-opt nonsense=1 busybox true", code: 125, err: "unknown log opt 'nonsense' for json-file log driver"}},
		"mac-address":        {{args: "--mac-address 02:42:ac:11:00:99 busybox cat /sys/class/net/eth0/address", out: "02:42:ac:11:00:99"}},
		"memory":             {{args: "-m 64m busybox cat " + memory, out: "67108864\n"}, {args: "-m 4m busybox true", code: 125, err: "Minimum memory limit allowed is 6MB"}},
		"memory-reservation": {{args: "--memory-reservation 32m busybox cat " + limitFile("memory/memory.soft_limit_in_bytes", "memory.low"), out: "33554432\n"}},
		"memory-swap":        {{args: "-m 64m --memory-swap 96m busybox cat " + limitFile("memory/memory.memsw.limit_in_bytes", "memory.swap.max"), out: onV1("100663296\n", "33554432\n")}, {args: "--memory-swap 96m busybox true", code: 125, err: "You should always set the Memory limit when using Memoryswap limit"}},
		"memory-swappiness":  {{args: "--memory-swappiness 101 busybox true", code: 125, err: "alid memory swappiness range is 0-100"}, {args: "--memory-swappiness 20 busybox " + onV1("cat /sys/fs/cgroup/memory/memory.swappiness", "echo 20"), out: "20\n"}},
		"mount": {{args: "--mount type=bind,source=" + bound + ",target=/b,readonly busybox sh -c 'cat /b/deep/f; touch /b/x'", code: 1, out: "bound\n", err: "Read-only file system"},
			{args: "--mount type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=700 busybox sh -c 'stat -c %a /t; df -k /t'", out: "700\n"},
			{args: "--mount type=volume,source=vol,target=/v busybox sh -c 'mkdir -p /v/sub && echo in > /v/sub/f'"}, {args: "--mount type=volume,source=vol,target=/v,volume-subpath=sub busybox cat /v/f", out: "in\n"},
			{args: "--mount type=image,source=busybox,target=/i busybox ls /i/bin/busybox", out: "/i/bin/busybox"}, {args: "--mount type=bind,source=" + bound + ",target=/b,bind-propagation=rshared busybox grep ' /b ' /proc/self/mountinfo", out: "shared:"}},
		"name":             {{args: "--name . busybox true", code: 125, err: "Invalid container name (.), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"}},
		"network":          {{args: "--network none busybox ls /sys/class/net", out: "lo\n"}, {args: "--network nothing busybox true", code: 125, err: "network nothing not found"}},
		"network-alias":    {{args: "-d --name aliased --network net --network-alias other nginx"}, {args: "--network net alpine wget -qO- http://other/", out: "nginx"}, {args: "rm -f aliased"}},
		"oom-kill-disable": {{args: "--oom-kill-disable -m 64m busybox true"}},
		"oom-score-adj":    {{args: "--oom-score-adj 700 busybox cat /proc/self/oom_score_adj", out: "700\n"}, {args: "--oom-score-adj 1001 busybox true", code: 125, err: "Invalid value 1001, range for oom score adj is [-1000, 1000]"}},
		"pid":              {{args: "-d --name first busybox sleep 4321"}, {args: "--pid container:first busybox ps", out: "sleep 4321"}, {args: "--pid host busybox sh -c 'test $$ -gt 50'"}, {args: "rm -f first"}},
		"pids-limit":       {{args: "--pids-limit 50 busybox cat " + limitFile("pids/pids.max", "pids.max"), out: "50\n"}, {args: "--pids-limit -1 busybox cat " + limitFile("pids/pids.max", "pids.max"), out: "max\n"}},
		"privileged": {{args: "--privileged busybox sh -c 'mount -t tmpfs t /mnt && ls /dev/loop-control'", out: "/dev/loop-control"},
			{args: "--privileged --security-opt no-new-privileges --security-opt seccomp=" + profile + " busybox sh -c 'grep -hE \"^(Seccomp|NoNewPrivs):\" /proc/self/status | tr -d \"\\n\\t\"; mkdir /d'", code: 1, out: "NoNewPrivs:1Seccomp:2", err: "Operation not permitted"},
			{args: "--privileged busybox grep Seccomp: /proc/self/status", out: "0\n"}},
		"publish":     {{args: "-d -p 127.0.0.1:8123:80 --name published nginx"}, {args: "port published", out: "80/tcp -> 127.0.0.1:8123"}, {args: "ps --filter publish=8123 --format {{.Names}}", out: "published\n"}, {args: "rm -f published"}},
		"publish-all": {{args: "-d -P --expose 81 --name all busybox sleep 1000"}, {args: "port all", out: "81/tcp -> 0.0.0.0:"}, {args: "rm -f all"}},
		"read-only":   {{args: "--read-only busybox touch /x", code: 1, err: "Read-only file system"}},
		"restart":     {{args: "create --restart nonsense busybox true", code: 1, err: "nonsense"}, {args: "-d --restart on-failure:1 --name once busybox false"}, {args: "wait once", out: "1\n"}, {args: "rm -f once"}},
		"rm":          {{args: "--name gone busybox true"}, {args: "inspect gone", code: 1, err: "o such object: gone"}},
		"runtime":     {{args: "--runtime nonsense busybox true", code: 125, err: "unknown or invalid runtime name: nonsense"}, {args: "--runtime nau-oci busybox true"}},
		"security-opt": {{args: "--security-opt no-new-privileges busybox grep NoNewPrivs /proc/self/status", out: "1\n"}, {args: "--security-opt seccomp=unconfined busybox grep Seccomp: /proc/self/status", out: "0\n"},
			{args: "busybox grep Seccomp: /proc/self/status", out: "2\n"}, {args: "--security-opt seccomp=" + profile + " busybox mkdir /d", code: 1, err: "Operation not permitted"},
			{args: "--security-opt systempaths=unconfined busybox grep -c /proc/kcore /proc/mounts", code: 1, out: "0\n"}, {args: "--security-opt label=disable busybox true"}, {args: "--security-opt label=type:x busybox true", code: 125, err: "SELinux labels cannot be set"},
			{args: "--security-opt nonsense busybox true", code: 125, err: "nonsense"}, {args: "--security-opt writable-cgroups=true busybox mkdir " + onV1("/sys/fs/cgroup/memory/below", "/sys/fs/cgroup/below")}},
		"shm-size":      {{args: "--shm-size 8m busybox df -k /dev/shm", out: "8192"}},
		"stop-signal":   {{args: "-d --stop-signal USR1 --name signalled busybox sh -c 'trap \"exit 9\" USR1; while :; do sleep 0.1; done'"}, {args: "stop signalled"}, {args: "inspect -f {{.State.ExitCode}} signalled", out: "9\n"}, {args: "rm signalled"}},
		"stop-timeout":  {{args: "-d --stop-timeout 1 --name stubborn busybox sleep 1000"}, {args: "stop stubborn"}, {args: "inspect -f {{.State.ExitCode}} stubborn", out: "137\n"}, {args: "rm stubborn"}},
		"storage-opt":   {{args: "--storage-opt size=1G busybox true", code: 125, err: "--storage-opt is supported only for overlay over xfs with 'pquota' mount option"}},
		"sysctl":        {{args: "--sysctl net.ipv4.ip_default_ttl=77 busybox cat /proc/sys/net/ipv4/ip_default_ttl", out: "77\n"}, {args: "--sysctl kernel.panic=1 busybox true", code: 125, err: "kernel.panic"}},
		"tmpfs":         {{args: "--tmpfs /t:size=1m,mode=711 busybox sh -c 'stat -c %a /t; grep /t /proc/mounts'", out: "711\n"}},
		"tty":           {{args: "-t busybox tty", out: "/dev/pts/0"}},
		"ulimit":        {{args: "--ulimit nofile=100:200 busybox sh -c 'ulimit -n; ulimit -Hn'", out: "100\n200\n"}},
		"user":          {{args: "-u 1000:1001 busybox id", out: "uid=1000 gid=1001"}, {args: "-u nobody-here busybox true", code: 125, err: "nobody-here"}},
		"userns":        {{args: "--userns host busybox true"}, {args: "--userns private busybox true", code: 125, err: "USER mode"}},
		"uts":           {{args: "--uts host busybox hostname"}},
		"volume":        {{args: "-v " + bound + ":/b:ro busybox cat /b/deep/f", out: "bound\n"}, {args: "-v named:/etc busybox cat /etc/passwd", out: "root"}, {args: "-v empty:/etc:nocopy busybox sh -c 'ls /etc/passwd'", code: 1, err: "No such file"}},
		"volume-driver": {{args: "--volume-driver nonsense -v driven:/x busybox true", code: 125, err: `error looking up volume plugin nonsense: plugin "nonsense" not found`}},
		"volumes-from":  {{args: "create --name from -v shared:/shared busybox"}, {args: "--volumes-from from busybox ls -d /shared", out: "/shared\n"}, {args: "--volumes-from from:bar busybox true", code: 125, err: "invalid mode: bar"}, {args: "--volumes-from from:ro busybox touch /shared/x", code: 1, err: "Read-only file system"}, {args: "rm from"}},
		"workdir":       {{args: "-w /made/here busybox pwd", out: "/made/here\n"}, {args: "-w relative busybox true", code: 125, err: "needs to be an absolute path"}},
	}
	if device != "" {
		for flag, file := range map[string]string{"device-read-bps": "read_bps_device", "device-write-bps": "write_bps_device", "device-read-iops": "read_iops_device", "device-write-iops": "write_iops_device"} {
			rows[flag] = []line{{args: "--" + flag + " " + device + ":7340032 busybox cat " + limitFile("blkio/blkio.throttle."+file, "io.max"), out: "7340032"},
				{args: "--" + flag + " /dev/no-such:5 busybox true", code: 127, err: "/dev/no-such"}}
		}
		rows["blkio-weight-device"] = []line{{args: "--blkio-weight-device " + device + ":300 busybox true"}}
	}
	// Every flag that the command line knows has a row, stands in one, or is none of the engine's.
	all := fmt.Sprint(rows)
	for _, found := range regexp.MustCompile(`--([a-z0-9-]+)`).FindAllStringSubmatch(m.Must("docker", "run", "--help"), -1) {
		flag := found[1]
		_, own := rows[flag]
		if _, other := notTheEngines[flag]; !own && !other && !strings.Contains(all, "--"+flag+" ") && !(device == "" && strings.Contains(flag, "device-")) {
			t.Errorf("docker run --%s has no row", flag)
		}
	}
	t.Cleanup(func() { // what the user names is the user's to take away
		all, _ := filepath.Glob("/sys/fs/cgroup/*/nau-parent")
		for _, dir := range append(all, "/sys/fs/cgroup/nau-parent") {
			os.Remove(dir)
		}
	})
	known := map[string]bool{"inspect": true, "rm": true, "exec": true, "ps": true, "port": true, "wait": true, "logs": true, "stop": true, "events": true, "create": true}
	for _, flag := range sorted(rows) {
		t.Run(flag, func(t *testing.T) {
			m := m.In(t)
			for _, l := range rows[flag] {
				if first, _, _ := strings.Cut(l.args, " "); !known[first] {
					keep := "run --rm "
					if strings.Contains(l.args, "-d ") || strings.Contains(l.args, "--name ") && !strings.Contains(l.args, "--name gone") {
						keep = "run "
					}
					l.args = keep + l.args
				}
				run(t, m, []line{l})
			}
		})
	}
	t.Run("health", func(t *testing.T) {
		m := m.In(t)
		m.Until("healthy", "docker", "inspect", "-f", "{{.State.Health.Status}}", "healthy")
		m.Until("health_status: healthy", "docker", "events", "--since", "1m", "--until", "0s", "--filter", "container=healthy", "--filter", "event=health_status", "--format", "{{.Action}}")
		run(t, m, []line{{args: "rm -f healthy"}})
	})
	t.Run("refused", func(t *testing.T) {
		run(t, m.In(t), []line{
			{args: "run --rm --platform linux/s390x busybox true", code: 125, err: "does not provide the specified platform"},
			{args: "run --rm --network container:none busybox true", code: 125, err: "No such container: none"},
			{args: "create --ip 172.31.7.5 busybox", code: 1, err: "user-specified IP address is supported on user-defined networks only"},
			{args: "update --memory 32m nothing", code: 1, err: "No such container: nothing"},
		})
	})
	if text, err := os.ReadFile(id); err != nil || len(text) != 64 {
		t.Errorf("--cidfile: %q %v", text, err)
	}
}

func sorted(rows map[string][]line) []string {
	return slices.Sorted(maps.Keys(rows))
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// What `docker update` changes is seen in the container that runs, and stays.
func TestDockerUpdate(t *testing.T) {
	needDocker(t)
	m := harness.New(t)
	m.Registry()
	m.Up()
	run(t, m, []line{
		{args: "run -d --name cc -m 64m busybox sleep 1000"},
		{args: "update --cpus 0.5 --pids-limit 77 --memory-reservation 32m --cpuset-cpus 0 --cpu-shares 300 cc", out: "cc\n"},
		{args: "exec cc cat " + limitFile("pids/pids.max", "pids.max"), out: "77\n"},
		{args: "exec cc cat " + limitFile("cpu/cpu.cfs_quota_us", "cpu.max"), out: "50000"},
		{args: "exec cc cat " + limitFile("memory/memory.soft_limit_in_bytes", "memory.low"), out: "33554432\n"},
		{args: "exec cc grep Cpus_allowed_list /proc/1/status", out: "\t0\n"},
		{args: "update -m 256m cc", code: 1, err: "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"},
		{args: "update -m 256m --memory-swap 512m cc", out: "cc\n"},
		{args: "exec cc cat " + limitFile("memory/memory.limit_in_bytes", "memory.max"), out: "268435456\n"},
		{args: "update --cpu-quota 20000 cc", code: 1, err: "CPU Quota cannot be updated as NanoCPUs has already been set"},
		{args: "update --pids-limit -1 cc", out: "cc\n"},
		{args: "exec cc cat " + limitFile("pids/pids.max", "pids.max"), out: "max\n"},
		{args: "restart -t 0 cc"},
		{args: "exec cc cat " + limitFile("memory/memory.limit_in_bytes", "memory.max"), out: "268435456\n"},
		{args: "exec cc cat " + limitFile("cpu/cpu.cfs_quota_us", "cpu.max"), out: "50000"},
	})
}

// Attach over a WebSocket: input goes in, output comes out as it is.
func TestDockerStreams(t *testing.T) {
	needDocker(t)
	m := harness.New(t)
	m.Registry()
	m.Up()
	m.Must("docker", "run", "-d", "-i", "--name", "talk", "busybox", "sh", "-c", "while read x; do echo got $x; done")
	dialer := websocket.Dialer{NetDialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("unix", filepath.Join(m.RunDir, "docker.sock"))
	}}
	conn, resp, err := dialer.Dial("ws://docker/v1.44/containers/talk/attach/ws?stream=1&stdin=1&stdout=1", nil)
	if err != nil {
		t.Fatal(err, resp)
	}
	defer conn.Close()
	if err := conn.WriteMessage(websocket.TextMessage, []byte("hello\n")); err != nil {
		t.Fatal(err)
	}
	kind, text, err := conn.ReadMessage()
	if err != nil || kind != websocket.BinaryMessage || string(text) != "got hello\n" {
		t.Errorf("%d %q %v", kind, text, err)
	}
	// A page of another origin must not get in.
	if _, resp, err := dialer.Dial("ws://docker/v1.44/containers/talk/attach/ws?stream=1&stdout=1", http.Header{"Origin": {"http://evil.example"}}); err == nil || resp == nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("another origin: %v", err)
	}
	// The server's own detach keys: the command line has its own before them.
	other, _, err := dialer.Dial("ws://docker/v1.44/containers/talk/attach/ws?stream=1&stdin=1&stdout=1&detachKeys=ctrl-x,q", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := other.WriteMessage(websocket.BinaryMessage, []byte("\x18q")); err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, _, err = other.ReadMessage()
	}
	if !websocket.IsCloseError(err, websocket.CloseNormalClosure) {
		t.Errorf("after the detach keys: %v", err)
	}
	m.Until("detach", "docker", "events", "--since", "1m", "--until", "0s", "--filter", "container=talk", "--filter", "event=detach", "--format", "{{.Action}}")
	run(t, m, []line{{args: "inspect -f {{.State.Status}} talk", out: "running\n"}})
	t.Run("detach keys", func(t *testing.T) {
		m := m.In(t)
		term := m.Terminal("docker", "run", "-it", "--name", "keys", "--detach-keys", "ctrl-x,q", "busybox", "sh")
		term.Type("echo rea''dy\n")
		term.Expect("ready")
		term.Type("\x18q")
		term.Wait()
		run(t, m, []line{{args: "inspect -f {{.State.Status}} keys", out: "running\n"}, {args: "rm -f keys"}})
	})
	t.Run("signals", func(t *testing.T) {
		m := m.In(t)
		cmd := m.Command("docker", "run", "--name", "proxied", "busybox", "sh", "-c", "trap 'exit 42' TERM; echo up; while :; do sleep 0.05; done")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "up\n" {
			t.Errorf("%q %v", line, err)
		}
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != 42 {
			t.Errorf("--sig-proxy: exit code %d", code)
		}
	})
}

// A syslog receiver gets every line in order, whether nau runs, is killed, or is away while the container talks.
func TestDockerSyslog(t *testing.T) {
	needDocker(t)
	m := harness.New(t)
	m.Registry()
	m.Up()
	listener := m.Listen("tcp", "127.0.0.1:5514")
	t.Cleanup(func() { listener.Close() })
	lines := make(chan string, 1000)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				sc := bufio.NewScanner(conn)
				for sc.Scan() {
					lines <- sc.Text()
				}
			}()
		}
	}()
	next := func() string {
		select {
		case l := <-lines:
			return l
		case <-t.Context().Done():
			return ""
		}
	}
	fifo := filepath.Join(m.Dir, "talk")
	write(t, filepath.Join(fifo, "0"), "")
	run(t, m, []line{
		{args: "run -d --name none --log-driver syslog --log-opt syslog-address=tcp://127.0.0.1:1 busybox true", code: 125, err: "failed to initialize logging driver"},
		{args: "run -d --name sy -v " + fifo + ":/t --log-driver syslog --log-opt syslog-address=tcp://127.0.0.1:5514 --log-opt tag={{.Name}} --log-opt syslog-format=rfc3164 busybox sh -c 'n=1; while :; do if [ -e /t/$n ]; then echo line $n; n=$((n+1)); fi; sleep 0.02; done'"},
	})
	// What was sent just before a kill may be sent again: a line is never skipped.
	again := 0
	expect := func(n int) {
		t.Helper()
		got := next()
		for again > 0 && strings.HasSuffix(got, fmt.Sprintf("]: line %d", again)) {
			got = next()
		}
		if !strings.HasPrefix(got, "<30>") || !strings.Contains(got, " sy[") || !strings.HasSuffix(got, fmt.Sprintf("]: line %d", n)) {
			t.Errorf("line %d: %q", n, got)
		}
	}
	write(t, filepath.Join(fifo, "1"), "")
	expect(1)
	m.Kill()
	again = 1
	write(t, filepath.Join(fifo, "2"), "") // nobody is there to send it
	m.Up()
	expect(2)
	again = 0
	write(t, filepath.Join(fifo, "3"), "")
	expect(3)
	run(t, m, []line{{args: "logs sy", out: "line 1\nline 2\nline 3\n"}, {args: "inspect -f {{.LogPath}} sy", out: "\n"}, {args: "rm -f sy"}})
}

// The API over TCP: with a certificate of Nau's own authority, and not without.
func TestDockerTLS(t *testing.T) {
	needDocker(t)
	m := harness.New(t)
	if r := m.Do("", m.Nau, "up", "-d", "--data-dir", m.DataDir, "--run-dir", m.RunDir, "--docker-host", "tcp://0.0.0.0:2375", "--docker-tls=false"); r.Code != 2 || !strings.Contains(r.Stderr, "root on this machine") {
		t.Errorf("an open door: code %d, %s", r.Code, r.Stderr)
	}
	m.Up("--docker-host", "tcp://0.0.0.0:2376")
	certs := filepath.Join(m.DataDir, "docker-tls")
	tls := " --tlsverify --tlscacert " + certs + "/ca.pem"
	run(t, m, []line{
		{args: "-H tcp://" + harness.NodeIP + ":2376" + tls + " --tlscert " + certs + "/cert.pem --tlskey " + certs + "/key.pem info -f {{.DefaultRuntime}}", out: "nau-oci\n"},
		{args: "-H tcp://127.0.0.1:2376" + tls + " --tlscert " + certs + "/cert.pem --tlskey " + certs + "/key.pem version -f {{.Server.Os}}", out: "linux\n"},
		{args: "-H tcp://" + harness.NodeIP + ":2376" + tls + " --tlscert=/none --tlskey=/none info", code: 1},
	})
	if r := m.Do("", "docker", "-H", "tcp://"+harness.NodeIP+":2376", "info"); !strings.Contains(r.Stdout+r.Stderr, "HTTP request to an HTTPS server") {
		t.Errorf("without TLS: %+v", r)
	}
}

// Other OCI runtimes by name: Debian's runc and crun run, show, exec, limit, and are taken over after a kill.
func TestDockerRuntimes(t *testing.T) {
	needDocker(t)
	var flags []string
	var names []string
	for name, path := range map[string]string{"other-runc": "/usr/sbin/runc", "other-crun": "/usr/bin/crun"} {
		if _, err := os.Stat(path); err == nil {
			flags, names = append(flags, "--runtime", name+"="+path), append(names, name)
		}
	}
	if len(names) == 0 {
		harness.Skip(t, harness.Lacking{What: "runc and crun", Remedy: harness.Package("runc")})
	}
	m := harness.New(t)
	m.Registry()
	m.Flags = append(m.Flags, flags...)
	m.Up()
	m.Must("docker", "pull", "-q", "busybox")
	var info map[string]any
	var ran []string
	if err := json.Unmarshal([]byte(m.Must("docker", "info", "-f", "{{json .Runtimes}}")), &info); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			if b, _ := os.ReadFile("/sys/fs/cgroup/unified/cgroup.controllers"); name == "other-crun" && len(bytes.TrimSpace(b)) > 0 {
				harness.Skip(t, harness.Lacking{What: "cgroup hierarchy that crun takes", Remedy: "it refuses hosts that share controllers between versions 1 and 2, as this one does"})
			}
			m := m.In(t)
			ran = append(ran, name)
			if info[name] == nil {
				t.Errorf("not in /info: %v", info)
			}
			run(t, m, []line{
				{args: "run --rm --runtime " + name + " busybox sh -c 'echo out; exit 7'", code: 7, out: "out\n"},
				{args: "run -d --name " + name + " --runtime " + name + " -m 64m busybox sleep 1000"},
				{args: "inspect -f {{.HostConfig.Runtime}} " + name, out: name + "\n"},
				{args: "exec " + name + " cat " + limitFile("memory/memory.limit_in_bytes", "memory.max"), out: "67108864\n"},
				{args: "exec -w /tmp -e A=b " + name + " sh -c 'pwd; echo $A; exit 3'", code: 3, out: "/tmp\nb\n"},
				{args: "stats --no-stream --format {{.MemUsage}} " + name, out: "64MiB"},
				{args: "update --pids-limit 33 " + name, out: name},
				{args: "exec " + name + " cat " + limitFile("pids/pids.max", "pids.max"), out: "33\n"},
				{args: "pause " + name}, {args: "unpause " + name},
				{args: "run --name oom-" + name + " --runtime " + name + " -m 8m busybox sh -c 'x=a; while :; do x=$x$x; done'", code: 137},
				{args: "inspect -f {{.State.OOMKilled}} oom-" + name, out: "true\n"},
			})
		})
	}
	// A pod asks for one by its RuntimeClass.
	for _, name := range ran {
		path, err := filepath.Abs(filepath.Join("testdata", "runtimeclass-"+strings.TrimPrefix(name, "other-")+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		m.Kubectl("apply", "-f", path)
		m.Kubectl("wait", "--for=condition=Ready", "pod/"+name, "--timeout=60s")
		if got := m.Kubectl("exec", name, "--", "echo", "in the pod"); got != "in the pod\n" {
			t.Errorf("%q", got)
		}
	}
	m.Kill()
	m.Up()
	for _, name := range ran {
		run(t, m, []line{{args: "exec " + name + " echo again", out: "again\n"}, {args: "stop -t 0 " + name}, {args: "inspect -f {{.State.ExitCode}} " + name, out: "137\n"}, {args: "start " + name}, {args: "rm -f " + name + " oom-" + name}})
	}
}

// A working directory or an exec that names an open descriptor of the runtime leads nowhere outside the container (CVE-2024-21626).
func TestDockerLeakedDescriptors(t *testing.T) {
	needDocker(t)
	m := harness.New(t)
	m.Registry()
	m.Up()
	write(t, filepath.Join(m.Dir, "secret"), "of the host")
	up := strings.Repeat("../", 12) + strings.TrimPrefix(m.Dir, "/") + "/secret"
	m.Must("docker", "run", "-d", "--name", "victim", "busybox", "sleep", "1000")
	for n := range 16 {
		dir := fmt.Sprintf("/proc/self/fd/%d", n)
		for _, args := range [][]string{{"run", "--rm", "-w", dir, "busybox", "cat", up}, {"exec", "-w", dir, "victim", "cat", up}} {
			if r := m.Do("", "docker", args...); strings.Contains(r.Stdout+r.Stderr, "of the host") {
				t.Errorf("docker %s reads the host's file", strings.Join(args, " "))
			}
		}
	}
	// What runs later in a container is bound as its first process is.
	status := "grep -E 'NoNewPrivs|Seccomp:|CapBnd' /proc/self/status"
	run(t, m, []line{
		{args: "run -d --name bound --cap-drop ALL --security-opt no-new-privileges busybox sleep 1000"},
	})
	for _, args := range [][]string{{"exec", "bound", "sh", "-c", status}, {"exec", "-u", "1000", "bound", "sh", "-c", status}} {
		got := strings.Join(strings.Fields(m.Must("docker", args...)), " ")
		if got != "CapBnd: 0000000000000000 NoNewPrivs: 1 Seccomp: 2" {
			t.Errorf("docker %s: %s", strings.Join(args, " "), got)
		}
	}
}
