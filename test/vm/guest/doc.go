// Package guest is what runs inside the virtual machine of package vm: tests that drive nau with the stock clients, as those of package e2e do, on a
// kernel with nothing but cgroup version 2. They are behind the build tag vm, and make no sense outside.
package guest
