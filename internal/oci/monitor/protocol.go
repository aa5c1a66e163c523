package monitor

import (
	"encoding/json"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Op names a request.
type Op string

// The requests. A connection carries one request and its answer (Events: answers until closed; WaitExec: an answer when
// the process has ended).
const (
	OpPing       Op = "ping"
	OpCreate     Op = "create"
	OpStart      Op = "start"
	OpKill       Op = "kill"
	OpPause      Op = "pause"
	OpResume     Op = "resume"
	OpUpdate     Op = "update"
	OpDelete     Op = "delete"
	OpState      Op = "state"
	OpList       Op = "list"
	OpExec       Op = "exec"
	OpWait       Op = "wait"
	OpWaitExec   Op = "wait-exec"
	OpResizeExec Op = "resize-exec"
	OpKillExec   Op = "kill-exec"
	OpAttach     Op = "attach"
	OpResize     Op = "resize"
	OpCloseStdin Op = "close-stdin"
	OpReopenLog  Op = "reopen-log"
	OpLogPath    Op = "log-path"
	OpEvents     Op = "events"
	OpStats      Op = "stats"
	OpShutdown   Op = "shutdown"
)

// Request is the first frame on a connection. Only the fields that the op reads are set.
type Request struct {
	Op        Op                    `json:"op"`
	ID        string                `json:"id,omitempty"`
	ExecID    string                `json:"execId,omitempty"`
	Create    *CreateRequest        `json:"create,omitempty"`
	Exec      *ExecRequest          `json:"exec,omitempty"`
	Attach    *AttachOptions        `json:"attach,omitempty"`
	Resources *specs.LinuxResources `json:"resources,omitempty"`
	Signal    int                   `json:"signal,omitempty"`
	All       bool                  `json:"all,omitempty"`
	Force     bool                  `json:"force,omitempty"`
	Size      [2]uint16             `json:"size,omitempty"`
	Path      string                `json:"path,omitempty"`
	Since     uint64                `json:"since,omitempty"`
	Streams   []string              `json:"streams,omitempty"` // exec: which of "stdin", "stdout", "stderr" the descriptors are, in order
}

// Response answers a request. Error is empty on success; Kind is the text of one of the Err values or empty.
type Response struct {
	Error  string          `json:"error,omitempty"`
	Kind   string          `json:"kind,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
}

// MaxFrame bounds a frame's body, in bytes. A config with thousands of mounts is far below it.
const MaxFrame = 8 << 20

// MaxFiles bounds the descriptors that travel with one frame.
const MaxFiles = 8
