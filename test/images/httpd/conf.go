package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// directive is one statement of nginx's configuration language: words, and statements in braces if it is a block.
type directive struct {
	words []string
	block []directive
}

// parseConf reads the language: words, quoted words, comments, ";" and braces.
func parseConf(text string) ([]directive, error) {
	p := &confParser{text: text, line: 1}
	all, err := p.block(true)
	if err != nil {
		return nil, fmt.Errorf("line %d: %w", p.line, err)
	}
	return all, nil
}

type confParser struct {
	text string
	pos  int
	line int
}

func (p *confParser) block(top bool) ([]directive, error) {
	var all []directive
	var words []string
	for {
		tok, quoted, ok := p.token()
		switch {
		case !ok && top && words == nil:
			return all, nil
		case !ok:
			return nil, fmt.Errorf("unexpected end of file, expecting \";\" or \"}\"")
		case quoted:
			words = append(words, tok)
		case tok == ";":
			if words == nil {
				return nil, fmt.Errorf("unexpected \";\"")
			}
			all, words = append(all, directive{words: words}), nil
		case tok == "{":
			inner, err := p.block(false)
			if err != nil {
				return nil, err
			}
			all, words = append(all, directive{words: words, block: inner}), nil
		case tok == "}":
			if words != nil || top {
				return nil, fmt.Errorf("unexpected \"}\"")
			}
			return all, nil
		default:
			words = append(words, tok)
		}
	}
}

func (p *confParser) token() (tok string, quoted, ok bool) {
	for p.pos < len(p.text) {
		c := p.text[p.pos]
		switch {
		case c == '\n':
			p.line++
			p.pos++
		case c == ' ' || c == '\t' || c == '\r':
			p.pos++
		case c == '#':
			for p.pos < len(p.text) && p.text[p.pos] != '\n' {
				p.pos++
			}
		case c == ';' || c == '{' || c == '}':
			p.pos++
			return string(c), false, true
		case c == '"' || c == '\'':
			return p.quoted(c), true, true
		default:
			start := p.pos
			for p.pos < len(p.text) && !strings.ContainsRune(" \t\r\n;{", rune(p.text[p.pos])) {
				p.pos++
			}
			return p.text[start:p.pos], false, true
		}
	}
	return "", false, false
}

func (p *confParser) quoted(q byte) string {
	var b strings.Builder
	for p.pos++; p.pos < len(p.text) && p.text[p.pos] != q; p.pos++ {
		c := p.text[p.pos]
		if c == '\\' && p.pos+1 < len(p.text) {
			p.pos++
			switch c = p.text[p.pos]; c {
			case 'n':
				c = '\n'
			case 't':
				c = '\t'
			case 'r':
				c = '\r'
			case '"', '\'', '\\':
			default:
				b.WriteByte('\\')
			}
		}
		if c == '\n' {
			p.line++
		}
		b.WriteByte(c)
	}
	p.pos++
	return b.String()
}

// server is one server block, made ready to serve.
type server struct {
	listen    []string // addresses for net.Listen
	root      string
	index     []string
	locations []location // as written
	code      int        // of a return outside any location
	text      string
}

type location struct {
	path  string
	exact bool
	root  string
	code  int // 0 = files
	text  string
}

// loadConf reads a configuration file with its includes; a missing file is the default server.
func loadConf(path string) ([]server, error) {
	text, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return []server{defaultServer()}, nil
	}
	if err != nil {
		return nil, err
	}
	all, err := parseConf(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var servers []server
	if err := collect(all, filepath.Dir(path), &servers); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if servers == nil {
		servers = []server{defaultServer()}
	}
	return servers, nil
}

func defaultServer() server {
	return server{listen: []string{":80"}, root: "/usr/share/nginx/html", index: []string{"index.html", "index.htm"}}
}

func collect(all []directive, dir string, out *[]server) error {
	for _, d := range all {
		switch {
		case len(d.words) == 0:
		case d.words[0] == "http" || d.words[0] == "stream":
			if err := collect(d.block, dir, out); err != nil {
				return err
			}
		case d.words[0] == "include" && len(d.words) == 2:
			pattern := d.words[1]
			if !filepath.IsAbs(pattern) {
				pattern = filepath.Join(dir, pattern)
			}
			files, _ := filepath.Glob(pattern)
			for _, f := range files {
				text, err := os.ReadFile(f)
				if err != nil {
					return err
				}
				inner, err := parseConf(string(text))
				if err != nil {
					return fmt.Errorf("%s: %w", f, err)
				}
				if err := collect(inner, dir, out); err != nil {
					return err
				}
			}
		case d.words[0] == "server" && d.block != nil:
			s, err := readServer(d.block)
			if err != nil {
				return err
			}
			*out = append(*out, s)
		}
	}
	return nil
}

func readServer(block []directive) (server, error) {
	s := defaultServer()
	s.listen = nil
	for _, d := range block {
		switch d.words[0] {
		case "listen":
			if len(d.words) > 1 {
				s.listen = append(s.listen, address(d.words[1]))
			}
		case "root":
			s.root = d.words[len(d.words)-1]
		case "index":
			s.index = d.words[1:]
		case "return":
			code, text, err := readReturn(d.words)
			if err != nil {
				return s, err
			}
			s.code, s.text = code, text
		case "location":
			l := location{path: d.words[len(d.words)-1], exact: len(d.words) == 3 && d.words[1] == "="}
			for _, x := range d.block {
				switch x.words[0] {
				case "root":
					l.root = x.words[len(x.words)-1]
				case "return":
					var err error
					if l.code, l.text, err = readReturn(x.words); err != nil {
						return s, err
					}
				}
			}
			s.locations = append(s.locations, l)
		}
	}
	if s.listen == nil {
		s.listen = []string{":80"}
	}
	return s, nil
}

func readReturn(words []string) (int, string, error) {
	var code int
	if len(words) < 2 {
		return 0, "", fmt.Errorf("invalid number of arguments in \"return\" directive")
	}
	if _, err := fmt.Sscanf(words[1], "%d", &code); err != nil {
		return 302, words[1], nil
	}
	return code, strings.Join(words[2:], " "), nil
}

// address turns "80", "*:80", "127.0.0.1:80" and "[::]:80" into what net.Listen takes.
func address(s string) string {
	if !strings.Contains(s, ":") {
		return ":" + s
	}
	return strings.TrimPrefix(s, "*")
}

// match finds the location for a path: an exact one, else the longest prefix.
func (s *server) match(path string) *location {
	var best *location
	for i := range s.locations {
		l := &s.locations[i]
		if l.exact && l.path == path {
			return l
		}
		if !l.exact && strings.HasPrefix(path, l.path) && (best == nil || len(l.path) > len(best.path)) {
			best = l
		}
	}
	return best
}
