package flowcontrol

import (
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/utils/ptr"
)

// DefaultFlowSchema: schemas are tried in the order of their precedence, from low numbers to high.
func DefaultFlowSchema(s *flowcontrolv1.FlowSchema) {
	if s.Spec.MatchingPrecedence == 0 {
		s.Spec.MatchingPrecedence = 1000
	}
}

// DefaultPriorityLevel fills shares and queues.
func DefaultPriorityLevel(c *flowcontrolv1.PriorityLevelConfiguration) {
	if e := c.Spec.Exempt; e != nil {
		or(&e.NominalConcurrencyShares, 0)
		or(&e.LendablePercent, 0)
	} else if c.Spec.Type == flowcontrolv1.PriorityLevelEnablementExempt {
		c.Spec.Exempt = &flowcontrolv1.ExemptPriorityLevelConfiguration{NominalConcurrencyShares: ptr.To(int32(0)), LendablePercent: ptr.To(int32(0))}
	}
	l := c.Spec.Limited
	if l == nil {
		return
	}
	or(&l.NominalConcurrencyShares, 30)
	or(&l.LendablePercent, 0)
	if q := l.LimitResponse.Queuing; q != nil {
		for _, f := range []struct {
			field *int32
			value int32
		}{{&q.Queues, 64}, {&q.HandSize, 8}, {&q.QueueLengthLimit, 50}} {
			if *f.field == 0 {
				*f.field = f.value
			}
		}
	}
}

func or[T any](p **T, value T) {
	if *p == nil {
		*p = &value
	}
}
