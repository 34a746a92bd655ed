package testserver

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
)

// A User is whom a process runs as.
type User struct{ uid, gid int }

// Unprivileged returns the first of names that this system knows, if the test
// runs as root; else nil, as servers can run as the test's own user.
func Unprivileged(names ...string) (*User, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range names {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.Atoi(u.Uid)
		if err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		gid, err := strconv.Atoi(u.Gid)
		if err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		return &User{uid, gid}, nil
	}
	return nil, fmt.Errorf("the tests run as root, and there is none of the users %q to run a server as", names)
}

// Own gives dir to the user.
func (u *User) Own(dir string) error {
	if u == nil {
		return nil
	}
	return os.Chown(dir, u.uid, u.gid)
}
