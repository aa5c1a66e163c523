// Package vm boots a virtual machine with a kernel of Debian's packages and runs tests inside, for what no machine at hand has: a pure cgroup version 2 hierarchy,
// a loss of power, and all that OCI's validation programs ask for (every capability, all controllers of version 1, AppArmor, a disk 8:0). The machine is emulated in software where the host offers nothing better, has a disk with the program, the stock clients and
// the test binary of package vm/guest, and no network.
//
// It needs Debian's packages qemu-system-x86, linux-image-cloud-amd64, busybox-static and e2fsprogs; where they lack the tests skip and name what lacks.
// The tests are behind the build tag vm: `make vm`, `make vm-oci`.
package vm
