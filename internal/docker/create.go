package docker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"

	"github.com/distribution/reference"
	dc "github.com/moby/moby/api/types/container"
	dn "github.com/moby/moby/api/types/network"

	"nau/internal/engine/cdi"
	"nau/internal/engine/container"
	"nau/internal/engine/image"
	"nau/internal/engine/record"
	"nau/internal/engine/sandbox"
	"nau/internal/engine/spec"
	"nau/internal/kernel/idmap"
)

var nameRule = regexp.MustCompile(`^/?[a-zA-Z0-9][a-zA-Z0-9_.-]+$`)

// createContainer answers POST /containers/create.
func (s *Server) createContainer(c *call) error {
	var req dc.CreateRequest
	var body json.RawMessage
	if err := readJSON(c.Request, &body); err != nil {
		return err
	}
	if len(body) == 0 {
		return badRequest("invalid JSON: %v", io.EOF)
	}
	if err := json.Unmarshal(body, &req); err != nil {
		return badRequest("invalid JSON: %v", err)
	}
	if req.Config == nil {
		return badRequest("config cannot be empty in order to create a container")
	}
	if req.HostConfig == nil {
		req.HostConfig = &dc.HostConfig{}
	}
	old, err := legacyRequest(body, c.version, &req)
	if err != nil {
		return err
	}
	olderCreate(c.version, &req)
	platform := ""
	if c.atLeast("1.41") {
		platform = c.get("platform")
	}
	if n := req.NetworkingConfig; n != nil && len(n.EndpointsConfig) > 1 && !c.atLeast("1.44") {
		return badRequest("Container cannot be created with multiple network endpoints: it needs version 1.44 of the API")
	}
	name := c.get("name")
	if name != "" && !nameRule.MatchString(name) {
		return badRequest("Invalid container name (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", name)
	}
	r, warnings, err := s.create(c.ctx(), strings.TrimPrefix(name, "/"), platform, req)
	if err != nil {
		return err
	}
	if c.atLeast("1.41") && platform == "" {
		warnings = append(warnings, s.foreign(r)...)
	}
	return c.json(http.StatusCreated, dc.CreateResponse{ID: r.ID, Warnings: append(append([]string{}, old...), warnings...)})
}

// foreign warns of a container of an image for another processor that nobody asked for.
func (s *Server) foreign(r *container.Record) []string {
	img, err := s.e.Images.Get(r.Image.String())
	if err != nil {
		return nil
	}
	own := image.HostPlatform()
	if img.Config.Architecture == "" || image.Suits(own, img) {
		return nil
	}
	return []string{fmt.Sprintf("The requested image's platform (%s) does not match the detected host platform (%s) and no specific platform was requested",
		image.FormatPlatform(img.Config.Platform), image.FormatPlatform(own))}
}

// legacyRequest takes over what older versions of the API have in other places, and warns of what no version does any more.
func legacyRequest(body []byte, version string, req *dc.CreateRequest) (warnings []string, err error) {
	var old struct {
		MacAddress string // of the whole container, before 1.52
		HostConfig struct{ KernelMemory, KernelMemoryTCP int64 }
	}
	if len(body) > 0 {
		if err := json.Unmarshal(body, &old); err != nil {
			return nil, badRequest("invalid JSON: %v", err)
		}
	}
	if old.HostConfig.KernelMemory > 0 || old.HostConfig.KernelMemoryTCP > 0 {
		warnings = append(warnings, "Limits of kernel memory are deprecated by the kernel and do nothing. Limitation discarded.")
	}
	if old.MacAddress == "" || compareVersions(version, "1.52") >= 0 {
		return warnings, nil
	}
	mac, err := net.ParseMAC(old.MacAddress)
	if err != nil {
		return warnings, badRequest("invalid MAC address %q", old.MacAddress)
	}
	mode := req.HostConfig.NetworkMode
	if mode.IsContainer() || mode.IsHost() {
		return warnings, badRequest("conflicting options: mac-address and the network mode")
	}
	if mode == "" || mode.IsDefault() {
		mode = dn.NetworkBridge
	}
	if req.NetworkingConfig == nil {
		req.NetworkingConfig = &dn.NetworkingConfig{}
	}
	if req.NetworkingConfig.EndpointsConfig == nil {
		req.NetworkingConfig.EndpointsConfig = map[string]*dn.EndpointSettings{}
	}
	all := req.NetworkingConfig.EndpointsConfig
	if all[string(mode)] == nil {
		all[string(mode)] = &dn.EndpointSettings{}
	}
	if have := all[string(mode)]; len(have.MacAddress) == 0 {
		have.MacAddress = dn.HardwareAddr(mac)
	}
	return warnings, nil
}

// noImage words a missing image as clients parse it.
func noImage(ref string) error {
	if named, err := reference.ParseNormalizedNamed(ref); err == nil {
		if _, digested := named.(reference.Digested); !digested {
			ref = reference.FamiliarString(reference.TagNameOnly(named))
		}
	}
	return notFound("No such image: %s", ref)
}

func (s *Server) image(ref string) (*image.Image, error) {
	img, err := s.e.Images.Get(ref)
	if errors.Is(err, image.ErrNotFound) {
		return nil, noImage(ref)
	}
	if errors.Is(err, image.ErrInvalidReference) {
		if _, perr := reference.ParseNormalizedNamed(ref); perr != nil {
			return nil, badRequest("%v", perr) // which says what is wrong with it
		}
		return nil, badRequest("invalid reference format")
	}
	return img, err
}

// create makes a container of a request.
func (s *Server) create(ctx context.Context, name, platform string, req dc.CreateRequest) (*container.Record, []string, error) {
	return s.define(ctx, record.NewID(), name, platform, req, s.e.Containers.Create)
}

// define makes of a request what the engine is to have, and gives it to put.
func (s *Server) define(ctx context.Context, id, name, platform string, req dc.CreateRequest,
	put func(context.Context, container.Config) (*container.Record, error)) (*container.Record, []string, error) {
	cfg, host := req.Config, req.HostConfig
	if cfg.Image == "" {
		return nil, nil, badRequest("config.Image is empty") // the CLI never sends it
	}
	want, err := asked(platform)
	if err != nil {
		return nil, nil, err
	}
	img, err := s.imageFor(cfg.Image, want)
	if err != nil {
		return nil, nil, err
	}
	if err := checkModes(cfg, host); err != nil {
		return nil, nil, err
	}
	if err := checkRemap(s.e.Config().Remap, host); err != nil {
		return nil, nil, err
	}
	warned, err := checkBindings(host.PortBindings)
	if err != nil {
		return nil, nil, err
	}
	merge(cfg, imageConfig(img))
	if len(cfg.Entrypoint) == 0 && len(cfg.Cmd) == 0 {
		return nil, nil, badRequest("no command specified")
	}
	adapt(host, s.e.Host())
	if err := s.keepLinks(host); err != nil {
		return nil, nil, err
	}
	if len(host.Links) > 0 && (host.NetworkMode.IsDefault() || host.NetworkMode.IsBridge()) {
		warned = append(warned, "Links on the default bridge network are deprecated and will be removed in a future release. Use a custom network instead.")
	}
	host.Runtime = cmp.Or(host.Runtime, s.e.Config().Runtime, container.BuiltIn)
	st := &stored{Config: cfg, Host: host, Own: true, Platform: "linux"}
	e, warnings, err := compose(cfg, host, s.surroundings(id))
	if err != nil {
		return nil, nil, err
	}
	e.ID = id
	if platform != "" { // the name may show another one
		e.Image = img.ID.String()
	}
	wishes, err := wishes(cfg, host, s.e.Host(), s.find)
	if err != nil {
		return nil, nil, err
	}
	if err := aroundState(wishes, s.e.Config().DataDir, s.e.Config().RunDir); err != nil {
		return nil, nil, err
	}

	e.Name, err = s.reserve(name, id)
	if err != nil {
		return nil, nil, err
	}
	defer s.unreserve(e.Name)
	tagLog(&container.Record{ID: id, Image: img.ID, Config: e}, cfg, host)
	undo, err := s.place(&e, st, req.NetworkingConfig)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			undo()
		}
	}()
	var owners idmap.Map
	if sb, err := s.e.Sandboxes.Get(e.Sandbox); err == nil {
		owners = sb.Config.Owners
	}
	if e.Mounts, st.Mounts, err = s.realise(ctx, wishes, img, owners); err != nil {
		return nil, nil, err
	}
	if e.Extra, err = json.Marshal(st); err != nil {
		return nil, nil, err
	}
	r, err := put(ctx, e)
	if err == nil {
		if err = s.makeWorkdir(ctx, r, cfg.WorkingDir); err != nil {
			_ = s.e.Containers.Remove(context.WithoutCancel(ctx), r.ID)
		}
	}
	if errors.Is(err, spec.ErrNoCommand) {
		err = badRequest("no command specified")
	}
	if errors.Is(err, container.ErrNameTaken) {
		err = nameTaken(e.Name, "")
	}
	return r, append(warned, warnings...), err
}

// reserve chooses a name where none is asked for, and keeps it from others who are creating until unreserve: the container has it by then, or nobody.
func (s *Server) reserve(name, id string) (string, error) {
	s.creating.Lock()
	defer s.creating.Unlock()
	if name == "" {
		name = s.names.free(func(n string) bool {
			_, err := s.e.Containers.Find(n)
			return err == nil || s.reserved[n] != ""
		})
	}
	if other, err := s.e.Containers.Find(name); err == nil && other.Config.Name == name {
		return "", nameTaken(name, other.ID)
	}
	if other := s.reserved[name]; other != "" {
		return "", nameTaken(name, other)
	}
	s.reserved[name] = id
	return name, nil
}

func (s *Server) unreserve(name string) {
	s.creating.Lock()
	defer s.creating.Unlock()
	delete(s.reserved, name)
}

// surroundings are what a container's configuration depends on beside the request.
type surroundings struct {
	host     spec.Host
	can      support
	runtimes map[string]string                       // registered: name → path
	cdi      func() *cdi.Registry                    // of vendors' devices
	folder   string                                  // of the container's own files
	id       string                                  // of the container
	find     func(string) (*container.Record, error) // of other containers
}

func (s *Server) surroundings(id string) surroundings {
	return surroundings{host: s.e.Host(), can: s.can, runtimes: s.e.Config().Runtimes,
		cdi: func() *cdi.Registry { return cdi.Load(s.e.Config().CDIDirs) }, folder: s.e.Containers.Folder(id), id: id, find: s.find}
}

// compose maps a request to the engine's words: all but the container's place and its mounts.
func compose(cfg *dc.Config, host *dc.HostConfig, in surroundings) (container.Config, []string, error) {
	e := container.Config{Origin: Origin, Labels: cfg.Labels, Image: cfg.Image, Annotations: host.Annotations,
		OpenStdin: cfg.OpenStdin, StdinOnce: cfg.StdinOnce, StopSignal: cfg.StopSignal,
		Size:       container.Size{Height: uint16(host.ConsoleSize[0]), Width: uint16(host.ConsoleSize[1])},
		Restart:    restartPolicy(host),
		AutoRemove: host.AutoRemove, Ephemeral: host.AutoRemove}
	var warnings []string
	for _, step := range []func() error{
		func() (err error) { e.Process, err = process(cfg, host); return },
		func() (err error) { e.Security, err = security(host, in.host); return },
		func() (err error) { e.Resources, warnings, err = limits(&host.Resources, in.can); return },
		func() (err error) { e.Devices, err = devices(host); return },
		func() (err error) { e.CDI, err = deviceRequests(host.DeviceRequests, in.cdi); return },
		func() (err error) { e.Log, err = logging(cfg, host, in.folder, in.id); return },
		func() (err error) { e.Runtime, err = runtimeName(host.Runtime, in.runtimes); return },
		func() error { return namespaces(&e, host, in.find) },
	} {
		if err := step(); err != nil {
			return e, warnings, err
		}
	}
	return e, warnings, nil
}

func nameTaken(name, id string) error {
	return conflict("Conflict. The container name %q is already in use by container %q. You have to remove (or rename) that container to be able to reuse that name.", "/"+name, id)
}

// namespaces maps --pid, --ipc and --cgroupns.
func namespaces(e *container.Config, h *dc.HostConfig, find func(string) (*container.Record, error)) error {
	e.NoShm = h.IpcMode.IsNone()
	switch h.CgroupnsMode {
	case dc.CgroupnsModePrivate:
		e.CgroupNS = container.CgroupOwn
	case dc.CgroupnsModeHost:
		e.CgroupNS = container.CgroupHost
	}
	if h.IpcMode.IsContainer() {
		other, err := find(h.IpcMode.Container())
		if err != nil {
			return badRequest("%v", err)
		}
		e.IPCOf = other.ID
		h.IpcMode = dc.IpcMode("container:" + other.ID)
	}
	switch {
	case h.PidMode.IsHost():
		e.PID = container.PIDHost
	case h.PidMode.IsContainer():
		other, err := find(h.PidMode.Container())
		if err != nil {
			return badRequest("%v", err)
		}
		e.PIDOf = other.ID
		h.PidMode = dc.PidMode("container:" + other.ID)
	}
	return nil
}

// place finds or makes the sandbox.
func (s *Server) place(e *container.Config, st *stored, wanted *dn.NetworkingConfig) (undo func(), err error) {
	undo = func() {}
	cfg, host := st.Config, st.Host
	if host.NetworkMode.IsContainer() {
		st.Own = false
		other, err := s.find(host.NetworkMode.ConnectedContainer())
		if statusOf(err) == http.StatusNotFound { // it may come before the start
			return s.defineSandbox(e, sandbox.Config{Origin: Origin, Ephemeral: host.AutoRemove, Owners: s.ownersOf(host)})
		}
		if err != nil {
			return undo, badRequest("joining network namespace of container: %v", err)
		}
		host.NetworkMode = dc.NetworkMode("container:" + other.ID)
		e.Sandbox = other.Config.Sandbox
		if sb, err := s.e.Sandboxes.Get(e.Sandbox); err == nil {
			cfg.Hostname, cfg.Domainname = sb.Config.Hostname, sb.Config.Domainname
		}
		return undo, nil
	}
	if cfg.Hostname == "" && !host.NetworkMode.IsHost() && !host.UTSMode.IsHost() {
		cfg.Hostname = e.ID[:12]
	}
	if cfg.Hostname == "" && host.NetworkMode.IsHost() && !host.UTSMode.IsHost() {
		cfg.Hostname, _ = os.Hostname()
	}
	var endpoints map[string]*dn.EndpointSettings
	if wanted != nil {
		endpoints = wanted.EndpointsConfig
	}
	nets, absent, err := s.attachments(host.NetworkMode, endpoints, e.Name)
	if err != nil {
		return undo, err
	}
	st.Absent = absent
	st.Networks = map[string]*dn.EndpointSettings{}
	for _, n := range nets {
		st.Networks[n.net.ID] = n.settings
	}
	sc, err := sandboxConfig(cfg, host, nets, s.gatewayOf(host.NetworkMode))
	if err != nil {
		return undo, err
	}
	sc.Ephemeral = host.AutoRemove
	sc.Owners = s.ownersOf(host)
	if undo, err = s.defineSandbox(e, sc); err != nil {
		return undo, err
	}
	if sb, err := s.e.Sandboxes.Get(e.Sandbox); err == nil {
		st.Place = &sb.Config
	}
	return undo, nil
}

// defineSandbox makes a sandbox for a container.
func (s *Server) defineSandbox(e *container.Config, c sandbox.Config) (undo func(), err error) {
	sb, err := s.e.Sandboxes.Define(c)
	if err != nil {
		return func() {}, badRequest("%v", err)
	}
	e.Sandbox = sb.ID
	return func() { _ = s.e.Sandboxes.Remove(context.Background(), sb.ID) }, nil
}

// ownersOf is the user namespace that a container is to be in.
func (s *Server) ownersOf(h *dc.HostConfig) idmap.Map {
	if h.UsernsMode.IsHost() {
		return idmap.Map{}
	}
	return s.e.Config().Remap
}

// names invents names for containers that are given none.
type names struct{ n uint32 }

var (
	moods = strings.Fields("able agile bold brave bright calm clever cosy daring deft eager early fair fine fleet fond frank fresh gentle glad golden grand happy hardy honest jolly keen kind lively loyal lucky mellow merry mild modest neat nimble noble patient plain proud quick quiet ready rosy serene sharp smart snug sober steady still stout sunny swift tidy true warm wise witty")
	ships = strings.Fields("albatross anchor barque beacon bosun brig buoy cabin capstan caravel carrack clipper compass corvette cutter dhow dory ferry frigate galleon galley harbour helm hull jib junk keel ketch lantern lighter lugger mast mizzen navigator oar packet pilot pinnace prow quay reef rigger rudder sail schooner sextant skiff sloop spar stern tiller topsail trawler tug whaler windlass xebec yawl")
)

func (n *names) free(taken func(string) bool) string {
	for {
		id := record.NewID()
		a, b := 0, 0
		for i := range 8 {
			a, b = a*16+hexDigit(id[i]), b*16+hexDigit(id[8+i])
		}
		name := moods[a%len(moods)] + "_" + ships[b%len(ships)]
		if n.n++; n.n > 1000 {
			name += id[16:20]
		}
		if !taken(name) {
			return name
		}
	}
}

func hexDigit(c byte) int {
	if c >= 'a' {
		return int(c-'a') + 10
	}
	return int(c - '0')
}
