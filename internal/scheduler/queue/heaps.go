package queue

// readyHeap orders by priority, then by age.
type readyHeap []*Item

func (h readyHeap) Len() int { return len(h) }
func (h readyHeap) Less(i, j int) bool {
	if h[i].Pod.Priority != h[j].Pod.Priority {
		return h[i].Pod.Priority > h[j].Pod.Priority
	}
	return h[i].Added.Before(h[j].Added)
}
func (h readyHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i]; h[i].index, h[j].index = i, j }
func (h *readyHeap) Push(x any)   { item := x.(*Item); item.index = len(*h); *h = append(*h, item) }
func (h *readyHeap) Pop() any {
	last := len(*h) - 1
	item := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return item
}

// backoffHeap orders by the end of the back-off.
type backoffHeap []*Item

func (h backoffHeap) Len() int           { return len(h) }
func (h backoffHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h backoffHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i]; h[i].index, h[j].index = i, j }
func (h *backoffHeap) Push(x any)        { item := x.(*Item); item.index = len(*h); *h = append(*h, item) }
func (h *backoffHeap) Pop() any {
	last := len(*h) - 1
	item := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return item
}
