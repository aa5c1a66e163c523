// Package e2e drives real processes with the stock clients, each cluster on a
// machine of its own (package harness). Its tests need root and a built bin/nau,
// and are behind the build tag e2e.
package e2e
