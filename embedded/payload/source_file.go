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

// findSource returns the archive and the engine that lie beside the executable.
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

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// fileSource is the archive in dir, with the engine there if there is one. Its hash is read from the file beside it if there is one, so that a payload that is
// already unpacked is found without reading the archive.
func fileSource(dir string) (source, error) {
	path := filepath.Join(dir, ArchiveName)
	if _, err := os.Stat(path); err != nil {
		return source{}, &cluster.Error{
			Op: "find payload", Err: err,
			Hint: "this kl was built without its payload: run `make payload`, or put " + ArchiveName + " beside the program",
		}
	}
	sum, err := os.ReadFile(filepath.Join(dir, SHAName))
	sha := strings.TrimSpace(string(sum))
	if err != nil || len(sha) != 64 {
		if sha, err = hashFile(path); err != nil {
			return source{}, fmt.Errorf("hash payload: %w", err)
		}
	}
	src := source{sha: sha, open: func() (io.ReadCloser, error) { return os.Open(path) }}
	if engine := filepath.Join(dir, "kl-engine"); isProgram(engine) {
		src.engine = engine
	}
	return src, nil
}
