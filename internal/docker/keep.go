package docker

import (
	"context"

	dc "github.com/moby/moby/api/types/container"
	dn "github.com/moby/moby/api/types/network"

	"nau/internal/engine/build"
	"nau/internal/engine/container"
)

// keeping reads what becomes of the containers of a classic build's steps: those that failed stay, with rm=0 all, with forcerm=1 none.
func (s *Server) keeping(c *call) *build.Keeping {
	if c.flag("forcerm") {
		return nil
	}
	host := stepHost(c)
	return &build.Keeping{All: c.get("rm") != "" && !c.flag("rm"), Keep: func(ctx context.Context, k build.Kept) error { return s.keepStep(ctx, k, host()) }}
}

// stepHost reads the place that a step's container would be started in.
func stepHost(c *call) func() *dc.HostConfig {
	mode := dc.NetworkMode(c.get("networkmode"))
	if mode == "" || mode == "default" {
		mode = dn.NetworkBridge
	}
	h := dc.HostConfig{NetworkMode: mode, LogConfig: dc.LogConfig{Type: noLog}, RestartPolicy: dc.RestartPolicy{Name: dc.RestartPolicyDisabled}, ShmSize: c.limit("shmsize"),
		Resources: dc.Resources{Memory: c.limit("memory"), MemorySwap: c.limit("memswap"), CPUShares: c.limit("cpushares"), CPUPeriod: c.limit("cpuperiod"), CPUQuota: c.limit("cpuquota"),
			CpusetCpus: c.get("cpusetcpus"), CpusetMems: c.get("cpusetmems"), CgroupParent: c.get("cgroupparent")}}
	return func() *dc.HostConfig { own := h; return &own }
}

// keepStep makes the container of a step one of this front's, so that its files can be looked into, committed, or run again.
func (s *Server) keepStep(ctx context.Context, k build.Kept, host *dc.HostConfig) error {
	cfg := &dc.Config{Image: k.Image.String(), Cmd: k.Args, Env: k.Config.Env, User: k.Config.User, WorkingDir: k.Config.WorkingDir, Labels: k.Config.Labels, Entrypoint: []string{}}
	put := s.e.Containers.Create
	if k.Ran {
		put = func(_ context.Context, c container.Config) (*container.Record, error) { return s.e.Containers.Adopt(c) }
		cfg.Healthcheck = &dc.HealthConfig{Test: []string{"NONE"}}
	}
	_, _, err := s.define(ctx, k.ID, "", "", dc.CreateRequest{Config: cfg, HostConfig: host}, put)
	return err
}
