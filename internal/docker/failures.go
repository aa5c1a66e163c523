package docker

import (
	"errors"
	"net/http"
	"regexp"
	"strings"
	"syscall"

	"nau/internal/engine/container"
)

// What could not be run. The text is what clients parse and people search for; the CLI of `docker run` makes its own exit code of it (127 or
// 126 by the words), and the code is what inspect tells. Source: Docker's documentation of `docker run`, exit status.

// misfit is a reason for which a program cannot be executed, with the shell's exit code for it.
type misfit struct {
	words string
	code  int
	more  string // what Docker writes after the words
}

var misfits = []misfit{
	{"executable file not found in $PATH", 127, ""},
	{"is a directory", 126, ": permission denied"},
	{"permission denied", 126, ""},
	{"no such file or directory", 127, ""},
	{"not a directory", 126, ""},
	{"exec format error", 126, ""},
}

var (
	// aboutProgram is what the runtime says of a program: exec: "name": why.
	aboutProgram = regexp.MustCompile(`exec: ("(?:[^"\\]|\\.)*"): (.*)`)
	// aboutUser are the words for a user or group that is not there, which Docker tells alone.
	aboutUser = regexp.MustCompile(`unable to find (?:user|group) .*|uids and gids must be in range .*`)
	// aboutDir is a working directory that exec cannot go to.
	aboutDir = regexp.MustCompile(`change to working directory (\S+): (.*)`)
)

// unrunnable words why a program was not executed, and gives the exit code; ok is false where the error is about something else.
func unrunnable(err error) (text string, code int, ok bool) {
	found := aboutProgram.FindStringSubmatch(oneLine(err))
	if found == nil {
		return "", 0, false
	}
	name, why := found[1], found[2]
	for _, m := range misfits {
		if !strings.Contains(why, m.words) {
			continue
		}
		if m.code == 127 && m.words != misfits[0].words {
			why = "stat " + strings.Trim(name, `"`) + ": " + m.words
		} else {
			why = m.words + m.more
		}
		return "unable to start container process: error during container init: exec: " + name + ": " + why, m.code, true
	}
	return "", 0, false
}

// startError words what went wrong at start, and the exit code that inspect tells for it.
//
//lint:ignore ST1008 the error is what this makes
func startError(err error) (told error, code int) {
	var f *failure
	if errors.As(err, &f) {
		return err, container.StartExit
	}
	var part *container.PartError
	if errors.As(err, &part) {
		if part.Escapes() {
			return badRequest("path concatenation escapes the base directory, base: %s, subpath: %s", part.Base, part.Part), container.StartExit
		}
		place := part.Base + "/" + part.Part
		var why syscall.Errno
		if !errors.As(part.Err, &why) {
			return fail(http.StatusInternalServerError, "cannot access path %s: %v", place, part.Err), container.StartExit
		}
		return notFound("cannot access path %s: lstat %s: %v", place, place, why), container.StartExit
	}
	text := oneLine(err)
	if user := aboutUser.FindString(text); user != "" {
		return badRequest("%s", user), container.StartExit
	}
	const begin = "failed to create task for container: "
	if why, code, ok := unrunnable(err); ok {
		return badRequest(begin+"failed to create shim task: OCI runtime create failed: %s", why), code
	}
	for _, m := range misfits {
		if strings.Contains(text, m.words) {
			return badRequest(begin+"failed to create shim task: OCI runtime create failed: %s", text), container.StartExit
		}
	}
	return fail(http.StatusInternalServerError, begin+"%s", text), container.StartExit
}

// execError words what went wrong with a further process, and gives the exit code of what did not run.
//
//lint:ignore ST1008 the error is what this makes
func execError(err error) (told error, code int) {
	const begin = "OCI runtime exec failed: exec failed: "
	if why, code, ok := unrunnable(err); ok {
		return badRequest(begin+"%s", strings.Replace(why, "error during container init: ", "", 1)), code
	}
	text := oneLine(err)
	if user := aboutUser.FindString(text); user != "" {
		return badRequest("%s", user), 126
	}
	if dir := aboutDir.FindStringSubmatch(text); dir != nil {
		return badRequest(begin+"unable to start container process: chdir to cwd (%q) set in config.json failed: %s", dir[1], dir[2]), 127
	}
	if strings.Contains(text, "permission denied") {
		return badRequest(begin+"%s", text), 126
	}
	return badRequest(begin+"%s", text), 127
}
