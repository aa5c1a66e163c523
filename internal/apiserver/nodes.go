package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	"nau/internal/apiserver/admission"
	"nau/internal/store"
)

// NodeDialer reaches what runs on nodes.
type NodeDialer interface {
	// Agent gives the base URL of a node's agent (https://ADDRESS:10250) and the transport that authenticates to it. The
	// transport is an *http.Transport or wraps one, so that connections can be upgraded.
	Agent(ctx context.Context, node string) (base *url.URL, transport http.RoundTripper, err error)
	// Network is the transport to addresses of pods and services.
	Network() http.RoundTripper
}

// connect answers the subresources that stream: the request is passed to the node agent, or to the pod or service itself, and
// the connection with it when it is upgraded (SPDY, WebSocket).
func (c *call) connect() error {
	nodes := c.srv.Nodes
	if nodes == nil {
		return apierrors.NewServiceUnavailable("no connection to nodes is configured")
	}
	if err := c.admitConnect(); err != nil {
		return err
	}
	switch c.ep.gr.Resource + "/" + c.sub.Name {
	case "pods/log":
		return c.podLog(nodes)
	case "pods/exec", "pods/attach":
		return c.podStream(nodes)
	case "pods/portforward":
		return c.podForward(nodes)
	case "pods/proxy":
		return c.podProxy(nodes)
	case "nodes/proxy":
		return c.nodeProxy(nodes)
	case "services/proxy":
		return c.serviceProxy(nodes)
	}
	return c.notAllowed()
}

// admitConnect lets admission judge: exec into a pod is a CONNECT of its options.
func (c *call) admitConnect() error {
	opts := c.sub.New()
	opts.GetObjectKind().SetGroupVersionKind(c.subGVK())
	exec := &corev1.PodExecOptions{}
	if err := corev1Query(c, exec); err != nil {
		return err
	}
	switch o := opts.(type) {
	case *corev1.PodExecOptions:
		exec.TypeMeta = o.TypeMeta
		*o = *exec
	case *corev1.PodAttachOptions:
		o.Stdin, o.Stdout, o.Stderr, o.TTY, o.Container = exec.Stdin, exec.Stdout, exec.Stderr, exec.TTY, exec.Container
	}
	attr := c.writing(writeOptions{}, "").attributes(admission.Connect, c.info.Name, opts, nil)
	if err := c.srv.admission.Admit(c.ctx, attr); err != nil {
		return err
	}
	return c.srv.admission.Validate(c.ctx, attr)
}

func corev1Query(c *call, o *corev1.PodExecOptions) error {
	q := c.query
	o.Container, o.Command = q.Get("container"), q["command"]
	for name, to := range map[string]*bool{"stdin": &o.Stdin, "stdout": &o.Stdout, "stderr": &o.Stderr, "tty": &o.TTY} {
		b, err := boolQuery(q, name)
		if err != nil {
			return err
		}
		*to = b
	}
	return nil
}

func boolQuery(q url.Values, name string) (bool, error) {
	v := q.Get(name)
	if v == "" {
		_, set := q[name]
		return set && len(q[name]) > 0 && v != "", nil
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		return false, apierrors.NewBadRequest(fmt.Sprintf("%s: %q is not a boolean", name, v))
	}
	return b, nil
}

func (c *call) pod() (*corev1.Pod, error) {
	e, err := c.ep.open().Get(c.ctx, c.ep.key(c.namespace(), c.info.Name), 0)
	if err != nil {
		return nil, err
	}
	return e.Object.(*corev1.Pod), nil
}

// containerOf finds the container that is meant: the named one, or the only one, or the annotated default.
func containerOf(pod *corev1.Pod, name string) (string, error) {
	all := names(pod.Spec.Containers)
	inits := names(pod.Spec.InitContainers)
	var ephemeral []string
	for _, e := range pod.Spec.EphemeralContainers {
		ephemeral = append(ephemeral, e.Name)
	}
	if name == "" {
		if d := pod.Annotations["kubectl.kubernetes.io/default-container"]; d != "" {
			name = d
		} else if len(all) == 1 {
			return all[0], nil
		} else if len(all) == 0 {
			return "", apierrors.NewBadRequest(fmt.Sprintf("a container name must be specified for pod %s", pod.Name))
		} else {
			msg := fmt.Sprintf("a container name must be specified for pod %s, choose one of: %s", pod.Name, brackets(all))
			if len(inits) > 0 {
				msg += fmt.Sprintf(" or one of the init containers: %s", brackets(inits))
			}
			if len(ephemeral) > 0 {
				msg += fmt.Sprintf(" or one of the ephemeral containers: %s", brackets(ephemeral))
			}
			return "", apierrors.NewBadRequest(msg)
		}
	}
	for _, list := range [][]string{all, inits, ephemeral} {
		for _, n := range list {
			if n == name {
				return name, nil
			}
		}
	}
	return "", apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", name, pod.Name))
}

func names(cs []corev1.Container) []string {
	var out []string
	for _, c := range cs {
		out = append(out, c.Name)
	}
	return out
}

func brackets(s []string) string { return "[" + strings.Join(s, " ") + "]" }

// agentURL is a place on the agent of a pod's node.
func (c *call) agentURL(nodes NodeDialer, pod *corev1.Pod, path string, q url.Values) (*url.URL, http.RoundTripper, error) {
	if pod.Spec.NodeName == "" {
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", pod.Name))
	}
	base, rt, err := nodes.Agent(c.ctx, pod.Spec.NodeName)
	if err != nil {
		return nil, nil, nodeError(err)
	}
	u := *base
	u.Path = path
	u.RawQuery = q.Encode()
	return &u, rt, nil
}

func nodeError(err error) error {
	var st apierrors.APIStatus
	if errors.As(err, &st) {
		return err
	}
	return apierrors.NewInternalError(err)
}

// podLog passes a container's log through: as plain text, flushed as it comes.
func (c *call) podLog(nodes NodeDialer) error {
	q, err := logOptions(c.query, c.info.Name)
	if err != nil {
		return err
	}
	pod, err := c.pod()
	if err != nil {
		return err
	}
	container, err := containerOf(pod, c.query.Get("container"))
	if err != nil {
		return err
	}
	if pod.Spec.NodeName == "" {
		// Nothing has run yet; upstream answers with an empty log.
		return c.respondBytes(http.StatusOK, "text/plain", nil)
	}
	u, rt, err := c.agentURL(nodes, pod, "/containerLogs/"+pod.Namespace+"/"+pod.Name+"/"+container, q)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(c.ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("read log of %s: %w", pod.Name, err))
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		return agentError(c, resp)
	}
	if wsstream.IsWebSocketRequest(c.r) {
		_ = wsstream.NewReader(&separateEnd{r: resp.Body}, true, wsstream.NewDefaultReaderProtocols()).Copy(hijackable{c.w}, c.r)
		return nil
	}
	c.w.Header().Set("Content-Type", "text/plain")
	c.w.WriteHeader(http.StatusOK)
	copyFlushing(c.w, resp.Body)
	return nil
}

// podStream passes exec and attach to the agent, the upgraded connection included.
func (c *call) podStream(nodes NodeDialer) error {
	pod, err := c.pod()
	if err != nil {
		return err
	}
	if ph := pod.Status.Phase; ph == corev1.PodSucceeded || ph == corev1.PodFailed {
		what := map[string]string{"exec": "exec into", "attach": "attach to"}[c.sub.Name]
		return apierrors.NewBadRequest(fmt.Sprintf("cannot %s a container in a completed pod; current phase is %s", what, ph))
	}
	container, err := containerOf(pod, c.query.Get("container"))
	if err != nil {
		return err
	}
	q := url.Values{}
	for from, to := range map[string]string{"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"} {
		b, err := boolQuery(c.query, from)
		if err != nil {
			return err
		}
		if b {
			q.Set(to, "1")
		}
	}
	if !q.Has("input") && !q.Has("output") && !q.Has("error") {
		return apierrors.NewBadRequest("you must specify at least 1 of stdin, stdout, stderr")
	}
	if c.sub.Name == "exec" {
		if len(c.query["command"]) == 0 {
			return apierrors.NewBadRequest("you must specify at least 1 command")
		}
		q["command"] = c.query["command"]
	}
	u, rt, err := c.agentURL(nodes, pod, "/"+c.sub.Name+"/"+pod.Namespace+"/"+pod.Name+"/"+container, q)
	if err != nil {
		return err
	}
	c.relay(u, rt, true, false)
	return nil
}

func (c *call) podForward(nodes NodeDialer) error {
	pod, err := c.pod()
	if err != nil {
		return err
	}
	q := url.Values{}
	for _, list := range c.query["ports"] {
		for _, p := range strings.Split(list, ",") {
			if _, err := strconv.ParseUint(p, 10, 16); err != nil {
				return apierrors.NewBadRequest(fmt.Sprintf("invalid port %q", p))
			}
		}
		q.Add("port", list)
	}
	u, rt, err := c.agentURL(nodes, pod, "/portForward/"+pod.Namespace+"/"+pod.Name, q)
	if err != nil {
		return err
	}
	if protocols := tunnelled(c.r); len(protocols) > 0 {
		return c.tunnel(u, rt, protocols)
	}
	c.relay(u, rt, true, false)
	return nil
}

// target splits [SCHEME:]NAME[:PORT], as the proxy subresources name what they reach.
func target(id string) (scheme, name, port string, err error) {
	parts := strings.Split(id, ":")
	switch len(parts) {
	case 1:
		return "", parts[0], "", nil
	case 2:
		return "", parts[0], parts[1], nil
	case 3:
		if parts[0] != "" && parts[0] != "http" && parts[0] != "https" {
			break
		}
		return parts[0], parts[1], parts[2], nil
	}
	return "", "", "", apierrors.NewBadRequest(fmt.Sprintf("invalid proxy target %q: want [https:]NAME[:PORT]", id))
}

func (c *call) podProxy(nodes NodeDialer) error {
	scheme, name, port, err := target(c.info.Name)
	if err != nil {
		return err
	}
	e, err := c.ep.open().Get(c.ctx, c.ep.key(c.namespace(), name), 0)
	if err != nil {
		return err
	}
	pod := e.Object.(*corev1.Pod)
	if port == "" {
		for _, ct := range pod.Spec.Containers {
			if len(ct.Ports) > 0 {
				port = strconv.Itoa(int(ct.Ports[0].ContainerPort))
				break
			}
		}
	}
	for _, ct := range pod.Spec.Containers {
		for _, p := range ct.Ports {
			if p.Name != "" && p.Name == port {
				port = strconv.Itoa(int(p.ContainerPort))
			}
		}
	}
	if pod.Status.PodIP == "" {
		return apierrors.NewServiceUnavailable(fmt.Sprintf("pod %s has no address yet", name))
	}
	c.relay(c.place(scheme, pod.Status.PodIP, port), nodes.Network(), false, true)
	return nil
}

func (c *call) serviceProxy(nodes NodeDialer) error {
	scheme, name, port, err := target(c.info.Name)
	if err != nil {
		return err
	}
	e, err := c.ep.open().Get(c.ctx, c.ep.key(c.namespace(), name), 0)
	if err != nil {
		return err
	}
	svc := e.Object.(*corev1.Service)
	portName := ""
	for _, p := range svc.Spec.Ports {
		if port == "" && len(svc.Spec.Ports) == 1 || p.Name == port || strconv.Itoa(int(p.Port)) == port {
			portName = p.Name
			ip, number, err := c.backend(svc, portName)
			if err != nil {
				return err
			}
			c.relay(c.place(scheme, ip, number), nodes.Network(), false, true)
			return nil
		}
	}
	return apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %q found for service %q", port, name))
}

// backend picks an endpoint of a service port.
func (c *call) backend(svc *corev1.Service, portName string) (ip, port string, err error) {
	eps := c.srv.registry.now().endpoints[corev1.SchemeGroupVersion.WithResource("endpoints")]
	if eps != nil {
		e, err := eps.open().Get(c.ctx, eps.key(svc.Namespace, svc.Name), 0)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return "", "", err
		}
		if err == nil {
			for _, sub := range e.Object.(*corev1.Endpoints).Subsets {
				for _, p := range sub.Ports {
					if p.Name == portName && len(sub.Addresses) > 0 {
						n := int(c.start.UnixNano()>>4) % len(sub.Addresses)
						return sub.Addresses[n].IP, strconv.Itoa(int(p.Port)), nil
					}
				}
			}
		}
	}
	return "", "", apierrors.NewServiceUnavailable(fmt.Sprintf("no endpoints available for service %q", svc.Name))
}

func (c *call) nodeProxy(nodes NodeDialer) error {
	_, name, _, err := target(c.info.Name)
	if err != nil {
		return err
	}
	if _, err := c.ep.open().Get(c.ctx, name, 0); err != nil {
		return err
	}
	base, rt, err := nodes.Agent(c.ctx, name)
	if err != nil {
		return nodeError(err)
	}
	u := *base
	u.Path = c.below()
	u.RawQuery = c.r.URL.RawQuery
	c.relay(&u, rt, false, true)
	return nil
}

// below is the path behind a proxy subresource; empty, without a closing slash, it makes the proxy redirect to the one with it,
// so that relative links work.
func (c *call) below() string {
	if c.info.Rest == "" {
		return ""
	}
	return "/" + c.info.Rest
}

func (c *call) place(scheme, host, port string) *url.URL {
	if scheme == "" {
		scheme = "http"
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port != "" {
		host += ":" + port
	}
	return &url.URL{Scheme: scheme, Host: host, Path: c.below(), RawQuery: c.r.URL.RawQuery}
}

// relay passes the request on, and hands the connection over if it is upgraded.
func (c *call) relay(to *url.URL, rt http.RoundTripper, upgradeRequired, rewrite bool) {
	h := proxy.NewUpgradeAwareHandler(to, rt, rewrite, upgradeRequired, relayErrors{c})
	h.MaxBytesPerSec = 0
	if rewrite {
		h.UseRequestLocation = false
		h.AppendLocationPath = false
	}
	r := c.r.WithContext(c.ctx)
	c.w.code = http.StatusOK
	h.ServeHTTP(hijackable{c.w}, r)
}

// hijackable shows the connection of the underlying writer to the proxy.
type hijackable struct{ *recorder }

type relayErrors struct{ c *call }

func (e relayErrors) Error(_ http.ResponseWriter, _ *http.Request, err error) {
	var st apierrors.APIStatus
	if !errors.As(err, &st) {
		err = &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusServiceUnavailable,
			Reason: metav1.StatusReasonServiceUnavailable, Message: "error trying to reach service: " + err.Error()}}
	}
	e.c.fail(err)
}
