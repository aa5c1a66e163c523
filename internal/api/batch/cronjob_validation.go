package batch

import (
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // zones are known on machines without a zone database, and without reading one

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/api/meta"
)

// maxCronJobName leaves eleven characters for the minute that jobs' names end in.
const maxCronJobName = 52

func validateCronJob(c *batchv1.CronJob) field.ErrorList {
	errs := validateCronJobSpec(field.NewPath("spec"), &c.Spec)
	if len(c.Name) > maxCronJobName {
		errs = append(errs, field.Invalid(field.NewPath("metadata").Child("name"), c.Name, fmt.Sprintf("must be no more than %d characters", maxCronJobName)))
	}
	return errs
}

func validateCronJobUpdate(new, old *batchv1.CronJob) field.ErrorList {
	return validateCronJobSpec(field.NewPath("spec"), &new.Spec)
}

func validateCronJobSpec(p *field.Path, s *batchv1.CronJobSpec) field.ErrorList {
	var errs field.ErrorList
	at := p.Child("schedule")
	if s.Schedule == "" {
		errs = append(errs, field.Required(at, ""))
	} else {
		if _, err := cron.ParseStandard(s.Schedule); err != nil {
			errs = append(errs, field.Invalid(at, s.Schedule, err.Error()))
		}
		if strings.Contains(s.Schedule, "TZ") {
			errs = append(errs, field.Invalid(at, s.Schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"))
		}
	}
	if s.TimeZone != nil {
		errs = append(errs, validateZone(p.Child("timeZone"), *s.TimeZone)...)
	}
	errs = append(errs, meta.NonNegativePtr(p.Child("startingDeadlineSeconds"), s.StartingDeadlineSeconds)...)
	errs = append(errs, meta.OneOf(p.Child("concurrencyPolicy"), s.ConcurrencyPolicy, batchv1.AllowConcurrent, batchv1.ForbidConcurrent, batchv1.ReplaceConcurrent)...)
	spec := p.Child("jobTemplate", "spec")
	if m := s.JobTemplate.Spec.ManualSelector; m != nil && *m {
		errs = append(errs, field.Invalid(spec.Child("manualSelector"), *m, "must be false or unset"))
	}
	errs = append(errs, validateJobSpec(spec, &s.JobTemplate.Spec)...)
	errs = append(errs, meta.NonNegativePtr(p.Child("successfulJobsHistoryLimit"), s.SuccessfulJobsHistoryLimit)...)
	return append(errs, meta.NonNegativePtr(p.Child("failedJobsHistoryLimit"), s.FailedJobsHistoryLimit)...)
}

func validateZone(p *field.Path, zone string) field.ErrorList {
	switch {
	case zone == "":
		return field.ErrorList{field.Invalid(p, zone, "timeZone must be nil or non-empty string")}
	case strings.EqualFold(zone, "Local"):
		return field.ErrorList{field.Invalid(p, zone, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones")}
	}
	if _, err := time.LoadLocation(zone); err != nil {
		return field.ErrorList{field.Invalid(p, zone, err.Error())}
	}
	return nil
}
