package build

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
)

// Text writes events as Docker's classic builder words them: "Step 1/5 : FROM x", " ---> 0123456789ab". Stages run at the same time; here they
// come one after the other: the first that has not ended is written as it goes, the others wait their turn. Err receives what commands write to
// their standard error; nil = Out.
type Text struct {
	Out, Err io.Writer

	mu     sync.Mutex
	order  []int           // stages to come, the first is being written
	wait   map[int][]Event // of the others
	ended  map[int]bool
	partly bool // a command's last line has no end yet
}

// Event writes one event, or keeps it for later.
func (t *Text) Event(e Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e.Kind == BuildBegins {
		t.order, t.wait, t.ended = slices.Clone(e.Stages), map[int][]Event{}, map[int]bool{}
		return
	}
	if e.Kind == BuildEnds {
		for len(t.order) > 0 { // stages that ended for nobody
			t.next()
		}
	}
	if e.Stage < 0 || len(t.order) > 0 && e.Stage == t.order[0] || !slices.Contains(t.order, e.Stage) {
		t.write(e)
	} else {
		t.wait[e.Stage] = append(t.wait[e.Stage], e)
	}
	if e.Kind == StageEnds {
		t.ended[e.Stage] = true
	}
	for len(t.order) > 0 && t.ended[t.order[0]] {
		t.next()
	}
}

// next moves on to the next stage and writes what waited of it.
func (t *Text) next() {
	if t.order = t.order[1:]; len(t.order) == 0 {
		return
	}
	for _, e := range t.wait[t.order[0]] {
		t.write(e)
	}
	delete(t.wait, t.order[0])
}

func (t *Text) write(e Event) {
	if e.Kind != StepOutput && t.partly {
		t.print("\n")
		t.partly = false
	}
	switch e.Kind {
	case StepBegins:
		if e.Number == 0 {
			t.print("%s\n", e.Text)
			return
		}
		t.print("Step %d/%d : %s\n", e.Number, e.Total, e.Text)
	case StepRuns:
		t.print(" ---> Running in %s\n", e.ID[:min(12, len(e.ID))])
	case StepCleared:
		t.print(" ---> Removed intermediate container %s\n", e.ID[:min(12, len(e.ID))])
	case StepOutput:
		w := t.Out
		if e.Stderr && t.Err != nil {
			w = t.Err
		}
		_, _ = w.Write(e.Data)
		t.partly = len(e.Data) > 0 && e.Data[len(e.Data)-1] != '\n'
	case StepPulls:
		if e.Pull.ID == "" {
			t.print("%s\n", e.Pull.Status)
		}
	case StepEnds:
		if e.Err != nil {
			return
		}
		if e.Cached {
			t.print(" ---> Using cache\n")
		}
		if e.ID != "" {
			t.print(" ---> %s\n", shortID(digest.Digest(e.ID)))
		} else if e.Base == Scratch {
			t.print(" ---> \n")
		}
	case Triggers:
		if e.Number == 1 {
			t.print("# Executing 1 build trigger\n")
		} else {
			t.print("# Executing %d build triggers\n", e.Number)
		}
	case Noted:
		t.print("%s\n", e.Text)
	case Warning, Unused:
		t.print("[Warning] %s\n", strings.TrimSpace(e.Text))
	case BuildEnds:
		t.print("Successfully built %s\n", shortID(digest.Digest(e.ID)))
	case Tagged:
		t.print("Successfully tagged %s\n", e.Text)
	}
}

func (t *Text) print(format string, args ...any) { _, _ = fmt.Fprintf(t.Out, format, args...) }
