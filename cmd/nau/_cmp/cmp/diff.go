// Package cmp stands in the place of github.com/google/go-cmp/cmp when `make build` links nau, with the one function that is called there: etcd's check of its
// own buffers, which runs only if ETCD_VERIFY is set, prints a difference with it.
//
// The library looks up methods by reflection, and a linker that sees such a look-up must keep every exported method of every type: a quarter of the program
// (docs/decisions/012-unused-methods-are-not-linked.md). Tests, and a plain `go build`, use the library itself.
package cmp

import (
	"fmt"
	"reflect"
)

// Option is one of the library's options. None is known here.
type Option interface{ unknown() }

// Diff tells how x and y differ, in plain Go notation; "" if they do not.
func Diff(x, y any, _ ...Option) string {
	if reflect.DeepEqual(x, y) {
		return ""
	}
	return fmt.Sprintf("-%#v\n+%#v\n", x, y)
}
