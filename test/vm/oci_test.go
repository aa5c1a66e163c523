//go:build vm

package vm

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"nau/test/e2e/harness"
)

// profile is what linux_process_apparmor_profile wants to be loaded; what it allows is no matter.
const profile = `profile acme_secure_profile flags=(attach_disconnected,mediate_deleted) {
  file, capability, network, mount, umount, pivot_root, signal, ptrace, unix,
}
`

// onV1 are the programs that look for a container's cgroups where version 1 has them.
const onV1 = "^linux_cgroups_|^delete_.*resources$"

// hierarchies are the ways in which the machine may have its cgroups, as shell lines.
var hierarchies = map[string]string{
	"v1": `mount -t tmpfs cgroup /sys/fs/cgroup
for c in $(awk '!/^#/ && $4 == 1 { print $1 }' /proc/cgroups) name=systemd; do
  mkdir /sys/fs/cgroup/${c#name=}
  mount -t cgroup -o $(case $c in name=*) echo none,;; esac)$c cgroup /sys/fs/cgroup/${c#name=} || echo "no cgroup controller $c"
done
`,
	"v2": "mount -t cgroup2 cgroup2 /sys/fs/cgroup\nskip='-skip " + onV1 + "'\n",
}

// validate runs OCI's validation programs against nau-oci and the runtimes of Debian in one machine that has what the programs ask for: every
// capability, a disk 8:0, AppArmor with a profile, two sizes of huge pages, two network devices.
const validate = `echo bfq > /sys/block/sda/queue/scheduler
mount -t securityfs securityfs /sys/kernel/security
apparmor_parser -r -K /src/profile
./oci -programs programs -rootfs rootfs-amd64.tar.gz -allowed 5m ${run:+-only $run} $skip ./nau-oci runc crun
`

// never are the programs that no runtime can pass on this kernel, or that want what newer versions of the specification do not; docs/oci-validation.md
// says of each why.
var never = []string{"delete", "hooks", "hooks_stdin", "linux_cgroups_blkio", "linux_cgroups_memory", "linux_cgroups_relative_blkio", "linux_cgroups_relative_memory",
	"misc_props", "pidfile", "prestart", "process_capabilities_fail", "process_rlimits", "start"}

// TestOCIValidation runs the validation programs of OCI's runtime specification on each cgroup hierarchy and compares what did not pass with nau-oci
// with the lists of those that cannot.
func TestOCIValidation(t *testing.T) {
	found, err := find()
	runc, err2 := program("runc", "runc")
	crun, err3 := program("crun", "crun")
	parser, err4 := program("apparmor_parser", "apparmor")
	unshare, err5 := program("unshare", "util-linux")
	tar, err6 := program("tar", "tar") // busybox's does not know what is compressed
	lacks(t, err, err2, err3, err4, err5, err6)
	dir := harness.Client(t, "oci-validation")
	for version, mounts := range hierarchies {
		t.Run(version, func(t *testing.T) {
			text := filepath.Join(t.TempDir(), "profile")
			must(t, os.WriteFile(text, []byte(profile), 0o644))
			c := contents{
				files: map[string]string{
					"src/nau-oci":             found.compile(t, "nau-oci", "build", "./cmd/nau-oci"),
					"src/oci":                 found.compile(t, "oci", "build", "./test/oci"),
					"src/rootfs-amd64.tar.gz": filepath.Join(dir, "rootfs-amd64.tar.gz"),
					"src/profile":             text,
				},
				run: mounts + validate,
			}
			programs, err := filepath.Glob(filepath.Join(dir, "programs", "*"))
			must(t, err)
			for _, path := range programs {
				c.files["src/programs/"+filepath.Base(path)] = path
			}
			for _, path := range []string{runc, crun, parser, unshare, tar} {
				c.files["bin/"+filepath.Base(path)] = path
				for _, library := range libraries(t, path) {
					c.files[library] = library
				}
			}
			v := build(t, found, c)
			v.allowed = 45 * time.Minute
			v.drives = []string{"-device", "virtio-scsi-pci", "-drive", "file=" + v.scratch(t) + ",if=none,id=scratch,format=raw", "-device", "scsi-hd,drive=scratch"}
			got := map[string]string{}
			only := os.Getenv("PROGRAM")
			wanted, err := regexp.Compile("^(?:" + only + ")$")
			must(t, err)
			code := v.boot(t, only, func(line string) bool {
				if cells := strings.Split(line, " | "); len(cells) == 4 {
					got[strings.TrimPrefix(cells[0], "| ")] = cells[1]
				}
				return false
			})
			if code != 0 {
				t.Fatalf("the validation ended with %d", code)
			}
			for _, path := range programs {
				name := filepath.Base(path)
				if name == "runtimetest" || only != "" && !wanted.MatchString(name) || version == "v2" && regexp.MustCompile(onV1).MatchString(name) {
					continue
				}
				cell, ran := got[name]
				switch bad, known := strings.Contains(cell, "**"), slices.Contains(never, name); {
				case !ran:
					t.Errorf("%s has not run", name)
				case bad && !known:
					t.Errorf("%s: %s", name, cell)
				case !bad && known:
					t.Errorf("%s passes: %s; the list of those that cannot has it", name, cell)
				}
			}
		})
	}
}

// scratch is a small disk with nothing on it.
func (v *vm) scratch(t *testing.T) string {
	t.Helper()
	path := filepath.Join(v.dir, "scratch")
	must(t, os.WriteFile(path, nil, 0o644))
	must(t, os.Truncate(path, 64<<20))
	return path
}

// libraries are the files that the dynamic linker loads for a program; none for a static one.
func libraries(t *testing.T, program string) []string {
	t.Helper()
	out, err := exec.Command("ldd", program).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && bytes.Contains(append(out, exit.Stderr...), []byte("not a dynamic executable")) {
		return nil
	}
	must(t, err)
	var paths []string
	for _, found := range regexp.MustCompile(`(?m)(/\S+) \(0x`).FindAllSubmatch(out, -1) {
		paths = append(paths, string(found[1]))
	}
	return paths
}
