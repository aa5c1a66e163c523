// Package meta holds what all kinds share: rules on ObjectMeta, labels and selectors, generation
// counting and immutability. It knows no kind of its own. Packages below internal/api import it.
package meta

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BumpGeneration sets the new object's generation: the old one's, plus one if the spec changed
// semantically (API conventions, "Metadata": generation).
func BumpGeneration(new, old metav1.Object, newSpec, oldSpec any) {
	generation := old.GetGeneration()
	if !Equal(newSpec, oldSpec) {
		generation++
	}
	new.SetGeneration(generation)
}
