package docker

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/docker/go-units"
	dc "github.com/moby/moby/api/types/container"

	"nau/internal/engine/container"
	"nau/internal/engine/logs/forward"
	"nau/internal/oci/monitor"
)

// Docker's log drivers that are here. The monitor writes one kind of file for all but none: drivers that send it on read that file (see
// forward), so that `docker logs` works with them too and no container waits for a receiver.
const (
	jsonFile = "json-file"
	localLog = "local"
	noLog    = "none"
	sysLog   = "syslog"
	journald = "journald"
)

var logDrivers = []string{journald, jsonFile, localLog, noLog, sysLog}

// logDefaults are a driver's rotation: on for all, so that no container fills the disk. For local and the cache of those that send on they are
// Docker's.
var logDefaults = map[string]monitor.LogConfig{
	jsonFile: {MaxSize: 64 << 20, MaxFiles: 2},
	localLog: {MaxSize: 20 << 20, MaxFiles: 5, Compress: true},
	sysLog:   {MaxSize: 20 << 20, MaxFiles: 5},
	journald: {MaxSize: 20 << 20, MaxFiles: 5},
}

// logOptions are what drivers take beside what all take.
var (
	fileOptions   = []string{"max-size", "max-file", "compress"}
	chosenOptions = []string{"labels", "labels-regex", "env", "env-regex", "tag"}
	commonOptions = []string{"mode", "max-buffer-size"}
	cacheOptions  = []string{"cache-disabled", "cache-max-size", "cache-max-file", "cache-compress"}
	driverOptions = map[string][]string{
		jsonFile: slices.Concat(fileOptions, chosenOptions, commonOptions),
		localLog: slices.Concat(fileOptions, commonOptions),
		noLog:    nil,
		journald: slices.Concat(chosenOptions, commonOptions, cacheOptions),
		sysLog: slices.Concat([]string{"syslog-address", "syslog-facility", "syslog-format", "syslog-tls-ca-cert", "syslog-tls-cert", "syslog-tls-key", "syslog-tls-skip-verify"},
			chosenOptions, commonOptions, cacheOptions),
	}
)

// logging maps the log driver and its options.
func logging(c *dc.Config, h *dc.HostConfig, folder, id string) (monitor.LogConfig, error) {
	h.LogConfig.Type = cmp.Or(h.LogConfig.Type, jsonFile)
	if h.LogConfig.Config == nil {
		h.LogConfig.Config = map[string]string{}
	}
	driver, opts := h.LogConfig.Type, h.LogConfig.Config
	known, ok := driverOptions[driver]
	if !ok {
		return monitor.LogConfig{}, badRequest("failed to initialize logging driver: logger: no log driver named '%s' is registered: there are %s", driver, strings.Join(slices.Sorted(maps.Keys(driverOptions)), ", "))
	}
	for _, k := range slices.Sorted(maps.Keys(opts)) {
		if !slices.Contains(known, k) {
			return monitor.LogConfig{}, badRequest("%s", unknownOption(k, driver))
		}
	}
	if err := checkMode(opts); err != nil {
		return monitor.LogConfig{}, err
	}
	if driver == noLog {
		return monitor.LogConfig{Format: noLog}, nil
	}
	l := logDefaults[driver]
	l.Format, l.Path = "docker", filepath.Join(folder, id+"-json.log")
	prefix := ""
	if forwards(driver) {
		prefix = "cache-"
		if _, err := forward.ParseSyslog(opts); driver == sysLog && err != nil {
			return l, badRequest("%v", err)
		}
	}
	if err := rotation(&l, opts, prefix); err != nil {
		return l, err
	}
	l.Compress = l.Compress && !forwards(driver) // forwarders find their place in plain files
	attrs, err := chosen(c, opts)
	if err != nil {
		return l, err
	}
	if opts["tag"] != "" {
		if _, err := expandTag(opts["tag"], tagValues(&container.Record{ID: strings.Repeat("0", 64)}, c)); err != nil {
			return l, err
		}
	}
	if driver == jsonFile {
		l.Attrs = attrs
	}
	return l, nil
}

// tagLog puts the tag into each line of a json-file log, where one is asked for.
func tagLog(r *container.Record, c *dc.Config, h *dc.HostConfig) {
	tag := h.LogConfig.Config["tag"]
	if h.LogConfig.Type != jsonFile || tag == "" {
		return
	}
	if text, err := expandTag(tag, tagValues(r, c)); err == nil {
		r.Config.Log.Attrs["tag"] = text
	}
}

// forwards reports whether a driver sends the log somewhere.
func forwards(driver string) bool { return driver == sysLog || driver == journald }

// checkMode checks how a container's output is delivered. The monitor's file is the buffer between a container and a receiver in both modes.
func checkMode(opts map[string]string) error {
	switch mode := opts["mode"]; mode {
	case "", "blocking", "non-blocking":
	default:
		return badRequest("logger: logging mode '%s' is not supported", mode)
	}
	if size := opts["max-buffer-size"]; size != "" {
		if opts["mode"] != "non-blocking" {
			return badRequest("logger: max-buffer-size option is only supported with 'mode=non-blocking'")
		}
		if _, err := units.RAMInBytes(size); err != nil {
			return badRequest("logger: error parsing option max-buffer-size: %v", err)
		}
	}
	return nil
}

func rotation(l *monitor.LogConfig, opts map[string]string, prefix string) error {
	if v, ok := opts[prefix+"max-size"]; ok {
		n, err := units.RAMInBytes(v)
		if err != nil && v != "-1" {
			return badRequest("invalid %smax-size: %s", prefix, v)
		}
		if l.MaxSize = max(n, 0); n == 0 && v != "-1" {
			return badRequest("%smax-size must be a positive number", prefix)
		}
	}
	if v, ok := opts[prefix+"max-file"]; ok {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 {
			return badRequest("%smax-file cannot be less than 1", prefix)
		}
		l.MaxFiles = n
	}
	if v, ok := opts[prefix+"compress"]; ok {
		on, err := strconv.ParseBool(v)
		if err != nil {
			return badRequest("invalid %scompress: %s", prefix, v)
		}
		if on && (l.MaxFiles < 2 || l.MaxSize == 0) {
			return badRequest("compress cannot be true when max-file is less than 2 or max-size is not set")
		}
		l.Compress = on
	}
	return nil
}

// chosen are the labels and variables that the options name.
func chosen(c *dc.Config, opts map[string]string) (map[string]string, error) {
	out := map[string]string{}
	env := map[string]string{}
	for _, kv := range c.Env {
		k, v, _ := strings.Cut(kv, "=")
		env[k] = v
	}
	for _, from := range []struct {
		have        map[string]string
		list, regex string
	}{{c.Labels, opts["labels"], opts["labels-regex"]}, {env, opts["env"], opts["env-regex"]}} {
		for _, name := range strings.Split(from.list, ",") {
			if v, ok := from.have[name]; ok && name != "" {
				out[name] = v
			}
		}
		if from.regex == "" {
			continue
		}
		re, err := regexp.Compile(from.regex)
		if err != nil {
			return nil, badRequest("invalid log opt regular expression: %v", err)
		}
		for name, v := range from.have {
			if re.MatchString(name) {
				out[name] = v
			}
		}
	}
	return out, nil
}

// tagValues are what a tag's template may name. Source: Docker's documentation, "Customize log driver output".
func tagValues(r *container.Record, c *dc.Config) map[string]string {
	img := strings.TrimPrefix(r.Image.String(), "sha256:")
	return map[string]string{"ID": r.ID[:12], "FullID": r.ID, "Name": r.Config.Name, "ImageID": img[:min(12, len(img))], "ImageFullID": r.Image.String(), "ImageName": c.Image,
		"DaemonName": "docker", "Command": strings.Join(slices.Concat(c.Entrypoint, c.Cmd), " ")}
}

var placeholder = regexp.MustCompile(`\{\{\s*\.(\w+)\s*\}\}`)

// expandTag fills a template's names in.
func expandTag(text string, values map[string]string) (string, error) {
	var bad error
	out := placeholder.ReplaceAllStringFunc(text, func(s string) string {
		name := placeholder.FindStringSubmatch(s)[1]
		v, ok := values[name]
		if !ok {
			bad = badRequest("invalid log tag %q: there is no %s; there are %s", text, name, strings.Join(slices.Sorted(maps.Keys(values)), ", "))
		}
		return v
	})
	if bad == nil && strings.Contains(out, "{{") {
		bad = badRequest("invalid log tag %q: only names as {{.Name}} can be filled in", text)
	}
	return out, bad
}

// sinkOf is how a container's log is sent; nil when it is not.
func sinkOf(r *container.Record, st *stored) func() (forward.Sink, error) {
	l := st.Host.LogConfig
	if !forwards(l.Type) {
		return nil
	}
	attrs, err := chosen(st.Config, l.Config)
	if err != nil {
		return nil
	}
	tag, err := expandTag(cmp.Or(l.Config["tag"], "{{.ID}}"), tagValues(r, st.Config))
	if err != nil {
		return nil
	}
	m := forward.Meta{ID: r.ID, Name: r.Config.Name, Image: st.Config.Image, Tag: tag, Attrs: attrs}
	return func() (forward.Sink, error) {
		if l.Type == journald {
			return forward.OpenJournal(forward.JournalSocket, m)
		}
		s, err := forward.ParseSyslog(l.Config)
		if err != nil {
			return nil, err
		}
		return s.Open(m)
	}
}

// senders are the forwarders at work, by container.
type senders struct {
	mu  sync.Mutex
	all map[string]*sender
}

type sender struct {
	stop        context.CancelFunc
	ended, done chan struct{}
}

// checkLog finds out whether a container's log can be sent, before it starts.
func checkLog(r *container.Record, st *stored) error {
	open := sinkOf(r, st)
	if open == nil {
		return nil
	}
	sink, err := open()
	if err != nil {
		return fail(500, "failed to create task for container: failed to initialize logging driver: %v", err)
	}
	return sink.Close()
}

// sendLog begins to send a container's log, behind what an earlier sender still sends.
func (s *Server) sendLog(r *container.Record, st *stored) {
	open := sinkOf(r, st)
	if open == nil {
		return
	}
	ctx, stop := context.WithCancel(s.life)
	x := &sender{stop, make(chan struct{}), make(chan struct{})}
	s.senders.mu.Lock()
	if s.senders.all == nil {
		s.senders.all = map[string]*sender{}
	}
	before := s.senders.all[r.ID]
	s.senders.all[r.ID] = x
	s.senders.mu.Unlock()
	job := forward.Job{Log: r.Config.Log.Path, Cursor: filepath.Join(s.e.Containers.Folder(r.ID), "sent"), Open: open, Warn: s.log.With("container", r.ID)}
	s.ended.Go(func() {
		defer close(x.done)
		defer stop()
		if before != nil {
			select {
			case <-before.done:
			case <-ctx.Done():
				return
			}
		}
		job.Run(ctx, x.ended)
	})
}

// logEnded tells the sender that its container's run is over.
func (x *senders) logEnded(id string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if s := x.all[id]; s != nil {
		select {
		case <-s.ended:
		default:
			close(s.ended)
		}
	}
}

// flush waits until all of a container's log is sent, or ctx ends, and lets the sender go.
func (x *senders) flush(ctx context.Context, id string) {
	x.logEnded(id)
	x.mu.Lock()
	s := x.all[id]
	delete(x.all, id)
	x.mu.Unlock()
	if s == nil {
		return
	}
	select {
	case <-s.done:
	case <-ctx.Done():
	}
	s.stop()
}

// unknownOption words an option that a driver has not; Docker words it in two ways.
func unknownOption(option, driver string) string {
	if driver == localLog {
		return fmt.Sprintf("unknown log opt '%s' for log driver %s", option, driver)
	}
	return fmt.Sprintf("unknown log opt '%s' for %s log driver", option, driver)
}
