package main

import (
	"os"
	"os/signal"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func ignored(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), "SigIgn:")
	mask, _, _ := strings.Cut(rest, "\n")
	return strings.Trim(mask, "0 \t")
}

func TestNothingIsIgnoredAfterHeeding(t *testing.T) {
	signal.Ignore(unix.SIGUSR2)
	defer signal.Reset(unix.SIGUSR2)
	if ignored(t) == "" {
		t.Fatal("the test ignores nothing")
	}
	if err := heedSignals(); err != nil {
		t.Fatal(err)
	}
	if left := ignored(t); left != "" {
		t.Fatalf("still ignored: %s", left)
	}
}
