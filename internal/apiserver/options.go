package apiserver

import (
	"net/url"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/apiserver/wire"
	"nau/internal/store"
)

// writeOptions are the options that create, update and patch share.
type writeOptions struct {
	dryRun     bool
	manager    string
	validation string // Strict, Warn, Ignore
	force      *bool
}

func (o writeOptions) strictness() wire.Strictness {
	if o.validation == metav1.FieldValidationIgnore {
		return wire.Ignore
	}
	return wire.Report
}

func invalidOptions(kind string, errs field.ErrorList) error {
	return apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: kind}, "", errs)
}

// parseWriteOptions reads the query of a write; kind is CreateOptions, UpdateOptions or PatchOptions.
func parseWriteOptions(q url.Values, kind, contentType string) (writeOptions, error) {
	o := writeOptions{validation: metav1.FieldValidationWarn}
	if len(q) == 0 && kind != "PatchOptions" {
		return o, nil
	}
	dry := q["dryRun"]
	if len(dry) == 1 && dry[0] == "" {
		dry = nil
	}
	o.manager = q.Get("fieldManager")
	asked := q.Get("fieldValidation")
	var errs field.ErrorList
	switch kind {
	case "CreateOptions":
		errs = metav1validation.ValidateCreateOptions(&metav1.CreateOptions{DryRun: dry, FieldManager: o.manager, FieldValidation: asked})
	case "UpdateOptions":
		errs = metav1validation.ValidateUpdateOptions(&metav1.UpdateOptions{DryRun: dry, FieldManager: o.manager, FieldValidation: asked})
	case "PatchOptions":
		if f := q.Get("force"); f != "" {
			b, err := strconv.ParseBool(f)
			if err != nil {
				return o, apierrors.NewBadRequest("force: " + err.Error())
			}
			o.force = &b
		}
		errs = metav1validation.ValidatePatchOptions(&metav1.PatchOptions{DryRun: dry, FieldManager: o.manager, FieldValidation: asked, Force: o.force}, patchType(contentType))
	}
	if len(errs) > 0 {
		return o, invalidOptions(kind, errs)
	}
	o.dryRun = len(dry) > 0
	if asked != "" {
		o.validation = asked
	}
	return o, nil
}

// listOptions are those of list, watch and deletecollection.
type listOptions struct {
	labels   labels.Selector // nil for none
	fields   fields.Selector
	limit    int64
	cont     string
	revision int64
	given    bool // resourceVersion was set
	match    store.Match

	timeout   int64 // seconds, 0 for none
	bookmarks bool
	initial   *bool
}

func (c *call) parseListOptions(watch bool) (listOptions, error) {
	var o listOptions
	q := c.query
	if len(q) == 0 {
		return o, nil
	}
	var raw metav1.ListOptions
	if err := metav1.Convert_url_Values_To_v1_ListOptions(&q, &raw, nil); err != nil {
		return o, apierrors.NewBadRequest(err.Error())
	}
	if raw.LabelSelector != "" {
		sel, err := labels.Parse(raw.LabelSelector)
		if err != nil {
			return o, apierrors.NewBadRequest(err.Error())
		}
		if !sel.Empty() {
			o.labels = sel
		}
	}
	var err error
	if o.fields, err = c.ep.fieldSelector(raw.FieldSelector); err != nil {
		return o, err
	}
	var errs field.ErrorList
	match := raw.ResourceVersionMatch
	if watch {
		errs = validateWatch(&raw)
	} else {
		errs = validateList(&raw)
	}
	if len(errs) > 0 {
		return o, invalidOptions("ListOptions", errs)
	}
	if raw.ResourceVersion != "" {
		o.given = true
		if o.revision, err = parseRevision(raw.ResourceVersion); err != nil {
			return o, err
		}
		if !watch && raw.Continue != "" && o.revision != 0 {
			return o, apierrors.NewBadRequest("specifying resource version is not allowed when using continue")
		}
	}
	o.limit, o.cont = raw.Limit, raw.Continue
	if o.limit < 0 {
		o.limit = 0
	}
	switch {
	case !o.given:
		o.match = store.MostRecent
	case match == metav1.ResourceVersionMatchExact:
		o.match = store.Exact
	case o.revision == 0:
		o.match = store.Any
	case match == metav1.ResourceVersionMatchNotOlderThan, o.limit == 0:
		o.match = store.NotOlderThan
	default:
		// The legacy rule: a limit with a revision and no match means exactly that revision.
		o.match = store.Exact
	}
	if raw.TimeoutSeconds != nil {
		o.timeout = *raw.TimeoutSeconds
	}
	o.bookmarks, o.initial = raw.AllowWatchBookmarks, raw.SendInitialEvents
	return o, nil
}

func validateList(o *metav1.ListOptions) (errs field.ErrorList) {
	match := o.ResourceVersionMatch
	path := field.NewPath("resourceVersionMatch")
	if match != "" {
		if o.ResourceVersion == "" {
			errs = append(errs, field.Forbidden(path, "resourceVersionMatch is forbidden unless resourceVersion is provided"))
		}
		if o.Continue != "" {
			errs = append(errs, field.Forbidden(path, "resourceVersionMatch is forbidden when continue is provided"))
		}
		if match != metav1.ResourceVersionMatchExact && match != metav1.ResourceVersionMatchNotOlderThan {
			errs = append(errs, field.NotSupported(path, match, []metav1.ResourceVersionMatch{metav1.ResourceVersionMatchExact, metav1.ResourceVersionMatchNotOlderThan, ""}))
		}
		if match == metav1.ResourceVersionMatchExact && o.ResourceVersion == "0" {
			errs = append(errs, field.Forbidden(path, `resourceVersionMatch "exact" is forbidden for resourceVersion "0"`))
		}
	}
	if o.SendInitialEvents != nil {
		errs = append(errs, field.Forbidden(field.NewPath("sendInitialEvents"), "sendInitialEvents is forbidden for list"))
	}
	return errs
}

func validateWatch(o *metav1.ListOptions) (errs field.ErrorList) {
	const only = metav1.ResourceVersionMatchNotOlderThan
	match := o.ResourceVersionMatch
	path := field.NewPath("resourceVersionMatch")
	if o.SendInitialEvents != nil && match != only {
		errs = append(errs, field.Forbidden(path, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"))
	}
	if match == "" {
		return errs
	}
	if o.SendInitialEvents == nil {
		errs = append(errs, field.Forbidden(path, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"))
	}
	if match != only {
		errs = append(errs, field.NotSupported(path, match, []metav1.ResourceVersionMatch{only}))
	}
	if o.Continue != "" {
		errs = append(errs, field.Forbidden(path, "resourceVersionMatch is forbidden when continue is provided"))
	}
	return errs
}

// parseRevision reads a resourceVersion that is not empty.
func parseRevision(text string) (int64, error) {
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return 0, apierrors.NewBadRequest("invalid resource version: " + field.Invalid(field.NewPath("resourceVersion"), text, err.Error()).Error())
	}
	return int64(n), nil
}

// parseDeleteOptions reads the options of a delete from the body, or from the query when there is none.
func (c *call) parseDeleteOptions() (*metav1.DeleteOptions, error) {
	o := &metav1.DeleteOptions{}
	data, err := c.body()
	if err != nil {
		return nil, err
	}
	if len(data) > 0 {
		media, ok := wire.ContentMedia(c.r.Header.Get("Content-Type"))
		if !ok {
			return nil, unsupportedMedia(wire.TypeJSON, wire.TypeYAML, wire.TypeProtobuf)
		}
		switch media {
		case wire.Protobuf:
			_, err = wire.DecodeProtobuf(data, o)
		case wire.YAML:
			if data, _, err = wire.ToJSON(data, wire.Ignore); err == nil {
				_, err = wire.DecodeJSON(data, o, wire.Ignore)
			}
		default:
			_, err = wire.DecodeJSON(data, o, wire.Ignore)
		}
		if err != nil {
			return nil, apierrors.NewBadRequest("decode DeleteOptions: " + err.Error())
		}
		if o.Kind != "" && o.Kind != "DeleteOptions" {
			return nil, apierrors.NewBadRequest("decode DeleteOptions: the body is a " + o.Kind)
		}
	} else if len(c.query) > 0 {
		if err := metav1.Convert_url_Values_To_v1_DeleteOptions(&c.query, o, nil); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		if p := o.Preconditions; p != nil && c.info.Verb == "deletecollection" {
			p.ResourceVersion = nil // in the query it says which list is meant
		}
	}
	if errs := metav1validation.ValidateDeleteOptions(o); len(errs) > 0 {
		return nil, invalidOptions("DeleteOptions", errs)
	}
	o.TypeMeta = metav1.TypeMeta{Kind: "DeleteOptions", APIVersion: "v1"}
	return o, nil
}
