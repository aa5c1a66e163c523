package oci

import (
	"maps"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"

	"nau/internal/kernel"
	"nau/internal/oci/capability"
)

// Features tells what this runtime can do, in the form of the specification's features.md.
func Features() *features.Features {
	yes, no := true, false
	can := func(p *kernel.Probe) *bool {
		b := p.Can()
		return &b
	}
	return &features.Features{
		OCIVersionMin: "1.0.0",
		OCIVersionMax: SpecVersion,
		Hooks:         []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"},
		MountOptions: []string{"async", "atime", "bind", "defaults", "dev", "diratime", "dirsync", "exec", "idmap", "lazytime", "mand", "noatime", "nodev",
			"nodiratime", "noexec", "nostrictatime", "nosuid", "nosymfollow", "private", "ratime", "rbind", "rdev", "rdiratime", "relatime", "rexec", "ridmap",
			"rnoatime", "rnodev", "rnodiratime", "rnoexec", "rnorelatime", "rnostrictatime", "rnosuid", "rnosymfollow", "ro", "rprivate", "rrelatime", "rro",
			"rrw", "rshared", "rslave", "rstrictatime", "rsuid", "rsymfollow", "runbindable", "rw", "shared", "slave", "strictatime", "suid", "symfollow",
			"sync", "tmpcopyup", "unbindable"},
		Linux: &features.Linux{
			Namespaces: words[specs.LinuxNamespaceType](specs.CgroupNamespace, specs.IPCNamespace, specs.MountNamespace, specs.NetworkNamespace,
				specs.PIDNamespace, specs.TimeNamespace, specs.UserNamespace, specs.UTSNamespace),
			Capabilities: capability.All(),
			Cgroup:       &features.Cgroup{V1: &yes, V2: &yes, Systemd: &no, SystemdUser: &no, Rdma: &yes},
			Seccomp: &features.Seccomp{
				Enabled: can(kernel.Seccomp),
				Actions: words[specs.LinuxSeccompAction](specs.ActAllow, specs.ActErrno, specs.ActKill, specs.ActKillProcess, specs.ActKillThread, specs.ActLog, specs.ActTrace, specs.ActTrap),
				Operators: words[specs.LinuxSeccompOperator](specs.OpEqualTo, specs.OpGreaterEqual, specs.OpGreaterThan, specs.OpLessEqual, specs.OpLessThan,
					specs.OpMaskedEqual, specs.OpNotEqual),
				Archs:          words[specs.Arch](specs.ArchAARCH64, specs.ArchARM, specs.ArchX32, specs.ArchX86, specs.ArchX86_64),
				KnownFlags:     words[specs.LinuxSeccompFlag]("SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_LOG"),
				SupportedFlags: words[specs.LinuxSeccompFlag]("SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_LOG"),
			},
			Apparmor:        &features.Apparmor{Enabled: can(kernel.AppArmor)},
			Selinux:         &features.Selinux{Enabled: can(kernel.SELinux)},
			IntelRdt:        &features.IntelRdt{Enabled: &no},
			NetDevices:      &features.NetDevices{Enabled: &yes},
			MemoryPolicy:    &features.MemoryPolicy{Modes: keys(memoryModes), Flags: keys(memoryFlags)},
			MountExtensions: &features.MountExtensions{IDMap: &features.IDMap{Enabled: &yes}},
		},
	}
}

// keys lists a table's words in the order of the alphabet.
func keys[T ~string, V any](table map[T]V) []string {
	return words[T](slices.Sorted(maps.Keys(table))...)
}

func words[T ~string](list ...T) []string {
	w := make([]string, len(list))
	for i, v := range list {
		w[i] = string(v)
	}
	return w
}
