package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/apiserver/ipalloc"
	"nau/internal/store"
)

// services gives addresses and node ports to services. An address is held by an IPAddress object of its name (KEP-1880), so
// that two servers cannot give the same one; node ports are known from the services themselves.
type services struct {
	s        *Server
	ranges   map[corev1.IPFamily]*ipalloc.Addresses
	families []corev1.IPFamily // the preferred one first
	ports    ipalloc.Ports

	once  sync.Once
	mu    sync.Mutex
	taken map[int32]bool // node ports, booked or on their way into the store
}

var (
	servicesGR    = schema.GroupResource{Resource: "services"}
	ipAddressesGR = schema.GroupResource{Group: "networking.k8s.io", Resource: "ipaddresses"}
)

func (s *Server) allocateServices() error {
	a := &services{s: s, ranges: map[corev1.IPFamily]*ipalloc.Addresses{}, taken: map[int32]bool{},
		ports: ipalloc.Ports{First: s.NodePorts[0], Last: s.NodePorts[1]}}
	if a.ports.First == 0 {
		a.ports = ipalloc.Ports{First: 30000, Last: 32767}
	}
	for _, p := range s.ServiceCIDRs {
		f := familyOf(p.Addr())
		if a.ranges[f] != nil {
			return fmt.Errorf("configure service range %s: there is one of its family already", p)
		}
		a.ranges[f] = ipalloc.NewAddresses(p)
		a.families = append(a.families, f)
	}
	v := s.registry.now()
	k := v.kindOf(servicesGR)
	if k == nil {
		return nil
	}
	k.hooks = a
	s.services = a
	return nil
}

func (a *services) addresses() *kind { return a.s.registry.now().kindOf(ipAddressesGR) }

// booking is what one write has taken so far, to be given back if it fails.
type booking struct {
	a     *services
	ips   []string
	ports []int32
}

// add notes a booked address; a dry run books none.
func (b *booking) add(ip string, dryRun bool) {
	if !dryRun {
		b.ips = append(b.ips, ip)
	}
}

func (b *booking) undo() {
	b.a.release(b.ips, b.ports)
}

// create is called with the object prepared, before it is validated.
func (a *services) create(obj runtime.Object, dryRun bool) (func(bool), error) {
	svc, ok := obj.(*corev1.Service)
	if !ok {
		return func(bool) {}, nil
	}
	return a.book(svc, nil, dryRun)
}

// update books what is new and gives back what is no longer held once the write is through.
func (a *services) update(new, old runtime.Object, dryRun bool) (func(bool), error) {
	n, ok1 := new.(*corev1.Service)
	o, ok2 := old.(*corev1.Service)
	if !ok1 || !ok2 {
		return func(bool) {}, nil
	}
	return a.book(n, o, dryRun)
}

func (a *services) deleted(old runtime.Object) {
	if svc, ok := old.(*corev1.Service); ok {
		a.release(addressesOf(&svc.Spec), portsOf(&svc.Spec))
	}
}

func (a *services) book(svc, old *corev1.Service, dryRun bool) (finish func(bool), err error) {
	a.once.Do(a.load)
	s := &svc.Spec
	var os *corev1.ServiceSpec
	var heldIPs []string
	var heldPorts []int32
	if old != nil {
		os = &old.Spec
		heldIPs, heldPorts = addressesOf(os), portsOf(os)
	}
	if fe := settleFamilies(s, os, a.families); fe != nil {
		return nil, fe
	}
	b := &booking{a: a}
	if fe := a.bookAddresses(svc, heldIPs, b, dryRun); fe != nil {
		b.undo()
		return nil, fe
	}
	if fe := a.bookPorts(s, heldPorts, b); fe != nil {
		b.undo()
		return nil, fe
	}
	return func(committed bool) {
		if !committed || dryRun {
			b.undo()
			return
		}
		var ips []string
		for _, ip := range heldIPs {
			if !slices.Contains(addressesOf(s), ip) {
				ips = append(ips, ip)
			}
		}
		var ports []int32
		for _, p := range heldPorts {
			if !slices.Contains(portsOf(s), p) {
				ports = append(ports, p)
			}
		}
		a.release(ips, ports)
	}, nil
}

func (a *services) bookAddresses(svc *corev1.Service, held []string, b *booking, dryRun bool) *field.Error {
	s := &svc.Spec
	if !wantsAddress(s) {
		if s.ClusterIP == corev1.ClusterIPNone {
			s.ClusterIPs = []string{corev1.ClusterIPNone}
		}
		return nil
	}
	if len(s.ClusterIPs) == 0 && s.ClusterIP != "" {
		s.ClusterIPs = []string{s.ClusterIP}
	}
	for i, f := range s.IPFamilies {
		path := field.NewPath("spec", "clusterIPs")
		if i < len(s.ClusterIPs) && s.ClusterIPs[i] != "" {
			text := s.ClusterIPs[i]
			if slices.Contains(held, text) {
				continue
			}
			ip, err := netip.ParseAddr(text)
			if err != nil {
				return nil // validation says so
			}
			if !a.ranges[f].Contains(ip) {
				return field.Invalid(path, s.ClusterIPs, fmt.Sprintf("failed to allocate IP %s: the provided network does not match the current range", text))
			}
			if err := a.take(ip, f, svc, dryRun); err != nil {
				if errors.Is(err, store.ErrExists) {
					return field.Invalid(path, s.ClusterIPs, fmt.Sprintf("failed to allocate IP %s: provided IP is already allocated", text))
				}
				return field.InternalError(path, err)
			}
			b.add(text, dryRun)
			continue
		}
		ip, err := a.pick(f, svc, dryRun)
		if err != nil {
			return field.InternalError(path, fmt.Errorf("allocate cluster address: %w", err))
		}
		if i < len(s.ClusterIPs) {
			s.ClusterIPs[i] = ip.String()
		} else {
			s.ClusterIPs = append(s.ClusterIPs, ip.String())
		}
		b.add(ip.String(), dryRun)
	}
	if len(s.ClusterIPs) > 0 {
		s.ClusterIP = s.ClusterIPs[0]
	}
	return nil
}

// pick finds and books a free address. The cache proposes; the store decides.
func (a *services) pick(f corev1.IPFamily, svc *corev1.Service, dryRun bool) (netip.Addr, error) {
	k := a.addresses()
	for range 16 {
		ip, err := a.ranges[f].Pick(func(ip netip.Addr) bool {
			_, err := k.open().Get(context.Background(), ip.String(), -1)
			return err == nil
		})
		if err != nil {
			return ip, err
		}
		err = a.take(ip, f, svc, dryRun)
		if errors.Is(err, store.ErrExists) {
			continue
		}
		return ip, err
	}
	return netip.Addr{}, ipalloc.ErrFull
}

// take books one address by making its IPAddress.
func (a *services) take(ip netip.Addr, f corev1.IPFamily, svc *corev1.Service, dryRun bool) error {
	k := a.addresses()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if dryRun {
		if _, err := k.open().Get(ctx, ip.String(), 0); err == nil {
			return store.ErrExists
		}
		return nil
	}
	obj := &networkingv1.IPAddress{
		ObjectMeta: metav1.ObjectMeta{
			Name: ip.String(), UID: uuid.NewUUID(), CreationTimestamp: a.s.now(), Generation: 1,
			Labels: map[string]string{networkingv1.LabelIPAddressFamily: string(f), networkingv1.LabelManagedBy: "ipallocator.k8s.io"},
		},
		Spec: networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{Resource: "services", Namespace: svc.Namespace, Name: svc.Name}},
	}
	b, err := k.encodeStored(obj)
	if err != nil {
		return err
	}
	_, err = k.open().Create(ctx, ip.String(), store.Value{Object: obj, Bytes: b})
	return err
}

func (a *services) bookPorts(s *corev1.ServiceSpec, held []int32, b *booking) *field.Error {
	a.mu.Lock()
	defer a.mu.Unlock()
	book := func(path *field.Path, port int32, mine []int32) *field.Error {
		if slices.Contains(held, port) || slices.Contains(mine, port) {
			return nil
		}
		if !a.ports.Contains(port) {
			return field.Invalid(path, port, fmt.Sprintf("provided port is not in the valid range. The range of valid ports is %d-%d", a.ports.First, a.ports.Last))
		}
		if a.taken[port] {
			return field.Invalid(path, port, "provided port is already allocated")
		}
		a.taken[port] = true
		b.ports = append(b.ports, port)
		return nil
	}
	fresh := func(path *field.Path) (int32, *field.Error) {
		port, err := a.ports.Pick(func(p int32) bool { return a.taken[p] })
		if err != nil {
			return 0, field.InternalError(path, fmt.Errorf("allocate node port: %w", err))
		}
		a.taken[port] = true
		b.ports = append(b.ports, port)
		return port, nil
	}
	if wantsNodePorts(s) {
		var mine []int32
		for i := range s.Ports {
			path := field.NewPath("spec", "ports").Index(i).Child("nodePort")
			if p := s.Ports[i].NodePort; p != 0 {
				if fe := book(path, p, mine); fe != nil {
					return fe
				}
				mine = append(mine, p)
			}
		}
		for i := range s.Ports {
			p := &s.Ports[i]
			if p.NodePort != 0 {
				continue
			}
			// One number serves a port of two protocols.
			for j := range s.Ports {
				if q := &s.Ports[j]; j != i && q.Port == p.Port && q.Protocol != p.Protocol && q.NodePort != 0 {
					p.NodePort = q.NodePort
				}
			}
			if p.NodePort == 0 {
				port, fe := fresh(field.NewPath("spec", "ports").Index(i).Child("nodePort"))
				if fe != nil {
					return fe
				}
				p.NodePort = port
			}
		}
	} else if s.Type == corev1.ServiceTypeLoadBalancer {
		for i := range s.Ports {
			if p := s.Ports[i].NodePort; p != 0 {
				if fe := book(field.NewPath("spec", "ports").Index(i).Child("nodePort"), p, nil); fe != nil {
					return fe
				}
			}
		}
	}
	if wantsHealthPort(s) {
		path := field.NewPath("spec", "healthCheckNodePort")
		if s.HealthCheckNodePort != 0 {
			return book(path, s.HealthCheckNodePort, nil)
		}
		port, fe := fresh(path)
		if fe != nil {
			return fe
		}
		s.HealthCheckNodePort = port
	}
	return nil
}

func (a *services) release(ips []string, ports []int32) {
	if len(ips) > 0 {
		k := a.addresses()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		for _, ip := range ips {
			if _, err := k.open().Delete(ctx, ip, 0); err != nil && !errors.Is(err, store.ErrNotFound) {
				a.s.log.Warn("cluster address stays booked until the next start", "ip", ip, "cause", err)
			}
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range ports {
		delete(a.taken, p)
	}
}

// load learns what is held when the first service is written, and repairs what a crash between two writes left behind:
// addresses without a service, and services without their address.
func (a *services) load() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	k := a.s.registry.now().kindOf(servicesGR)
	page, err := k.open().List(ctx, store.ListOptions{})
	if err != nil {
		a.s.log.Error("list services", "cause", err)
		return
	}
	owner := map[string]*corev1.Service{}
	a.mu.Lock()
	for _, e := range page.Entries {
		svc := e.Object.(*corev1.Service)
		for _, p := range portsOf(&svc.Spec) {
			a.taken[p] = true
		}
		for _, ip := range addressesOf(&svc.Spec) {
			owner[ip] = svc
		}
	}
	a.mu.Unlock()
	ips := a.addresses()
	if ips == nil {
		return
	}
	held, err := ips.open().List(ctx, store.ListOptions{})
	if err != nil {
		a.s.log.Error("list cluster addresses", "cause", err)
		return
	}
	for _, e := range held.Entries {
		ip := e.Object.(*networkingv1.IPAddress)
		if ip.Labels[networkingv1.LabelManagedBy] != "ipallocator.k8s.io" {
			delete(owner, ip.Name)
			continue
		}
		if owner[ip.Name] == nil {
			_, _ = ips.open().Delete(ctx, ip.Name, e.Revision)
		}
		delete(owner, ip.Name)
	}
	for text, svc := range owner {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			continue
		}
		if err := a.take(ip, familyOf(ip), svc, false); err != nil && !errors.Is(err, store.ErrExists) {
			a.s.log.Warn("book cluster address", "ip", text, "service", svc.Namespace+"/"+svc.Name, "cause", err)
		}
	}
}
