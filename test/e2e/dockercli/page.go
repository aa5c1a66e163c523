package dockercli

import (
	"fmt"
	"strings"
)

// Page writes the table as docs/docker-cli.md.
func Page(table []*Command) string {
	var b strings.Builder
	works, refused, pending := 0, 0, 0
	for _, c := range table {
		for _, r := range c.Rows {
			switch {
			case r.Pending != "":
				pending += len(r.Flags)
			case r.Refused:
				refused += len(r.Flags)
			default:
				works += len(r.Flags)
			}
		}
	}
	fmt.Fprintf(&b, `# The stock docker CLI

Every command and flag of the docker CLI 28 and 29 ("@28" marks what only that version has), with a command that shows that it works or the words that refuse it. An end-to-end
test runs each line here and compares the page with what `+"`docker --help`"+` says of every command, so that a new flag cannot be forgotten.
The page is written by that test from test/e2e/testdata/docker-cli.txt: %d commands and flags work, %d are refused one by one, %d do not
do what Docker does yet; commands that are refused whole (Swarm, plugins) are not counted. Images are stand-ins made by the tests.
`, works, refused, pending)
	for _, c := range table {
		name := "docker"
		if c.Name != "" {
			name += " " + c.Name
		}
		switch {
		case c.As != "":
			fmt.Fprintf(&b, "\n## %s\n\nThe same as `docker %s`.\n", name, c.As)
			continue
		case c.Whole != nil && c.Whole.Refused:
			fmt.Fprintf(&b, "\n## %s\n\nRefused: %s\n", name, c.Whole.Want[0])
			continue
		case c.Whole != nil:
			fmt.Fprintf(&b, "\n## %s\n\n%s\n", name, c.Whole.Note)
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n| flags | | shown by |\n|---|---|---|\n", name)
		for _, r := range c.Rows {
			flags := strings.Join(r.Flags, "`, `")
			verdict := "works"
			if r.Refused {
				verdict = "refused: " + strings.Join(r.Want, " … ")
			}
			if r.Pending != "" {
				verdict = "not yet: " + r.Pending
			}
			if r.Note != "" {
				verdict += "; " + r.Note
			}
			line := "the CLI alone"
			if r.Line != "" {
				line = "``" + r.Line + "``"
			}
			fmt.Fprintf(&b, "| %s | %s | %s |\n", strings.ReplaceAll("`"+flags+"`", "`.`", "the command"), cell(verdict), cell(line))
		}
	}
	return b.String()
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
