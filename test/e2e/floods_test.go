//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"nau/test/e2e/harness"
)

// One tenant exhausts the node, in each way that reaches the program itself. In every one of them the program's memory stays below
// floodBound, a bystander's probe never misses, and another client is answered.
const (
	floodBound = 512 << 20 // bytes resident at the peak; a calm cluster of one node has 100 MiB
	floodFor   = 5 * time.Second
	floodWait  = 5 * time.Second // the longest that another's request may take
)

const apiAddress = harness.NodeIP + ":6443"

// flooded is a cluster with a bystander, and with a tenant who may what tenants may in the namespace red.
type flooded struct {
	*harness.Machine
	tenant, other string // tokens
}

func TestFloods(t *testing.T) {
	t.Parallel()
	m := harness.New(t)
	m.Registry()
	m.Up()
	m.Do(`
apiVersion: v1
kind: Pod
metadata: {name: bystander}
spec:
  containers:
  - name: web
    image: nginx
    readinessProbe: {httpGet: {path: /, port: 80}, periodSeconds: 1, failureThreshold: 1, timeoutSeconds: 3}
`, "kubectl", "apply", "-f", "-")
	m.Kubectl("create", "namespace", "red")
	m.Kubectl("-n", "red", "create", "serviceaccount", "tenant")
	m.Kubectl("-n", "red", "create", "rolebinding", "tenant", "--clusterrole=admin", "--serviceaccount=red:tenant")
	m.Kubectl("-n", "red", "create", "role", "events", "--verb=*", "--resource=events")
	m.Kubectl("-n", "red", "create", "rolebinding", "events", "--role=events", "--serviceaccount=red:tenant")
	m.Kubectl("create", "serviceaccount", "other")
	m.Kubectl("create", "rolebinding", "other", "--clusterrole=edit", "--serviceaccount=default:other")
	m.Kubectl("-n", "red", "run", "mouth", "--image=busybox", "--command", "--", "sleep", "10000")
	m.Kubectl("wait", "--for=condition=Ready", "pod/bystander", "--timeout=60s")
	m.Kubectl("-n", "red", "wait", "--for=condition=Ready", "pod/mouth", "--timeout=60s")
	f := &flooded{Machine: m,
		tenant: strings.TrimSpace(m.Kubectl("-n", "red", "create", "token", "tenant")),
		other:  strings.TrimSpace(m.Kubectl("create", "token", "other"))}

	hungUp := f.drops(t)
	for _, flood := range []struct {
		name string
		run  func(*flooded, *testing.T, context.Context)
	}{
		{"events", (*flooded).events},
		{"requests", (*flooded).requests},
		{"watches", (*flooded).watches},
		{"exec output", (*flooded).execOutput},
		{"headers", (*flooded).headers},
	} {
		t.Run(flood.name, func(t *testing.T) {
			f := &flooded{f.In(t), f.tenant, f.other}
			calm := f.bystanders(t)
			ctx, cancel := context.WithTimeout(context.Background(), floodFor)
			defer cancel()
			flood.run(f, t, ctx)
			calm()
		})
	}
	hungUp()
}

// client is one client with a connection of its own.
func (f *flooded) client() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: f.Dial, ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // the tests' own server
	}}
}

func (f *flooded) request(ctx context.Context, token, method, path string, body []byte) *http.Request {
	r, err := http.NewRequestWithContext(ctx, method, "https://"+apiAddress+path, bytes.NewReader(body))
	if err != nil {
		panic(err) // a path of this file
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	return r
}

// answer sends a request and gives the code of the answer, 0 if there was none.
func answer(c *http.Client, r *http.Request) int {
	response, err := c.Do(r)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

// bystanders begins to look after those who have nothing to do with the flood; what it returns says how they fared.
func (f *flooded) bystanders(t *testing.T) (calm func()) {
	ready := func() string {
		return f.Kubectl("get", "pod", "bystander", "-o", `jsonpath={.status.conditions[?(@.type=="Ready")]}{.status.containerStatuses[0].restartCount}`)
	}
	warnings := func() string {
		return f.Kubectl("get", "events", "--field-selector", "involvedObject.name=bystander,type=Warning", "-o", `jsonpath={range .items[*]}{.count} {.message}{"\n"}{end}`)
	}
	before, warned := ready(), warnings()
	f.ResetPeak()
	ctx, cancel := context.WithCancel(context.Background())
	var worst time.Duration
	var asked int
	var failed []string
	var done sync.WaitGroup
	done.Go(func() {
		c := f.client()
		defer c.CloseIdleConnections()
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			for _, r := range []*http.Request{
				f.request(ctx, f.other, "GET", "/api/v1/namespaces/default/pods/bystander", nil),
				f.request(ctx, f.other, "POST", "/api/v1/namespaces/default/configmaps", []byte(`{"metadata":{"generateName":"calm-"}}`)),
			} {
				start := time.Now()
				code := answer(c, r)
				if ctx.Err() != nil {
					return
				}
				asked++
				worst = max(worst, time.Since(start))
				if code != 200 && code != 201 {
					failed = append(failed, fmt.Sprintf("%s: %d", r.Method, code))
				}
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		done.Wait()
		peak := f.Peak()
		t.Logf("peak %d MiB; another client: %d requests, the longest took %v", peak>>20, asked, worst)
		if peak > floodBound {
			t.Errorf("nau had %d MiB resident, more than %d", peak>>20, floodBound>>20)
		}
		if len(failed) > 0 || worst > floodWait || asked < 20 {
			t.Errorf("another client was not served: %d of %d failed (%.200q), the longest took %v", len(failed), asked, failed, worst)
		}
		if after := ready(); after != before {
			t.Errorf("the bystander changed from %s to %s", before, after)
		}
		if out := warnings(); out != warned {
			t.Errorf("the bystander has warnings, before %q, after %q", warned, out)
		}
	}
}

// swarm runs n of the same until ctx ends.
func swarm(ctx context.Context, n int, one func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			for ctx.Err() == nil {
				one(i)
			}
		})
	}
	all.Wait()
}

// events: a workload's account writes events as fast as it can, small and fat ones.
func (f *flooded) events(t *testing.T, ctx context.Context) {
	event := func(note int) []byte {
		doc, err := json.Marshal(map[string]any{
			"metadata": map[string]any{"generateName": "flood-"}, "involvedObject": map[string]any{"kind": "Pod", "namespace": "red", "name": "mouth"},
			"reason": "Flood", "type": "Normal", "message": strings.Repeat("x", note)})
		if err != nil {
			t.Fatal(err)
		}
		return doc
	}
	bodies := [][]byte{event(10), event(1000), event(500_000)}
	var made, refused, odd atomic.Int64
	c := f.client()
	defer c.CloseIdleConnections()
	swarm(ctx, 64, func(i int) {
		switch code := answer(c, f.request(ctx, f.tenant, "POST", "/api/v1/namespaces/red/events", bodies[i%len(bodies)])); code {
		case 201:
			made.Add(1)
		case 429:
			refused.Add(1)
		case 0: // the time is over
		default:
			odd.Add(1)
		}
	})
	t.Logf("%d events made, %d refused, %d odd answers", made.Load(), refused.Load(), odd.Load())
	if made.Load() == 0 || refused.Load() == 0 || odd.Load() > 0 {
		t.Errorf("events: %d made, %d refused, %d answered otherwise; want some, the rest of them refused with 429", made.Load(), refused.Load(), odd.Load())
	}
}

// requests: one tenant has hundreds of requests under way at any moment, of the kinds that cost most.
func (f *flooded) requests(t *testing.T, ctx context.Context) {
	clients := []*http.Client{f.client(), f.client()}
	fat, err := json.Marshal(map[string]any{"metadata": map[string]any{"generateName": "fat-"}, "data": map[string]string{"x": strings.Repeat("x", 200_000)}})
	if err != nil {
		t.Fatal(err)
	}
	var made atomic.Int64
	swarm(ctx, 600, func(i int) {
		r := f.request(ctx, f.tenant, "GET", "/api/v1/namespaces/red/configmaps", nil)
		if i%2 == 0 {
			r = f.request(ctx, f.tenant, "POST", "/api/v1/namespaces/red/configmaps?dryRun=All", fat)
		}
		if code := answer(clients[i%2], r); code == 200 || code == 201 {
			made.Add(1)
		}
	})
	for _, c := range clients {
		c.CloseIdleConnections()
	}
	t.Logf("%d requests answered", made.Load())
	if made.Load() == 0 {
		t.Error("the tenant was not served at all")
	}
}

// watches: thousands of watches from one client, none of which is read, while what they watch changes.
func (f *flooded) watches(t *testing.T, ctx context.Context) {
	var open, refused atomic.Int64
	var bodies sync.Map
	var opening sync.WaitGroup
	const connections, each = 4, 900
	for range connections {
		c := f.client()
		defer c.CloseIdleConnections()
		queue := make(chan struct{}, each)
		for range each {
			queue <- struct{}{}
		}
		close(queue)
		for range 32 {
			opening.Go(func() {
				for range queue {
					response, err := c.Do(f.request(ctx, f.tenant, "GET", "/api/v1/namespaces/red/configmaps?watch=true", nil))
					if err != nil {
						continue
					}
					if response.StatusCode == 200 {
						open.Add(1)
						bodies.Store(response, nil)
						continue
					}
					refused.Add(1)
					response.Body.Close()
				}
			})
		}
	}
	opening.Wait()
	// Now there is something to tell them all.
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"name": "told"}, "data": map[string]string{"x": strings.Repeat("x", 100_000)}})
	if err != nil {
		t.Fatal(err)
	}
	c := f.client()
	defer c.CloseIdleConnections()
	if code := answer(c, f.request(ctx, f.tenant, "POST", "/api/v1/namespaces/red/configmaps", body)); code != 201 {
		t.Errorf("create what is watched: %d", code)
	}
	var told atomic.Int64
	swarm(ctx, 4, func(i int) {
		r := f.request(ctx, f.tenant, "PATCH", "/api/v1/namespaces/red/configmaps/told", fmt.Appendf(nil, `{"data":{"y":"%d"}}`, told.Add(1)))
		r.Header.Set("Content-Type", "application/merge-patch+json")
		answer(c, r)
	})
	bodies.Range(func(r, _ any) bool { r.(*http.Response).Body.Close(); return true })
	t.Logf("%d watches open, %d refused, %d changes", open.Load(), refused.Load(), told.Load())
	if open.Load() == 0 || open.Load()+refused.Load() != connections*each {
		t.Errorf("watches: %d open and %d refused of %d", open.Load(), refused.Load(), connections*each)
	}
}

// execOutput: processes that print without end to clients that do not read, and to some that do.
func (f *flooded) execOutput(t *testing.T, ctx context.Context) {
	if err := os.WriteFile(f.Dir+"/tenant", []byte(f.tenant), 0o600); err != nil {
		t.Fatal(err)
	}
	var all []*harness.Cmd
	var ends []*os.File
	for i := range 24 {
		cmd := f.Command("kubectl", "--token", f.tenant, "--kubeconfig", "/dev/null", "-s", "https://"+apiAddress, "--insecure-skip-tls-verify", "-n", "red", "exec", "mouth", "--", "yes", strings.Repeat("flood", 100))
		if i < 20 {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			cmd.Stdout = w // and nobody reads from r
			ends = append(ends, r, w)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		all = append(all, cmd)
	}
	<-ctx.Done()
	for _, cmd := range all {
		if cmd.ProcessState != nil {
			t.Error("an exec ended before its client")
		}
		cmd.Process.Kill()
		cmd.Wait()
	}
	for _, e := range ends {
		e.Close()
	}
	if out := f.Kubectl("-n", "red", "exec", "mouth", "--", "echo", "fine"); out != "fine\n" {
		t.Errorf("an exec after the flood: %q", out)
	}
}

// headers: headers without end, as one and as many.
func (f *flooded) headers(t *testing.T, ctx context.Context) {
	line := []byte("X-Flood: " + strings.Repeat("x", 1000) + "\r\n")
	var closed, told atomic.Int64
	swarm(ctx, 16, func(i int) {
		c := f.dial(t, ctx)
		defer c.Close()
		io.WriteString(c, requestHead)
		if i%2 == 0 {
			io.WriteString(c, "X-One: ")
		}
		for range 16 << 10 { // 16 MB, if it is let
			out := line
			if i%2 == 0 {
				out = line[9:1009]
			}
			if _, err := c.Write(out); err != nil {
				break
			}
		}
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		reply, err := io.ReadAll(c)
		if bytes.HasPrefix(reply, []byte("HTTP/1.1 431 ")) {
			told.Add(1)
		}
		if !asTimeout(err) {
			closed.Add(1)
		} else {
			t.Errorf("a connection with headers without end stays open: %.100q", reply)
		}
	})
	// HTTP/2 has its own framing of them.
	c := f.client()
	defer c.CloseIdleConnections()
	for _, many := range []bool{false, true} {
		r := f.request(context.Background(), f.other, "GET", "/readyz", nil)
		if many {
			for i := range 40_000 {
				r.Header.Set(fmt.Sprintf("X-%d", i), "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy")
			}
		} else {
			r.Header.Set("X-One", strings.Repeat("x", 8<<20))
		}
		if code := answer(c, r); code == 200 {
			t.Errorf("headers of megabytes in HTTP/2 are answered with %d", code)
		}
	}
	t.Logf("%d connections closed, %d told 431", closed.Load(), told.Load())
	if told.Load() == 0 {
		t.Error("nobody was told 431")
	}
}

// dial is a connection of its own to the API, for HTTP/1.1 by hand.
func (f *flooded) dial(t *testing.T, ctx context.Context) net.Conn {
	conn, err := f.Dial(ctx, "tcp", apiAddress)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
}

const requestHead = "GET /readyz HTTP/1.1\r\nHost: x\r\n"

// drops opens connections on which headers come drop by drop, beside all other floods; what it returns waits until they are hung
// up on, which they must all be.
func (f *flooded) drops(t *testing.T) (hungUp func()) {
	var all sync.WaitGroup
	var open atomic.Int64
	const slow = 200
	for range slow {
		c := f.dial(t, context.Background())
		open.Add(1)
		all.Go(func() {
			defer c.Close()
			fmt.Fprint(c, requestHead)
			go func() {
				tick := time.NewTicker(200 * time.Millisecond)
				defer tick.Stop()
				for range tick.C {
					if _, err := io.WriteString(c, "X: y\r\n"); err != nil {
						return
					}
				}
			}()
			c.SetReadDeadline(time.Now().Add(time.Minute))
			if _, err := io.Copy(io.Discard, c); !asTimeout(err) {
				open.Add(-1)
			}
		})
	}
	return func() {
		all.Wait()
		if n := open.Load(); n > 0 {
			t.Errorf("%d of %d connections with headers that come drop by drop are open after a minute", n, slow)
		}
	}
}

func asTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}
