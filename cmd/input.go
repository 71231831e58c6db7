package cmd

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/klkube/kl/cluster/statefile"
)

// openStream opens an argument that stands for a stream: "-" for standard input, and what a shell passes on as an open
// descriptor, as for -f <(command). It returns nil for any other argument.
func (e *env) openStream(arg string) (io.ReadCloser, error) {
	if arg == "-" {
		return io.NopCloser(e.In), nil
	}
	if !isDescriptor(arg) {
		return nil, nil //nolint:nilnil // no stream
	}
	f, err := os.Open(arg)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// isDescriptor reports whether a path stands for a descriptor that this process has inherited.
func isDescriptor(path string) bool {
	path = filepath.Clean(path)
	dir := filepath.Dir(path)
	return path == "/dev/stdin" || dir == "/dev/fd" || dir == "/proc/self/fd"
}

// streamName is what messages call a stream.
func streamName(arg string) string {
	if arg == "-" {
		return "standard input"
	}
	return arg
}

// readInput reads at most limit bytes, and one more that tells that there are more, of a regular file or a stream.
func (e *env) readInput(arg string, limit int64) (data []byte, err error) {
	r, err := e.openStream(arg)
	if err == nil && r == nil {
		r, err = statefile.Open(arg)
	}
	if err != nil {
		return nil, err
	}
	data, err = io.ReadAll(io.LimitReader(r, limit+1))
	return data, errors.Join(err, r.Close())
}

// maxLine is how many bytes of a line of a message are shown.
const maxLine = 1000

// printable replaces characters that a terminal acts on, or does not show, by their escapes, and cuts long lines: a message may
// quote anything.
func printable(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		var b strings.Builder
		for _, r := range statefile.Shorten(line, maxLine) {
			if strconv.IsPrint(r) {
				b.WriteRune(r)
			} else {
				b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
			}
		}
		lines[i] = b.String()
	}
	return strings.Join(lines, "\n")
}
