package cluster

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
)

// Real is the home directory's path without symbolic links, so that a directory has one path whatever it is called by. What
// does not exist yet is taken as it is written.
func (h Home) Real() Home {
	path, rest := filepath.Clean(string(h)), ""
	for {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			return Home(filepath.Join(real, rest))
		}
		parent := filepath.Dir(path)
		if parent == path {
			return h
		}
		path, rest = parent, filepath.Join(filepath.Base(path), rest)
	}
}

// Owner names the home directory in what drivers make outside of it. Clusters belong to a home directory, not to a name:
// two may have clusters of one name on one machine, and neither sees the other's. The owner is a function of the path and not
// a number kept in the directory, so that what is left of a directory that was removed can still be found, and a copy of a
// directory owns nothing of the original. The path stands for the user, too: no two users can write to one home.
func (h Home) Owner() string {
	sum := sha256.Sum256([]byte(h.Real()))
	return hex.EncodeToString(sum[:6])
}
