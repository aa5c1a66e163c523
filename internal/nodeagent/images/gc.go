package images

import (
	"slices"
	"time"
)

// Candidate is an image on the node, as garbage collection sees it.
type Candidate struct {
	ID             string
	Size           int64
	Pinned, InUse  bool
	LastUsed, Seen time.Time
}

// minAge spares images that have just come.
const minAge = 2 * time.Minute

// Victims chooses images to remove when used of capacity bytes passes high percent, until low percent is reached: the
// longest unused first.
func Victims(list []Candidate, used, capacity int64, high, low int, now time.Time) (ids []string) {
	if capacity <= 0 || high >= 100 || used*100 < capacity*int64(high) {
		return nil
	}
	free := used - capacity*int64(low)/100
	slices.SortFunc(list, func(a, b Candidate) int {
		if c := a.LastUsed.Compare(b.LastUsed); c != 0 {
			return c
		}
		return a.Seen.Compare(b.Seen)
	})
	for _, c := range list {
		if free <= 0 {
			break
		}
		if c.Pinned || c.InUse || now.Sub(c.Seen) < minAge {
			continue
		}
		ids = append(ids, c.ID)
		free -= c.Size
	}
	return ids
}
