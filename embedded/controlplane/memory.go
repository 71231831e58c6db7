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
	startGCPercent = 400       // during the start
	startMemory    = 384 << 20 // limit in bytes during the start, for one over a large etcd
	servingPercent = 60        // afterwards
)

// tuneStart makes garbage collection rare during the start, which allocates much and frees little: that saves half a
// second on two cores. The returned function restores the previous settings. See tuneServing.
func tuneStart() (restore func()) {
	percent := debug.SetGCPercent(startGCPercent)
	limit := debug.SetMemoryLimit(startMemory)
	return func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	}
}

// tuneServing replaces the settings of tuneStart once the plane serves: it collects, returns the memory to the system, and
// makes later collections frequent, since an idle control plane allocates little.
func tuneServing() {
	debug.SetGCPercent(servingPercent)
	debug.SetMemoryLimit(math.MaxInt64)
	debug.FreeOSMemory()
}

// anonymousMemory returns the resident memory of this process that is not backed by a file, in bytes; 0 if it is unknown.
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
