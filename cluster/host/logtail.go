package host

import (
	"io"
	"os"
	"strings"
)

const (
	logLines  = 10        // of a log that an error shows
	tailBytes = 256 << 10 // that many lines are looked for in
)

// tail returns the last logLines lines of a file, none if it cannot be read.
func tail(path string) []string {
	f, err := os.Open(path)
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
	lines := strings.Split(text, "\n")
	return lines[max(0, len(lines)-logLines):]
}
