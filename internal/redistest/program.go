package redistest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// ServerEnv is the environment variable that names the program to start instead
// of redis-server: another version of Redis, or Valkey. It is an absolute path or
// a command in PATH. A wrapper script must exec the server, so that signals and
// the process id are the server's own.
const ServerEnv = "JOBGUARD_REDIS_SERVER"

// program returns the path of the program that serves.
func program() (string, error) {
	name := os.Getenv(ServerEnv)
	if name == "" {
		path, err := exec.LookPath("redis-server")
		if err != nil {
			return "", errors.New("redis-server not found, install it: apt-get install -y redis-server")
		}
		return path, nil
	}
	if filepath.Base(name) != name && !filepath.IsAbs(name) {
		return "", fmt.Errorf("%s=%s: the path must be absolute, as tests run in the folders of their packages", ServerEnv, name)
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s=%s: no program to start: %w", ServerEnv, name, errors.Unwrap(err))
	}
	return path, nil
}
