package scheduling

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"nau/internal/api"
	"nau/internal/api/column"
	"nau/internal/api/core"
	"nau/internal/api/meta"
)

// HighestUser is the highest priority that users may give; above are the two classes of the system.
const HighestUser = 1_000_000_000

const systemPrefix = "system-"

// systemClasses are the only ones that may carry the system's prefix.
var systemClasses = map[string]int32{
	"system-node-critical":    2*HighestUser + 1000,
	"system-cluster-critical": 2 * HighestUser,
}

// DefaultPriorityClass: pods of a class preempt lower ones unless it says otherwise.
func DefaultPriorityClass(c *schedulingv1.PriorityClass) {
	if c.PreemptionPolicy == nil {
		c.PreemptionPolicy = ptr.To(corev1.PreemptLowerPriority)
	}
}

func validatePriorityClass(c *schedulingv1.PriorityClass) field.ErrorList {
	var errs field.ErrorList
	if strings.HasPrefix(c.Name, systemPrefix) {
		value, known := systemClasses[c.Name]
		if !known || value != c.Value || c.GlobalDefault {
			errs = append(errs, field.Forbidden(field.NewPath("metadata", "name"), fmt.Sprintf("priority class names with '%s' prefix are reserved for system use only. error: %s is not a known system priority class", systemPrefix, c.Name)))
		}
	} else if c.Value > HighestUser {
		errs = append(errs, field.Forbidden(field.NewPath("value"), fmt.Sprintf("maximum allowed value of a user defined priority is %v", HighestUser)))
	}
	if c.PreemptionPolicy != nil {
		errs = append(errs, core.ValidatePreemptionPolicy(field.NewPath("preemptionPolicy"), *c.PreemptionPolicy)...)
	}
	return errs
}

func validatePriorityClassUpdate(new, old *schedulingv1.PriorityClass) field.ErrorList {
	var errs field.ErrorList
	if new.Value != old.Value {
		errs = append(errs, field.Forbidden(field.NewPath("Value"), "may not be changed in an update."))
	}
	return append(errs, meta.Immutable(field.NewPath("preemptionPolicy"), new.PreemptionPolicy, old.PreemptionPolicy)...)
}

func priorityClassColumns() []api.Column {
	doc := schedulingv1.PriorityClass{}.SwaggerDoc()
	return []api.Column{
		column.Name(),
		column.Number("Value", doc["value"], func(c *schedulingv1.PriorityClass) int32 { return c.Value }),
		column.Bool("Global-Default", doc["globalDefault"], func(c *schedulingv1.PriorityClass) bool { return c.GlobalDefault }),
		column.Age(),
		column.Text("PreemptionPolicy", doc["preemptionPolicy"], func(c *schedulingv1.PriorityClass) string { return string(ptr.Deref(c.PreemptionPolicy, "")) }),
	}
}
