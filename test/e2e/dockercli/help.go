package dockercli

import "strings"

// Help is what `docker COMMAND --help` says of a command.
type Help struct {
	Commands []string
	Flags    []string // "--add-host"; not --help
}

// ParseHelp reads it: commands stand below headings that end in "Commands:", flags below those that end in "Options:".
func ParseHelp(text string) Help {
	var h Help
	part := ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.TrimSpace(line) == "":
			part = ""
		case strings.HasSuffix(line, "Commands:"):
			part = "commands"
		case strings.HasSuffix(line, "Options:"):
			part = "flags"
		case part == "commands" && strings.HasPrefix(line, "  ") && line[2] != ' ':
			h.Commands = append(h.Commands, strings.TrimRight(strings.Fields(line)[0], "*"))
		case part == "flags":
			// "  -a, --attach list   text", "      --cpus decimal   text"; further lines of a text are indented past it.
			text := strings.TrimSpace(line)
			if len(text) > 4 && text[0] == '-' && text[1] != '-' && text[2] == ',' {
				text = text[4:]
			}
			if at := len(line) - len(strings.TrimLeft(line, " ")); at <= 6 && strings.HasPrefix(text, "--") {
				if name := strings.Fields(text)[0]; name != "--help" {
					h.Flags = append(h.Flags, name)
				}
			}
		}
	}
	return h
}

// Walk asks help of a command and all below it: "" is docker itself. Plugins that are installed beside the CLI are left out.
func Walk(help func(command ...string) (string, error)) (map[string][]string, error) {
	all := map[string][]string{}
	var walk func(path []string) error
	walk = func(path []string) error {
		text, err := help(path...)
		if err != nil {
			return err
		}
		h := ParseHelp(text)
		if len(h.Commands) == 0 || len(path) == 0 {
			all[strings.Join(path, " ")] = append([]string{}, h.Flags...)
		}
		for _, name := range h.Commands {
			if len(path) == 0 && (name == "buildx" || name == "compose") {
				continue
			}
			if err := walk(append(path[:len(path):len(path)], name)); err != nil {
				return err
			}
		}
		return nil
	}
	return all, walk(nil)
}
