package buildkit

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// call answers a request about a Dockerfile that builds nothing.
func (f *frontend) call() (*solved, error) {
	return nil, status.Errorf(codes.Unimplemented, "request %s is not served by this builder", f.o.Call)
}
