package host

import (
	"io"
	"strings"

	"github.com/klkube/kl/cluster/statefile"
)

const (
	logLines  = 10        // of a log that an error shows
	tailBytes = 256 << 10 // that many lines are looked for in
)

// tail returns the last logLines lines of a file, none if it cannot be read.
func tail(path string) []string {
	lines := lastLines(path)
	return lines[max(0, len(lines)-logLines):]
}

// tailTo is tail up to the last line that begins with a prefix: the one that says why a program ended, where the next one
// has written to the log already. It is tail if there is no such line.
func tailTo(path, prefix string) []string {
	lines := lastLines(path)
	for i := len(lines) - 1; i >= 0; i-- {
		if strings.HasPrefix(lines[i], prefix) {
			return lines[max(0, i+1-logLines) : i+1]
		}
	}
	return lines[max(0, len(lines)-logLines):]
}

// lastLines returns the lines in the last tailBytes of a file.
func lastLines(path string) []string {
	f, err := statefile.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	if size, err := f.Seek(0, io.SeekEnd); err == nil {
		if _, err := f.Seek(max(0, size-tailBytes), io.SeekStart); err != nil {
			return nil
		}
	}
	data, err := io.ReadAll(f)
	text := strings.TrimRight(string(data), "\n")
	if err != nil || text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}
