package environ

import (
	"errors"
	"fmt"
	"strings"
)

// ParseFile reads an environment file: lines NAME='value', where the value ends at the closing quote and may span lines;
// blank lines and lines that begin with # are skipped. Source: KEP-3721.
func ParseFile(data []byte) (map[string]string, error) {
	vars := map[string]string{}
	rest := strings.ReplaceAll(string(data), "\r\n", "\n")
	for rest != "" {
		line, after, _ := strings.Cut(rest, "\n")
		trimmed := strings.TrimSpace(line)
		if trimmed == "" || strings.HasPrefix(trimmed, "#") {
			rest = after
			continue
		}
		name, _, ok := strings.Cut(line, "=")
		name = strings.TrimSpace(name)
		if !ok || name == "" {
			return nil, fmt.Errorf("read line %q: not NAME='value'", trimmed)
		}
		value := rest[strings.IndexByte(rest, '=')+1:]
		if !strings.HasPrefix(value, "'") {
			return nil, fmt.Errorf("read variable %q: the value is not in single quotes", name)
		}
		end := strings.IndexByte(value[1:], '\'')
		if end < 0 {
			return nil, errors.New("read variable " + name + ": the closing quote is missing")
		}
		vars[name] = value[1 : 1+end]
		_, rest, _ = strings.Cut(value[2+end:], "\n")
	}
	return vars, nil
}
