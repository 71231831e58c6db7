package host

import (
	"errors"
	"syscall"
)

// flagNoexec is ST_NOEXEC of statfs(2).
const flagNoexec = 8

// checkNoexec returns an error if no program can be started below a directory, which may be missing.
func checkNoexec(dir string) error {
	var s syscall.Statfs_t
	if err := syscall.Statfs(above(dir), &s); err == nil && s.Flags&flagNoexec != 0 {
		return errors.New("its file system is mounted with noexec")
	}
	return nil
}
