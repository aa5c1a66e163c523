// Package subid reads whose ids a user may give away: /etc/subuid and /etc/subgid, as subuid(5) tells, and makes the mapping of --userns-remap of them.
//
// It writes no file and makes no user: what is missing is the administrator's to add, and the error says where. The assembly imports it.
package subid

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"nau/internal/kernel/idmap"
)

// DefaultUser is whose ranges "default" means. Source: Docker's documentation of userns-remap.
const DefaultUser = "dockremap"

// Files are where users, groups and ranges are told.
type Files struct{ Passwd, Group, SubUID, SubGID string }

// System are this machine's.
var System = Files{Passwd: "/etc/passwd", Group: "/etc/group", SubUID: "/etc/subuid", SubGID: "/etc/subgid"}

// account is a user or a group, by both its names.
type account struct {
	name string
	id   string
}

// Remap makes the mapping of USER[:GROUP], UID[:GID] or "default": all ranges of the user and of the group, one after the other from 0 on.
func (f Files) Remap(text string) (idmap.Map, error) {
	user, group, both := strings.Cut(text, ":")
	if text == "default" {
		user = DefaultUser
	}
	if !both {
		group = user
	}
	if user == "" || group == "" {
		return idmap.Map{}, fmt.Errorf("remap users to %q: it is none of default, USER, USER:GROUP, UID, UID:GID", text)
	}
	u, err := find(f.Passwd, user, text == "default")
	if err != nil {
		return idmap.Map{}, fmt.Errorf("remap users to %s: %w", text, err)
	}
	if !both {
		group = u.name // the group of the same name, as Docker has it
	}
	g, err := find(f.Group, group, !both)
	if err != nil {
		return idmap.Map{}, fmt.Errorf("remap users to %s: %w", text, err)
	}
	var m idmap.Map
	if m.UIDs, err = ranges(f.SubUID, u); err == nil {
		m.GIDs, err = ranges(f.SubGID, g)
	}
	if err == nil {
		err = m.Check()
	}
	if err != nil {
		return idmap.Map{}, fmt.Errorf("remap users to %s: %w", text, err)
	}
	return m, nil
}

// All are the ranges of all users and groups but kubelet's, which are for pods. What cannot be read is nobody's.
func (f Files) All() (out []idmap.Range) {
	for _, file := range []string{f.SubUID, f.SubGID} {
		b, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			who, _, _ := strings.Cut(line, ":")
			if r, err := Parse(line, who, ""); err == nil && who != "kubelet" {
				out = append(out, r...)
			}
		}
	}
	return out
}

// find looks a name or number up in a file of users or groups. One that may be missing is known by its name alone.
func find(file, key string, mayMiss bool) (account, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return account{}, fmt.Errorf("read accounts: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		if p := strings.Split(strings.TrimSpace(line), ":"); len(p) > 2 && (p[0] == key || p[2] == key) {
			return account{p[0], p[2]}, nil
		}
	}
	if mayMiss {
		return account{name: key}, nil
	}
	return account{}, fmt.Errorf("%s has no %q", file, key)
}

// ranges are an account's ranges as a mapping.
func ranges(file string, a account) ([]specs.LinuxIDMapping, error) {
	b, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("read ranges: %w", err)
	}
	all, err := Parse(string(b), a.name, a.id)
	if err != nil {
		return nil, fmt.Errorf("read ranges of %s: %s: %w", a.name, file, err)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s has no range for %s: add a line like \"%s:100000:65536\" with ids that nobody else has", file, a.name, a.name)
	}
	var out []specs.LinuxIDMapping
	next := uint64(0)
	for _, r := range all {
		if next+uint64(r.Size) > math.MaxUint32 {
			return nil, fmt.Errorf("read ranges of %s: %s gives more ids than there are", a.name, file)
		}
		out = append(out, specs.LinuxIDMapping{ContainerID: uint32(next), HostID: r.First, Size: r.Size})
		next += uint64(r.Size)
	}
	return out, nil
}

// Parse picks an account's ranges, in the order of ids, from the text of a file of ranges: NAME-OR-ID:FIRST:SIZE on each line.
func Parse(text, name, id string) ([]idmap.Range, error) {
	var out []idmap.Range
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		p := strings.Split(line, ":")
		if line == "" || line[0] == '#' || p[0] != name && (id == "" || p[0] != id) {
			continue
		}
		if len(p) != 3 {
			return nil, fmt.Errorf("line %d, %q, is not NAME:FIRST:SIZE", n, line)
		}
		first, err1 := strconv.ParseUint(p[1], 10, 32)
		size, err2 := strconv.ParseUint(p[2], 10, 32)
		if err1 != nil || err2 != nil || size == 0 || first+size > math.MaxUint32 {
			return nil, fmt.Errorf("line %d, %q, is no range of ids", n, line)
		}
		out = append(out, idmap.Range{First: uint32(first), Size: uint32(size)})
	}
	slices.SortFunc(out, func(a, b idmap.Range) int { return cmp.Compare(a.First, b.First) })
	return out, nil
}
