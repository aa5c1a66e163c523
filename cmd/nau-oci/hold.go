package main

import (
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// hold is process 1 of a PID namespace that several containers share: it reaps what they leave and ends when it is told to.
func hold(_ *global, _ []string) error {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, unix.SIGCHLD, unix.SIGTERM, unix.SIGINT)
	for s := range signals {
		if s != unix.SIGCHLD {
			return nil
		}
		for {
			if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
	}
	return nil
}
