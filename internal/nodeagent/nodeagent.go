package nodeagent

import "context"

// Agent runs one node.
type Agent struct {
	cfg Config
}

// New checks cfg and returns an agent that has touched nothing yet.
func New(cfg Config) (*Agent, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	return &Agent{cfg: cfg}, nil
}

// Run works until ctx ends. Containers are left running when it returns.
func (a *Agent) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}
