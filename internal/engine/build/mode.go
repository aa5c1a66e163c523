package build

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"nau/internal/engine/container"
)

// change is a --chmod: what it makes of a mode.
type change func(mode uint32, dir bool) uint32

// parseMode reads an octal mode, or a symbolic one as of chmod(1): "u=rwX,go=rX".
func parseMode(s string) (change, error) {
	if n, err := strconv.ParseUint(s, 8, 32); err == nil {
		if n > 0o7777 {
			return nil, fmt.Errorf("invalid chmod parameter: '%s'. it should be octal string and between 0 and 07777", s)
		}
		return func(uint32, bool) uint32 { return uint32(n) }, nil
	}
	var steps []change
	for clause := range strings.SplitSeq(s, ",") {
		step, err := parseClause(clause)
		if err != nil {
			return nil, fmt.Errorf("invalid chmod parameter: '%s'. it should be octal string and between 0 and 07777, or symbolic", s)
		}
		steps = append(steps, step)
	}
	return func(mode uint32, dir bool) uint32 {
		for _, f := range steps {
			mode = f(mode, dir)
		}
		return mode
	}, nil
}

func parseClause(s string) (change, error) {
	i := strings.IndexAny(s, "+-=")
	if i < 0 || len(strings.Trim(s[:i], "ugoa")) > 0 || len(strings.Trim(s[i+1:], "rwxXst")) > 0 {
		return nil, strconv.ErrSyntax
	}
	who, op, perm := s[:i], s[i], s[i+1:]
	if who == "" {
		who = "a"
	}
	shifts := map[rune][]uint{'u': {6}, 'g': {3}, 'o': {0}, 'a': {6, 3, 0}}
	return func(mode uint32, dir bool) uint32 {
		was := mode
		for _, w := range who {
			for _, shift := range shifts[w] {
				var bits, special uint32
				for _, p := range perm {
					switch p {
					case 'r':
						bits |= 4
					case 'w':
						bits |= 2
					case 'x':
						bits |= 1
					case 'X':
						if dir || was&0o111 != 0 {
							bits |= 1
						}
					case 's':
						special |= map[uint]uint32{6: 0o4000, 3: 0o2000}[shift]
					case 't':
						special |= 0o1000
					}
				}
				switch op {
				case '+':
					mode |= bits<<shift | special
				case '-':
					mode &^= bits<<shift | special
				case '=':
					mode = mode&^(7<<shift) | bits<<shift | special
				}
			}
		}
		return mode
	}, nil
}

// signal tells whether s names a signal.
func signal(s string) bool {
	sig, err := container.ParseSignal(s)
	return err == nil && sig > syscall.Signal(0)
}
