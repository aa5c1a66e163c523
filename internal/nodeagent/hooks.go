package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nau/internal/nodeagent/probe"
)

// runHook runs a postStart or preStop handler. Source: "Container Lifecycle Hooks".
func (a *Agent) runHook(ctx context.Context, pod *corev1.Pod, c *corev1.Container, id string, h *corev1.LifecycleHandler, ips []string) error {
	switch {
	case h.Exec != nil:
		res, err := a.cfg.Runtime.ExecSync(ctx, &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: h.Exec.Command})
		if err != nil {
			return plain(err)
		}
		if res.ExitCode != 0 {
			return fmt.Errorf("command '%s' exited with %d: %s", strings.Join(h.Exec.Command, " "), res.ExitCode, string(append(res.Stdout, res.Stderr...)))
		}
		return nil
	case h.HTTPGet != nil:
		ip := ""
		if len(ips) > 0 {
			ip = ips[0]
		}
		req, err := probe.Request(ctx, h.HTTPGet, c, ip, "kube-lifecycle/1.36")
		if err != nil {
			return err
		}
		res, err := probe.Client.Do(req)
		if err != nil && strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") {
			req.URL.Scheme = "http"
			req.Header.Del("Authorization")
			res, err = probe.Client.Do(req)
		}
		if err != nil {
			return err
		}
		defer res.Body.Close()
		_, err = io.Copy(io.Discard, io.LimitReader(res.Body, 10<<10))
		if err == nil && res.StatusCode >= 400 {
			err = fmt.Errorf("HTTP request returned status %d", res.StatusCode)
		}
		return err
	case h.Sleep != nil:
		select {
		case <-ctx.Done():
			return nil // the end of the grace period ends a sleep; that is no failure
		case <-a.cfg.Clock.After(time.Duration(h.Sleep.Seconds) * time.Second):
			return nil
		}
	}
	return errors.New("run hook: no handler is given")
}
