package payload

import (
	"fmt"
	"syscall"
)

// checkSpace returns errSpace if the file system of dir has less than need bytes, and a few MB to spare, free for this user.
func checkSpace(dir string, need int64) error {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return nil //nolint:nilerr // not every file system counts its space; writing fails if there is too little
	}
	free := int64(s.Bavail) * int64(s.Bsize)
	if need += 4 << 20; free < need {
		return fmt.Errorf("%w: need %d MB, %d MB free", errSpace, need>>20, free>>20)
	}
	return nil
}
