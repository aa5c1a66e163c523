package docker

import (
	"encoding/json"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// changed applies Dockerfile instructions to a configuration: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR
// (docker commit --change, docker import --change).
func changed(c ocispec.ImageConfig, changes []string) (ocispec.ImageConfig, error) {
	for _, ch := range changes {
		for line := range strings.Lines(ch) {
			line = strings.TrimSpace(line)
			if line == "" {
				continue
			}
			verb, rest, _ := strings.Cut(line, " ")
			rest = strings.TrimSpace(rest)
			if rest == "" {
				return c, badRequest("%s requires at least one argument", strings.ToUpper(verb))
			}
			switch strings.ToUpper(verb) {
			case "CMD":
				c.Cmd = words(rest, true)
			case "ENTRYPOINT":
				c.Entrypoint, c.Cmd = words(rest, true), nil
			case "ENV":
				for k, v := range pairs(rest) {
					c.Env = setEnv(c.Env, k, v)
				}
			case "LABEL":
				labels := map[string]string{}
				for k, v := range c.Labels {
					labels[k] = v
				}
				for k, v := range pairs(rest) {
					labels[k] = v
				}
				c.Labels = labels
			case "EXPOSE":
				ports := map[string]struct{}{}
				for p := range c.ExposedPorts {
					ports[p] = struct{}{}
				}
				for _, p := range strings.Fields(rest) {
					if !strings.Contains(p, "/") {
						p += "/tcp"
					}
					ports[p] = struct{}{}
				}
				c.ExposedPorts = ports
			case "VOLUME":
				volumes := map[string]struct{}{}
				for v := range c.Volumes {
					volumes[v] = struct{}{}
				}
				for _, v := range words(rest, false) {
					volumes[v] = struct{}{}
				}
				c.Volumes = volumes
			case "STOPSIGNAL":
				c.StopSignal = rest
			case "USER":
				c.User = rest
			case "WORKDIR":
				c.WorkingDir = rest
			default:
				return c, badRequest("%s is not a valid change command", verb)
			}
		}
	}
	return c, nil
}

// words reads the JSON form of an instruction's arguments, else its shell form.
func words(text string, shell bool) []string {
	var list []string
	if json.Unmarshal([]byte(text), &list) == nil {
		return list
	}
	if shell {
		return []string{"/bin/sh", "-c", text}
	}
	return strings.Fields(text)
}

// pairs reads "a=b c='d e'", and the older "a b".
func pairs(text string) map[string]string {
	out := map[string]string{}
	if first, rest, ok := strings.Cut(text, " "); !strings.Contains(first, "=") {
		if ok {
			out[first] = strings.TrimSpace(rest)
		}
		return out
	}
	var word strings.Builder
	var quote rune
	flush := func() {
		if k, v, ok := strings.Cut(word.String(), "="); ok {
			out[k] = v
		}
		word.Reset()
	}
	for _, ch := range text {
		switch {
		case quote != 0 && ch == quote:
			quote = 0
		case quote == 0 && (ch == '"' || ch == '\''):
			quote = ch
		case quote == 0 && ch == ' ':
			flush()
		default:
			word.WriteRune(ch)
		}
	}
	flush()
	return out
}

func setEnv(env []string, k, v string) []string {
	out := []string{}
	for _, kv := range env {
		if !strings.HasPrefix(kv, k+"=") {
			out = append(out, kv)
		}
	}
	return append(out, k+"="+v)
}
