// Package dockercli is the table of every command and flag of the stock docker CLI: what shows that it works, or the words that
// it is refused with. It reads the table and the CLI's own help and compares them; it runs nothing itself. Only the end-to-end tests
// and docs/docker-cli.md use it.
//
// The table is text:
//
//	[run]                                   a command
//	--add-host, --dns                       flags of it; "." is the command without flags
//	$ docker run --rm … cat /etc/hosts      a shell line that shows them
//	> 1.2.3.4                               text of its output; several lines have to be there all
//	! no such thing                         instead: it fails, and says this
//	* what is wrong                         instead: it does not hold yet, and is not run
//	# why                                   a note for the page
//	[container run] = run                   the same command by another name
//	[swarm ca] ! text                       refused whole, whatever the flags
//	[trust sign] # why                      done by the CLI alone: not run
//
// A command or flag that ends in "@28" is of that major version of the CLI only.
package dockercli

import (
	"fmt"
	"sort"
	"strings"
)

// Row is some flags of a command and what shows them.
type Row struct {
	Flags   []string // "." is the command itself
	Line    string   // for the shell
	Want    []string // of the output
	Refused bool     // it has to fail
	Pending string   // what does not hold yet
	Note    string
	At      int // line of the table
}

// Command is one section.
type Command struct {
	Name  string // "container run"
	As    string // the command that it is another name for
	Whole *Row   // refused, or the CLI's alone, whatever the flags
	Rows  []*Row
}

// Parse reads a table.
func Parse(text string) ([]*Command, error) {
	var all []*Command
	var c *Command
	var r *Row
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		kind, rest, _ := strings.Cut(line, " ")
		switch {
		case line == "":
		case strings.HasPrefix(line, "["):
			name, rest, ok := strings.Cut(line[1:], "]")
			if !ok {
				return nil, fmt.Errorf("line %d: no ] in %q", number, line)
			}
			c, r = &Command{Name: name}, nil
			all = append(all, c)
			switch rest = strings.TrimSpace(rest); {
			case strings.HasPrefix(rest, "= "):
				c.As = rest[2:]
			case strings.HasPrefix(rest, "! "):
				c.Whole = &Row{Refused: true, Want: []string{rest[2:]}, At: number}
			case strings.HasPrefix(rest, "# "):
				c.Whole = &Row{Note: rest[2:], At: number}
			case rest != "":
				return nil, fmt.Errorf("line %d: %q after the command", number, rest)
			}
		case c == nil:
			return nil, fmt.Errorf("line %d: %q before the first command", number, line)
		case kind == "." || strings.HasPrefix(line, "--"):
			r = &Row{Flags: strings.Split(strings.ReplaceAll(line, " ", ""), ","), At: number}
			c.Rows = append(c.Rows, r)
		case kind == "$" && c.Whole != nil:
			c.Whole.Line = rest
		case r == nil:
			return nil, fmt.Errorf("line %d: %q before the flags that it is of", number, line)
		case kind == "$" && r.Line == "":
			r.Line = rest
		case kind == ">":
			r.Want = append(r.Want, rest)
		case kind == "!":
			r.Refused, r.Want = true, append(r.Want, rest)
		case kind == "*":
			r.Pending = rest
		case kind == "#":
			r.Note = rest
		default:
			return nil, fmt.Errorf("line %d: %q is nothing of a table", number, line)
		}
	}
	return all, nil
}

// Of gives the table without what other major versions of the CLI have: their marks, flags, rows, commands.
func Of(table []*Command, major string) []*Command {
	has := func(name string) (string, bool) {
		name, mark, marked := strings.Cut(name, "@")
		return name, !marked || mark == major
	}
	var all []*Command
	for _, c := range table {
		name, ok := has(c.Name)
		if !ok {
			continue
		}
		own := *c
		own.Name, own.Rows = name, nil
		for _, r := range c.Rows {
			row := *r
			row.Flags = nil
			for _, f := range r.Flags {
				if name, ok := has(f); ok {
					row.Flags = append(row.Flags, name)
				}
			}
			if len(row.Flags) > 0 {
				own.Rows = append(own.Rows, &row)
			}
		}
		all = append(all, &own)
	}
	return all
}

// Compare says what of a CLI's commands and flags the table does not have, and what it has that the CLI does not.
func Compare(table []*Command, cli map[string][]string) (missing, extra []string) {
	flags := map[string]map[string]bool{}
	whole := map[string]bool{}
	for _, c := range table {
		has := map[string]bool{}
		for _, r := range c.Rows {
			for _, f := range r.Flags {
				has[f] = true
			}
		}
		flags[c.Name], whole[c.Name] = has, c.Whole != nil
	}
	for _, c := range table {
		if c.As != "" {
			flags[c.Name], whole[c.Name] = flags[c.As], whole[c.As]
			if flags[c.As] == nil {
				extra = append(extra, c.Name+" = "+c.As)
			}
		}
	}
	for name, has := range cli {
		switch {
		case flags[name] == nil:
			missing = append(missing, name)
		case !whole[name]:
			wanted := map[string]bool{".": true}
			for _, f := range has {
				wanted[f] = true
			}
			for f := range wanted {
				if !flags[name][f] {
					missing = append(missing, strings.TrimSpace(name+" "+f))
				}
			}
			for f := range flags[name] {
				if !wanted[f] {
					extra = append(extra, strings.TrimSpace(name+" "+f))
				}
			}
		}
	}
	for name := range flags {
		if cli[name] == nil {
			extra = append(extra, name)
		}
	}
	sort.Strings(missing)
	sort.Strings(extra)
	return missing, extra
}
