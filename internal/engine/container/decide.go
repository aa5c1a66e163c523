package container

import "nau/internal/oci/monitor"

// verdict is what the monitor's word means for a record.
type verdict string

const (
	fine   verdict = "fine"
	adopt  verdict = "adopt"  // it runs, and the record did not know
	ended  verdict = "ended"  // it has ended while nobody looked
	lost   verdict = "lost"   // the monitor does not know it: a reboot, or its state was taken away
	undone verdict = "undone" // a start was cut off before the program ran, or failed for all that its caller knows
)

// decide compares a record with the monitor's word.
func decide(r *Record, st monitor.Status, known bool) verdict {
	runs := r.State == Running || r.State == Paused
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
	case r.State == Exited && r.Error != "":
		return undone // somebody was told that it did not start
	}
	return adopt
}
