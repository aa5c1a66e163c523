package flowcontrol

import (
	"fmt"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/utils/ptr"

	"nau/internal/api"
	"nau/internal/api/column"
)

func schemaColumns() []api.Column {
	doc := flowcontrolv1.FlowSchemaSpec{}.SwaggerDoc()
	return []api.Column{
		column.Name(),
		column.Text("PriorityLevel", doc["priorityLevelConfiguration"], func(s *flowcontrolv1.FlowSchema) string { return s.Spec.PriorityLevelConfiguration.Name }),
		column.Number("MatchingPrecedence", doc["matchingPrecedence"], func(s *flowcontrolv1.FlowSchema) int32 { return s.Spec.MatchingPrecedence }),
		column.Text("DistinguisherMethod", doc["distinguisherMethod"], func(s *flowcontrolv1.FlowSchema) string {
			if s.Spec.DistinguisherMethod == nil {
				return column.None
			}
			return string(s.Spec.DistinguisherMethod.Type)
		}),
		column.Age(),
		column.Text("MissingPL", "references a broken or non-existent PriorityLevelConfiguration", func(s *flowcontrolv1.FlowSchema) string {
			for _, c := range s.Status.Conditions {
				if c.Type == flowcontrolv1.FlowSchemaConditionDangling {
					return string(c.Status)
				}
			}
			return "?"
		}),
	}
}

func levelColumns() []api.Column {
	queuing := func(f func(*flowcontrolv1.QueuingConfiguration) int32) func(*flowcontrolv1.PriorityLevelConfiguration) string {
		return func(c *flowcontrolv1.PriorityLevelConfiguration) string {
			if c.Spec.Limited == nil || c.Spec.Limited.LimitResponse.Queuing == nil {
				return column.None
			}
			return fmt.Sprint(f(c.Spec.Limited.LimitResponse.Queuing))
		}
	}
	doc := flowcontrolv1.QueuingConfiguration{}.SwaggerDoc()
	return []api.Column{
		column.Name(),
		column.Text("Type", flowcontrolv1.PriorityLevelConfigurationSpec{}.SwaggerDoc()["type"], func(c *flowcontrolv1.PriorityLevelConfiguration) string { return string(c.Spec.Type) }),
		column.Text("NominalConcurrencyShares", flowcontrolv1.LimitedPriorityLevelConfiguration{}.SwaggerDoc()["nominalConcurrencyShares"], func(c *flowcontrolv1.PriorityLevelConfiguration) string {
			switch {
			case c.Spec.Limited != nil:
				return fmt.Sprint(ptr.Deref(c.Spec.Limited.NominalConcurrencyShares, 0))
			case c.Spec.Exempt != nil:
				return fmt.Sprint(ptr.Deref(c.Spec.Exempt.NominalConcurrencyShares, 0))
			}
			return column.None
		}),
		column.Text("Queues", doc["queues"], queuing(func(q *flowcontrolv1.QueuingConfiguration) int32 { return q.Queues })),
		column.Text("HandSize", doc["handSize"], queuing(func(q *flowcontrolv1.QueuingConfiguration) int32 { return q.HandSize })),
		column.Text("QueueLengthLimit", doc["queueLengthLimit"], queuing(func(q *flowcontrolv1.QueuingConfiguration) int32 { return q.QueueLengthLimit })),
		column.Age(),
	}
}
