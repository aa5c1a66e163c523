package spec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"

	"nau/internal/kernel"
)

// Resolved is who a process runs as, in numbers.
type Resolved struct {
	UID, GID uint32
	Groups   []uint32 // supplementary
	Home     string
}

// maxAccounts bounds what is read of a container's /etc/passwd and /etc/group: they are the image's, so anybody's.
const maxAccounts = 4 << 20

// LookupUser resolves a user in the root file system that the directory handle root names. image is the image's user, asked when u names
// none. A missing passwd or group file is an empty one.
func LookupUser(root int, u User, image string) (Resolved, error) {
	passwd, err := readInRoot(root, "/etc/passwd")
	if err != nil {
		return Resolved{}, err
	}
	group, err := readInRoot(root, "/etc/group")
	if err != nil {
		return Resolved{}, err
	}
	return resolveUser(u, image, passwd, group)
}

func readInRoot(root int, path string) ([]byte, error) {
	fd, err := kernel.OpenFileInRoot(root, path)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, kernel.ErrNotFile) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s of the container: %w", path, err)
	}
	f := kernel.File(fd, path)
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxAccounts))
	if err != nil {
		return nil, fmt.Errorf("read %s of the container: %w", path, err)
	}
	return b, nil
}

// resolveUser is LookupUser on the files' content.
func resolveUser(u User, image string, passwd, group []byte) (Resolved, error) {
	name := u.Name
	switch {
	case name == "" && u.UID != nil:
		name = strconv.FormatInt(*u.UID, 10)
	case name == "":
		name = image
	case u.UID != nil:
		_, g, ok := strings.Cut(name, ":")
		name = strconv.FormatInt(*u.UID, 10)
		if ok {
			name += ":" + g
		}
	}
	if u.GID != nil {
		base, _, _ := strings.Cut(name, ":")
		name = base + ":" + strconv.FormatInt(*u.GID, 10)
	}
	var groups io.Reader = bytes.NewReader(group)
	exec, err := user.GetExecUser(name, &user.ExecUser{Home: "/"}, bytes.NewReader(passwd), groups)
	if err != nil {
		return Resolved{}, fmt.Errorf("find user %q in the image: %w", name, err)
	}
	r := Resolved{UID: uint32(exec.Uid), GID: uint32(exec.Gid), Home: exec.Home}
	add := func(gid int) {
		if !slices.Contains(r.Groups, uint32(gid)) {
			r.Groups = append(r.Groups, uint32(gid))
		}
	}
	if !u.StrictGroup {
		for _, g := range exec.Sgids {
			add(g)
		}
		// A primary group named apart from the user must not cost a pod's user the memberships: the library drops them then.
		if base, _, apart := strings.Cut(name, ":"); apart && !u.GroupAlone {
			if again, err := user.GetExecUser(base, &user.ExecUser{}, bytes.NewReader(passwd), bytes.NewReader(group)); err == nil {
				for _, g := range again.Sgids {
					add(g)
				}
			}
		}
	}
	more, err := user.GetAdditionalGroups(u.GroupNames, bytes.NewReader(group))
	if err != nil {
		return Resolved{}, fmt.Errorf("find groups %v in the image: %w", u.GroupNames, err)
	}
	for _, g := range more {
		add(g)
	}
	for _, g := range u.Groups {
		add(int(g))
	}
	return r, nil
}
