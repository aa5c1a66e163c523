package cluster

import "time"

// Phase is a step of the start that has been reached, and when, counted from
// the process's start.
type Phase struct {
	Name  string
	After time.Duration
}

// The phases, in the order in which they are usually reached.
const (
	PhaseStore  = "store open"
	PhaseEngine = "engine open"
	PhaseAPI    = "API answers"
	PhaseReady  = "node Ready"
)
