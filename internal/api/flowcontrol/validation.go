package flowcontrol

import (
	"fmt"
	"math"
	"slices"
	"strings"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/api/meta"
)

const maxPrecedence = 10000

var verbs = sets.New("get", "list", "create", "update", "delete", "deletecollection", "patch", "watch", "proxy")

func validateSchema(s *flowcontrolv1.FlowSchema) field.ErrorList {
	p, spec := field.NewPath("spec"), &s.Spec
	var errs field.ErrorList
	if spec.MatchingPrecedence <= 0 {
		errs = append(errs, field.Invalid(p.Child("matchingPrecedence"), spec.MatchingPrecedence, "must be a positive value"))
	}
	if spec.MatchingPrecedence > maxPrecedence {
		errs = append(errs, field.Invalid(p.Child("matchingPrecedence"), spec.MatchingPrecedence, fmt.Sprintf("must not be greater than %v", maxPrecedence)))
	}
	if spec.MatchingPrecedence == 1 && s.Name != flowcontrolv1.FlowSchemaNameExempt {
		errs = append(errs, field.Invalid(p.Child("matchingPrecedence"), spec.MatchingPrecedence, "only the schema named 'exempt' may have matchingPrecedence 1"))
	}
	if d := spec.DistinguisherMethod; d != nil {
		errs = append(errs, meta.OneOf(p.Child("distinguisherMethod", "type"), d.Type, flowcontrolv1.FlowDistinguisherMethodByNamespaceType, flowcontrolv1.FlowDistinguisherMethodByUserType)...)
	}
	errs = append(errs, meta.RequiredName(p.Child("priorityLevelConfiguration", "name"), spec.PriorityLevelConfiguration.Name)...)
	for i, r := range spec.Rules {
		errs = append(errs, validateSchemaRule(p.Child("rules").Index(i), r)...)
	}
	return errs
}

func validateSchemaRule(p *field.Path, r flowcontrolv1.PolicyRulesWithSubjects) field.ErrorList {
	var errs field.ErrorList
	if len(r.Subjects) == 0 {
		errs = append(errs, field.Required(p.Child("subjects"), "subjects must contain at least one value"))
	}
	for i, s := range r.Subjects {
		at := p.Child("subjects").Index(i)
		set := map[flowcontrolv1.SubjectKind]bool{
			flowcontrolv1.SubjectKindUser: s.User != nil, flowcontrolv1.SubjectKindGroup: s.Group != nil, flowcontrolv1.SubjectKindServiceAccount: s.ServiceAccount != nil,
		}
		own, known := set[s.Kind]
		switch {
		case !known:
			errs = append(errs, field.NotSupported(at.Child("kind"), s.Kind, []flowcontrolv1.SubjectKind{flowcontrolv1.SubjectKindGroup, flowcontrolv1.SubjectKindServiceAccount, flowcontrolv1.SubjectKindUser}))
		case !own:
			name := strings.ToLower(string(s.Kind[:1])) + string(s.Kind[1:])
			errs = append(errs, field.Required(at.Child(name), fmt.Sprintf("%s is required when subject kind is '%s'", name, s.Kind)))
		}
		for kind, is := range set {
			if is && kind != s.Kind && known {
				name := strings.ToLower(string(kind[:1])) + string(kind[1:])
				errs = append(errs, field.Forbidden(at.Child(name), fmt.Sprintf("%s is forbidden when subject kind is not '%s'", name, kind)))
			}
		}
	}
	if len(r.ResourceRules)+len(r.NonResourceRules) == 0 {
		errs = append(errs, field.Required(p, "at least one of resourceRules and nonResourceRules has to be non-empty"))
	}
	for i, rule := range r.ResourceRules {
		at := p.Child("resourceRules").Index(i)
		errs = append(errs, validateVerbs(at.Child("verbs"), rule.Verbs)...)
		for _, part := range []struct {
			name   string
			values []string
			word   string
		}{{"apiGroups", rule.APIGroups, "resource rules must supply at least one api group"}, {"resources", rule.Resources, "resource rules must supply at least one resource"}} {
			if len(part.values) == 0 {
				errs = append(errs, field.Required(at.Child(part.name), part.word))
			} else if len(part.values) > 1 && slices.Contains(part.values, "*") {
				errs = append(errs, field.Invalid(at.Child(part.name), part.values, "if '*' is present, must not specify other "+part.name))
			}
		}
		if len(rule.Namespaces) == 0 && !rule.ClusterScope {
			errs = append(errs, field.Required(at.Child("namespaces"), "resource rules that are not cluster scoped must supply at least one namespace"))
		}
	}
	for i, rule := range r.NonResourceRules {
		at := p.Child("nonResourceRules").Index(i)
		errs = append(errs, validateVerbs(at.Child("verbs"), rule.Verbs)...)
		if len(rule.NonResourceURLs) == 0 {
			errs = append(errs, field.Required(at.Child("nonResourceURLs"), "nonResourceURLs must contain at least one value"))
		}
		for j, u := range rule.NonResourceURLs {
			if u != "*" && !strings.HasPrefix(u, "/") {
				errs = append(errs, field.Invalid(at.Child("nonResourceURLs").Index(j), u, "must start with slash"))
			}
			if strings.Contains(u, " ") {
				errs = append(errs, field.Invalid(at.Child("nonResourceURLs").Index(j), u, "must not contain white-space"))
			}
		}
	}
	return errs
}

func validateVerbs(p *field.Path, list []string) field.ErrorList {
	if len(list) == 0 {
		return field.ErrorList{field.Required(p, "verbs must contain at least one value")}
	}
	if slices.Contains(list, "*") {
		if len(list) > 1 {
			return field.ErrorList{field.Invalid(p, list, "if '*' is present, must not specify other verbs")}
		}
		return nil
	}
	if unknown := sets.New(list...).Difference(verbs).Difference(sets.New("head", "post", "put", "options")); unknown.Len() > 0 {
		return field.ErrorList{field.NotSupported(p, strings.Join(sets.List(unknown), ","), sets.List(verbs))}
	}
	return nil
}

func validateLevel(c *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
	p, s := field.NewPath("spec"), &c.Spec
	errs := meta.OneOf(p.Child("type"), s.Type, flowcontrolv1.PriorityLevelEnablementExempt, flowcontrolv1.PriorityLevelEnablementLimited)
	if (c.Name == flowcontrolv1.PriorityLevelConfigurationNameExempt) != (s.Type == flowcontrolv1.PriorityLevelEnablementExempt) {
		errs = append(errs, field.Invalid(p.Child("type"), s.Type, "type must be 'Exempt' if and only if name is 'exempt'"))
	}
	switch s.Type {
	case flowcontrolv1.PriorityLevelEnablementExempt:
		if s.Limited != nil {
			errs = append(errs, field.Forbidden(p.Child("limited"), "must be nil if the type is not Limited"))
		}
		if e := s.Exempt; e != nil {
			errs = append(errs, meta.NonNegativePtr(p.Child("exempt", "nominalConcurrencyShares"), e.NominalConcurrencyShares)...)
			errs = append(errs, percent(p.Child("exempt", "lendablePercent"), e.LendablePercent)...)
		}
	case flowcontrolv1.PriorityLevelEnablementLimited:
		if s.Exempt != nil {
			errs = append(errs, field.Forbidden(p.Child("exempt"), "must be nil if the type is Limited"))
		}
		if s.Limited == nil {
			errs = append(errs, field.Required(p.Child("limited"), "must not be empty when type is Limited"))
		} else {
			errs = append(errs, validateLimited(p.Child("limited"), s.Limited)...)
		}
	}
	return errs
}

func percent(p *field.Path, v *int32) field.ErrorList {
	if v != nil && (*v < 0 || *v > 100) {
		return field.ErrorList{field.Invalid(p, *v, "must be between 0 and 100, inclusive")}
	}
	return nil
}

func validateLimited(p *field.Path, l *flowcontrolv1.LimitedPriorityLevelConfiguration) field.ErrorList {
	errs := meta.NonNegativePtr(p.Child("nominalConcurrencyShares"), l.NominalConcurrencyShares)
	errs = append(errs, percent(p.Child("lendablePercent"), l.LendablePercent)...)
	if v := l.BorrowingLimitPercent; v != nil && *v < 0 {
		errs = append(errs, field.Invalid(p.Child("borrowingLimitPercent"), *v, "if specified, must be a non-negative integer"))
	}
	at := p.Child("limitResponse")
	errs = append(errs, meta.OneOf(at.Child("type"), l.LimitResponse.Type, flowcontrolv1.LimitResponseTypeQueue, flowcontrolv1.LimitResponseTypeReject)...)
	q := l.LimitResponse.Queuing
	switch {
	case l.LimitResponse.Type == flowcontrolv1.LimitResponseTypeReject && q != nil:
		errs = append(errs, field.Forbidden(at.Child("queuing"), "must be nil if limited.limitResponse.type is not Limited"))
	case l.LimitResponse.Type == flowcontrolv1.LimitResponseTypeQueue && q == nil:
		errs = append(errs, field.Required(at.Child("queuing"), "must not be empty if limited.limitResponse.type is Limited"))
	case q != nil:
		errs = append(errs, validateQueuing(at.Child("queuing"), q)...)
	}
	return errs
}

func validateQueuing(p *field.Path, q *flowcontrolv1.QueuingConfiguration) field.ErrorList {
	var errs field.ErrorList
	if q.QueueLengthLimit <= 0 {
		errs = append(errs, field.Invalid(p.Child("queueLengthLimit"), q.QueueLengthLimit, "must be positive"))
	}
	if q.Queues <= 0 {
		errs = append(errs, field.Invalid(p.Child("queues"), q.Queues, "must be positive"))
	} else if q.Queues > 10_000_000 {
		errs = append(errs, field.Invalid(p.Child("queues"), q.Queues, fmt.Sprintf("must not be greater than %d", 10_000_000)))
	}
	switch {
	case q.HandSize <= 0:
		errs = append(errs, field.Invalid(p.Child("handSize"), q.HandSize, "must be positive"))
	case q.HandSize > q.Queues:
		errs = append(errs, field.Invalid(p.Child("handSize"), q.HandSize, fmt.Sprintf("should not be greater than queues (%d)", q.Queues)))
	case float64(q.HandSize)*math.Log2(float64(q.Queues)) > 60:
		errs = append(errs, field.Invalid(p.Child("handSize"), q.HandSize, fmt.Sprintf("required entropy bits of deckSize %d and handSize %d should not be greater than 60", q.Queues, q.HandSize)))
	}
	return errs
}
