package image

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// together runs jobs beside each other; the first error ends the rest.
func together(ctx context.Context, jobs []func(context.Context) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, j := range jobs {
		g.Go(func() error { return j(ctx) })
	}
	return g.Wait()
}
