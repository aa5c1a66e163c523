// Package monitor is the client of the container monitor and the vocabulary both ends share.
//
// One monitor runs per instance (`nau-oci monitor`). It is the parent of every container, holds their standard streams,
// writes their logs, keeps their exit codes and outlives the program that asked for them. This package speaks to it over a
// unix socket; it starts one where none answers. It is not the runtime: it links none of it, so that the engine, which
// imports it, stays free of the runtime's code. The server is in the package server beside it.
//
// A container's life, as the monitor tells it:
//
//	Create → created → Start → running ⇄ paused → stopped → Delete
//
// The engine may import it, and the server; nothing else does.
package monitor

import (
	"errors"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Kinds of refusal. Every error of the client wraps at most one of them; test with errors.Is.
var (
	ErrNotFound    = errors.New("not found")
	ErrExists      = errors.New("exists already")
	ErrState       = errors.New("not possible in this state")
	ErrInvalid     = errors.New("invalid")
	ErrUnsupported = errors.New("not supported here")
	// ErrUnavailable: no monitor answers on the socket. Start begins a new one, which adopts what its predecessor left.
	ErrUnavailable = errors.New("monitor does not answer")
)

// Status of a container.
type Status string

// The five statuses of the OCI runtime specification, less "creating" (Create returns when it is over), and paused.
const (
	Created Status = "created"
	Running Status = "running"
	Paused  Status = "paused"
	Stopped Status = "stopped"
)

// UnknownExit is the exit code of a process that ended while no monitor ran and whose code the kernel no longer tells.
const UnknownExit = 255

// LogConfig says where a container's output is kept.
type LogConfig struct {
	Path     string `json:"path,omitempty"`     // absolute; its folder is made
	Format   string `json:"format,omitempty"`   // "cri", "docker" (json-file) or "none"; "" means none
	MaxSize  int64  `json:"maxSize,omitempty"`  // bytes at which the file is rotated; 0: never
	MaxFiles int    `json:"maxFiles,omitempty"` // files kept with the current one; 0 or 1: only the current one
	Compress bool   `json:"compress,omitempty"` // rotated files become .gz

	Attrs map[string]string `json:"attrs,omitempty"` // in every line of format "docker"
}

// CreateRequest asks for a container. Bundle is a folder with config.json as the OCI runtime specification describes it.
type CreateRequest struct {
	ID        string    `json:"id"`
	Bundle    string    `json:"bundle"`
	Log       LogConfig `json:"log"`
	Terminal  bool      `json:"terminal,omitempty"`
	OpenStdin bool      `json:"openStdin,omitempty"` // else standard input is /dev/null
	StdinOnce bool      `json:"stdinOnce,omitempty"` // close standard input, if it is no terminal, when the first attached stdin ends
	Size      [2]uint16 `json:"size,omitempty"`      // terminal: columns, rows; zero: unset
	Runtime   string    `json:"runtime,omitempty"`   // "": built in; else an absolute path of an OCI runtime
}

// ExecRequest asks for one more process in a running container. The files are passed to the monitor and become the
// process's own descriptors; nil means /dev/null. With Terminal the monitor opens a terminal in the container and copies
// Stdin to it and it to Stdout.
type ExecRequest struct {
	ID       string         `json:"id"`
	ExecID   string         `json:"execId"`
	Process  *specs.Process `json:"process"`
	Terminal bool           `json:"terminal,omitempty"`
	Size     [2]uint16      `json:"size,omitempty"`

	Stdin, Stdout, Stderr File `json:"-"`
}

// File is what can be passed as a descriptor: an *os.File is one.
type File interface{ Fd() uintptr }

// ExitStatus is how a process ended. Code is 128+signal when a signal ended it.
type ExitStatus struct {
	Code      int       `json:"code"`
	Signal    int       `json:"signal,omitempty"`
	OOMKilled bool      `json:"oomKilled,omitempty"`
	Finished  time.Time `json:"finished"`
}

// State of a container. Times are zero until what they tell has happened.
type State struct {
	ID        string    `json:"id"`
	Pid       int       `json:"pid,omitempty"`
	Status    Status    `json:"status"`
	Bundle    string    `json:"bundle"`
	Created   time.Time `json:"created"`
	Started   time.Time `json:"started"`
	Finished  time.Time `json:"finished"`
	ExitCode  int       `json:"exitCode"`
	Signal    int       `json:"signal,omitempty"`
	OOMKilled bool      `json:"oomKilled,omitempty"`
	LogPath   string    `json:"logPath,omitempty"`
	Execs     []string  `json:"execs,omitempty"` // processes of Exec that are still running
}

// EventType names what happened.
type EventType string

// The events of the journal.
const (
	EventCreated    EventType = "created"
	EventStarted    EventType = "started"
	EventExited     EventType = "exited"
	EventOOM        EventType = "oom"
	EventExecExited EventType = "exec-exited"
	EventPaused     EventType = "paused"
	EventResumed    EventType = "resumed"
	EventDeleted    EventType = "deleted"
)

// Event is one line of the journal. Seq grows by one, over restarts of the monitor too.
type Event struct {
	Seq       uint64    `json:"seq"`
	Time      time.Time `json:"time"`
	Type      EventType `json:"type"`
	ID        string    `json:"id"`
	ExecID    string    `json:"execId,omitempty"`
	Pid       int       `json:"pid,omitempty"`
	ExitCode  int       `json:"exitCode,omitempty"`
	OOMKilled bool      `json:"oomKilled,omitempty"`
}

// AttachOptions says which streams of a container are wanted. A container with a terminal has one stream both ways:
// Stdout carries what the terminal shows.
type AttachOptions struct {
	Stdin  bool `json:"stdin,omitempty"`
	Stdout bool `json:"stdout,omitempty"`
	Stderr bool `json:"stderr,omitempty"`
}
