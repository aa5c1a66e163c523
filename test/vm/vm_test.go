//go:build vm

package vm

import "testing"

// Limits, freezing, statistics, devices, resizing and clean-up on nothing but cgroup version 2.
func TestCgroup2(t *testing.T) {
	if code := build(t).boot(t, "TestCgroup2", nil); code != 0 {
		t.Fatalf("the tests inside ended with %d", code)
	}
}
