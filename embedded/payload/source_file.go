//go:build !payload

package payload

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klkube/kl/cluster"
)

// findSource returns the archive that lies beside the executable.
func findSource() (source, error) {
	exe, err := os.Executable()
	if err != nil {
		return source{}, fmt.Errorf("find payload: %w", err)
	}
	if real, err := filepath.EvalSymlinks(exe); err == nil {
		exe = real
	}
	return fileSource(filepath.Dir(exe))
}

// fileSource is the archive in dir. Its hash is read from the file beside it where there is one, so that a payload that
// is already unpacked is found without reading the archive.
func fileSource(dir string) (source, error) {
	path := filepath.Join(dir, ArchiveName)
	if _, err := os.Stat(path); err != nil {
		return source{}, &cluster.Error{
			Op: "find payload", Err: err,
			Hint: "this kl was built without its payload: run `make build`, or put " + ArchiveName + " beside the program",
		}
	}
	sum, err := os.ReadFile(filepath.Join(dir, SHAName))
	sha := strings.TrimSpace(string(sum))
	if err != nil || len(sha) != 64 {
		if sha, err = hashFile(path); err != nil {
			return source{}, fmt.Errorf("hash payload: %w", err)
		}
	}
	return source{sha: sha, open: func() (io.ReadCloser, error) { return os.Open(path) }}, nil
}
