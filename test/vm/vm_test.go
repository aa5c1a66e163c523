//go:build vm

package vm

import (
	"strings"
	"testing"
)

// Limits, freezing, statistics, devices, resizing and clean-up on nothing but cgroup version 2.
func TestCgroup2(t *testing.T) {
	if code := build(t).boot(t, "TestCgroup2", nil); code != 0 {
		t.Fatalf("the tests inside ended with %d", code)
	}
}

// What was acknowledged is there after the machine was switched off in the same moment, with all that its disk had not been told.
func TestPowerLoss(t *testing.T) {
	v := build(t)
	pulled := false
	code := v.boot(t, "TestPowerBefore", func(line string) bool {
		pulled = pulled || strings.HasPrefix(line, "acknowledged")
		return pulled
	})
	if !pulled {
		t.Fatalf("the first half ended with %d", code)
	}
	if code := v.boot(t, "TestPowerAfter", nil); code != 0 {
		t.Fatalf("the second half ended with %d", code)
	}
}
