package container

import "nau/internal/oci/monitor"

// verdict is what the monitor's word means for a record.
type verdict string

const (
	fine   verdict = "fine"
	adopt  verdict = "adopt"  // it runs, and the record did not know
	ended  verdict = "ended"  // it has ended while nobody looked
	lost   verdict = "lost"   // the monitor does not know it: a reboot, or its state was taken away
	undone verdict = "undone" // a start was cut off before the program ran
)

// decide compares a record's state with the monitor's.
func decide(state State, st monitor.Status, known bool) verdict {
	runs := state == Running || state == Paused
	switch {
	case !known && runs:
		return lost
	case !known:
		return fine
	case st == monitor.Stopped:
		return ended
	case st == monitor.Created:
		if runs {
			return lost
		}
		return undone
	case runs:
		return fine
	}
	return adopt
}
