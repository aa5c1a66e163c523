package nodeagent

import (
	"context"
)

func (a *Agent) listen(context.Context) (func(), error) { return func() {}, nil }
