package hold

import "testing"

func TestSweepSparesWhatIsOrWasHeld(t *testing.T) {
	var s Set[string]
	held, twice := s.Lease(), s.Lease()
	held.Hold("held", "both")
	twice.Hold("both")
	before := s.Lease()
	before.Hold("before")
	before.Release()
	before.Release()
	before.Hold("late") // a released lease holds nothing
	freed := map[string]bool{}
	err := s.Sweep(func(free func(string, func()) bool) error {
		during := s.Lease()
		during.Hold("during")
		during.Release()
		twice.Release()
		for _, k := range []string{"held", "both", "before", "during", "late", "free"} {
			free(k, func() { freed[k] = true })
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for k, want := range map[string]bool{"held": false, "both": false, "before": true, "during": false, "late": true, "free": true} {
		if freed[k] != want {
			t.Errorf("%s was freed: %v", k, freed[k])
		}
	}
	held.Release()
	s.Sweep(func(free func(string, func()) bool) error {
		if !free("held", func() {}) || !free("during", func() {}) {
			t.Error("a later sweep still spares what nobody holds")
		}
		return nil
	})
}
