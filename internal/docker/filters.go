package docker

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// filters are a request's conditions: all names must hold, for each any of its values.
type filters map[string][]string

// parseFilters reads both forms that clients send: {"a":{"x":true}} and the older {"a":["x"]}.
func parseFilters(text string, known ...string) (filters, error) {
	f, err := parseConditions(text, known...)
	if err == nil && len(f["until"]) > 1 {
		return nil, badRequest("more than one until filter specified")
	}
	return f, err
}

// parseConditions is parseFilters where several moments may be given: all hold.
func parseConditions(text string, known ...string) (filters, error) {
	f := filters{}
	if text == "" {
		return f, nil
	}
	var sets map[string]map[string]bool
	if err := json.Unmarshal([]byte(text), &sets); err == nil {
		for name, values := range sets {
			for v := range values {
				f[name] = append(f[name], v)
			}
			slices.Sort(f[name])
		}
	} else {
		var lists map[string][]string
		if err := json.Unmarshal([]byte(text), &lists); err != nil {
			return nil, badRequest("invalid filter")
		}
		for name, values := range lists {
			f[name] = append(f[name], values...)
		}
	}
	for name := range f {
		if !slices.Contains(known, name) {
			return nil, badRequest("invalid filter '%s'", name)
		}
	}
	for _, v := range f["until"] {
		if _, err := parseMoment(v); err != nil {
			return nil, &badMoment{err}
		}
	}
	return f, nil
}

// badMoment is an until that is none.
type badMoment struct{ error }

func (e *badMoment) Unwrap() error { return e.error }

// any reports whether a value of the name holds, or none is asked for.
func (f filters) any(name string, holds func(string) bool) bool {
	return len(f[name]) == 0 || slices.ContainsFunc(f[name], holds)
}

// exact is any by comparison.
func (f filters) exact(name, value string) bool {
	return f.any(name, func(v string) bool { return v == value })
}

// labels reports whether all label conditions "key" and "key=value" hold, and none of "label!".
func (f filters) labels(have map[string]string) bool {
	return f.all("label", have) && !slices.ContainsFunc(f["label!"], func(cond string) bool { return holds(cond, have) })
}

// all reports whether all of a name's conditions "key" and "key=value" hold.
func (f filters) all(name string, have map[string]string) bool {
	return !slices.ContainsFunc(f[name], func(cond string) bool { return !holds(cond, have) })
}

func holds(cond string, have map[string]string) bool {
	key, value, exact := strings.Cut(cond, "=")
	v, ok := have[key]
	return ok && (!exact || v == value)
}

// boolean reads a condition that is true or false; set is false when it is not asked for.
func (f filters) boolean(name string, otherwise bool) (bool, error) {
	values := f[name]
	if len(values) == 0 {
		return otherwise, nil
	}
	yes := slices.Contains(values, "1") || slices.Contains(values, "true") || slices.Contains(values, "True")
	no := slices.Contains(values, "0") || slices.Contains(values, "false") || slices.Contains(values, "False")
	if yes != no {
		return yes, nil
	}
	return false, badRequest("invalid filter '%s=%s'", name, fmt.Sprint(values))
}
