package ranking

// tournament is a complete binary tree over slots whose inner nodes hold the
// slot of the better child: the best of n is read at the root, and a changed
// score replays log n games. Scores below zero are out of the race; equal
// scores go to the lower slot.
type tournament struct {
	width  int     // leaves, a power of two
	scores []int64 // per leaf
	winner []int32 // index 1 is the root; leaf i is node width+i
}

func (t *tournament) reset(slots int) {
	t.width = 1
	for t.width < slots {
		t.width *= 2
	}
	t.scores = make([]int64, t.width)
	for i := range t.scores {
		t.scores[i] = -1
	}
	t.winner = make([]int32, 2*t.width)
	for i := range t.width {
		t.winner[t.width+i] = int32(i)
	}
}

func (t *tournament) build() {
	for i := t.width - 1; i >= 1; i-- {
		t.play(i)
	}
}

func (t *tournament) play(i int) {
	a, b := t.winner[2*i], t.winner[2*i+1]
	if t.scores[b] > t.scores[a] {
		a = b
	}
	t.winner[i] = a
}

func (t *tournament) set(slot int, score int64) {
	if t.scores[slot] == score {
		return
	}
	t.scores[slot] = score
	for i := (t.width + slot) / 2; i >= 1; i /= 2 {
		t.play(i)
	}
}

func (t *tournament) best() (slot int, score int64) {
	if t.width == 0 {
		return 0, -1
	}
	if t.width == 1 {
		return 0, t.scores[0]
	}
	slot = int(t.winner[1])
	return slot, t.scores[slot]
}
