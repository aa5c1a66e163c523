package environ

import "strings"

// Expand replaces $(NAME) by what vars has for NAME. $$ stands for a dollar; an unknown name stays as it was written.
// Source: Container.command and EnvVar.value in the API reference.
func Expand(s string, vars map[string]string) string {
	if !strings.Contains(s, "$") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '$' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		switch s[i+1] {
		case '$':
			b.WriteByte('$')
			i++
		case '(':
			end := strings.IndexByte(s[i+2:], ')')
			if end < 0 {
				b.WriteString(s[i : i+2])
				i++
				continue
			}
			name := s[i+2 : i+2+end]
			if v, ok := vars[name]; ok {
				b.WriteString(v)
			} else {
				b.WriteString("$(" + name + ")")
			}
			i += 2 + end
		default:
			b.WriteByte('$')
		}
	}
	return b.String()
}

// ExpandStrict is Expand for paths: an unknown name is an error.
func ExpandStrict(s string, vars map[string]string) (string, []string) {
	var missing []string
	known := map[string]string{}
	for rest := s; ; {
		i := strings.Index(rest, "$(")
		if i < 0 {
			break
		}
		rest = rest[i+2:]
		j := strings.IndexByte(rest, ')')
		if j < 0 {
			break
		}
		if v, ok := vars[rest[:j]]; ok {
			known[rest[:j]] = v
		} else {
			missing = append(missing, rest[:j])
		}
		rest = rest[j+1:]
	}
	return Expand(s, known), missing
}

// ExpandAll expands every element.
func ExpandAll(list []string, vars map[string]string) []string {
	if list == nil {
		return nil
	}
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = Expand(s, vars)
	}
	return out
}
