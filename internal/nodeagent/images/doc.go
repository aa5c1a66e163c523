// Package images brings images to the node as pods ask for them: pull policies, credentials from pull secrets and the node's
// own file, a limit on parallel pulls, and the choice of what to remove when the disk fills up.
//
// It talks to CRI's image service only; back-off between attempts belongs to the pod that asks. Only nodeagent imports it.
package images
