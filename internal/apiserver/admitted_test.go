package apiserver

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"nau/internal/apiserver/admission"
	"nau/internal/apiserver/identity"
	"nau/internal/client"
	"nau/internal/controller/resourcequota"
)

// loopback lets a server's own clients be made before the server.
type loopback struct{ c atomic.Pointer[cluster] }

func (l *loopback) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.c.Load().Handler().ServeHTTP(w, r)
}

// admitting is a server with admission plugins that see it through a client, as in the product.
func admitting(t *testing.T, plugins func(*client.Set) (admission.Chain, error)) (*cluster, *client.Set) {
	t.Helper()
	l := &loopback{}
	set, err := client.InProcess(l, func(ctx context.Context) context.Context {
		return identity.WithUser(ctx, &identity.User{Name: identity.APIServer, Groups: []string{identity.Masters}})
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := plugins(set)
	if err != nil {
		t.Fatal(err)
	}
	c := newCluster(t, func(cfg *Config) { cfg.Admission = chain })
	l.c.Store(c)
	ctx, cancel := context.WithCancel(context.Background())
	set.Informers.StartWithContext(ctx)
	if err := set.Informers.WaitForCacheSyncWithContext(ctx).Err; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); set.Informers.Shutdown() })
	return c, set
}

// until asks again after every answer until it is the wanted one.
func until(t *testing.T, what string, ask func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ask() {
		if time.Now().After(deadline) {
			t.Fatal(what + " did not come")
		}
	}
}

// A quota of ten holds against forty writers at once, its count is exact, refused requests cost nothing, and what is deleted
// can be had again.
func TestQuotaHoldsAgainstConcurrentCreates(t *testing.T) {
	var set *client.Set
	c, _ := admitting(t, func(s *client.Set) (admission.Chain, error) {
		set = s
		return admission.Chain{admission.NewResourceQuota(s.Informers, s.Kubernetes, clock.RealClock{})}, nil
	})
	quotas, err := resourcequota.New(resourcequota.Config{Client: set.Kubernetes, Discovery: set.Discovery, Informers: set.Informers,
		ListerWatcher: func(gvr schema.GroupVersionResource) cache.ListerWatcher { return c.Source().ListerWatcher(gvr) }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { _ = quotas.Run(ctx) })
	t.Cleanup(func() { cancel(); done.Wait() })

	c.do("POST", "/api/v1/namespaces", `{"metadata":{"name":"n"}}`).want(201)
	c.do("POST", "/api/v1/namespaces/n/resourcequotas", `{"metadata":{"name":"q"},"spec":{"hard":{"configmaps":"10","count/configmaps":"20"}}}`).want(201)
	used := func(name corev1.ResourceName) string {
		var q corev1.ResourceQuota
		c.do("GET", "/api/v1/namespaces/n/resourcequotas/q", nil).want(200, &q)
		v, ok := q.Status.Used[name]
		if !ok {
			return ""
		}
		return v.String()
	}
	until(t, "the first count", func() bool { return used("configmaps") == "0" })
	until(t, "the quota in admission's eyes", func() bool {
		return c.do("POST", "/api/v1/namespaces/n/configmaps?dryRun=All", `{"metadata":{"name":"trial"}}`).code == 201 && len(set.Informers.Core().V1().ResourceQuotas().Informer().GetStore().ListKeys()) == 1
	})

	var made, refused atomic.Int32
	var writers sync.WaitGroup
	for i := range 40 {
		writers.Go(func() {
			r := c.do("POST", "/api/v1/namespaces/n/configmaps", fmt.Sprintf(`{"metadata":{"name":"c%d"}}`, i))
			switch {
			case r.code == 201:
				made.Add(1)
			case r.code == 403 && strings.Contains(string(r.body), "exceeded quota: q, requested: configmaps=1, used: configmaps=10, limited: configmaps=10"):
				refused.Add(1)
			default:
				t.Errorf("%d: %s", r.code, r.body)
			}
		})
	}
	writers.Wait()
	if made.Load() != 10 || refused.Load() != 30 {
		t.Fatalf("%d made, %d refused, want 10 and 30", made.Load(), refused.Load())
	}
	if used("configmaps") != "10" || used("count/configmaps") != "10" {
		t.Errorf("used %s and %s", used("configmaps"), used("count/configmaps"))
	}
	var all struct {
		Items []struct{ Metadata struct{ Name string } }
	}
	if err := json.Unmarshal(c.do("GET", "/api/v1/namespaces/n/configmaps", nil).want(200).body, &all); err != nil {
		t.Fatal(err)
	}
	// A name that is taken is refused by the store after it was charged: it is given back.
	c.do("DELETE", "/api/v1/namespaces/n/configmaps/"+all.Items[0].Metadata.Name, nil).want(200)
	until(t, "the count after a deletion", func() bool { return used("configmaps") == "9" })
	c.do("POST", "/api/v1/namespaces/n/configmaps", fmt.Sprintf(`{"metadata":{"name":%q}}`, all.Items[1].Metadata.Name)).want(409)
	until(t, "the refund", func() bool { return used("configmaps") == "9" })
	c.do("POST", "/api/v1/namespaces/n/configmaps", `{"metadata":{"name":"again"}}`).want(201)
	c.do("POST", "/api/v1/namespaces/n/configmaps", `{"metadata":{"name":"more"}}`).want(403)
}
