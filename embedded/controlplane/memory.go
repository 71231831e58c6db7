package controlplane

import (
	"bufio"
	"bytes"
	"math"
	"os"
	"runtime/debug"
	"strconv"
)

const (
	startGCPercent = 400       // while starting: most of what is allocated then is kept
	startMemory    = 384 << 20 // a limit for that time, so that a start over a large etcd does not grow without end
	servingPercent = 60        // afterwards
)

// tuneStart makes the garbage collector spare the start, which allocates a lot and frees little: half a second of two
// cores. The returned function puts it back. See [tuneServing].
func tuneStart() (restore func()) {
	percent := debug.SetGCPercent(startGCPercent)
	limit := debug.SetMemoryLimit(startMemory)
	return func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	}
}

// tuneServing ends what tuneStart began: it collects once, gives the memory back, and makes later collections frequent,
// since an idle control plane allocates little.
func tuneServing() {
	debug.SetGCPercent(servingPercent)
	debug.SetMemoryLimit(math.MaxInt64)
	debug.FreeOSMemory()
}

// anonymousMemory is the resident memory of this process that is not backed by a file, in bytes; 0 if the system does
// not tell.
func anonymousMemory() int64 {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	return parseRssAnon(data)
}

// parseRssAnon finds the line "RssAnon:     1234 kB".
func parseRssAnon(status []byte) int64 {
	lines := bufio.NewScanner(bytes.NewReader(status))
	for lines.Scan() {
		f := bytes.Fields(lines.Bytes())
		if len(f) == 3 && string(f[0]) == "RssAnon:" {
			kb, err := strconv.ParseInt(string(f[1]), 10, 64)
			if err != nil {
				return 0
			}
			return kb << 10
		}
	}
	return 0
}
