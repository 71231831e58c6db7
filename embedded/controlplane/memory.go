package controlplane

import (
	"bufio"
	"bytes"
	"context"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"time"
)

const (
	startGCPercent = 400       // during the start
	startMemory    = 384 << 20 // limit in bytes during the start, for one over a large etcd
	servingPercent = 60        // afterwards

	idleInterval = 15 * time.Second // between looks for memory that a burst has left behind
	idleRate     = 2 << 20          // bytes a second that a plane may allocate and still count as idle
	idleSlack    = 48 << 20         // bytes that the heap may grow before its garbage is collected on purpose
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

// heap is what the garbage collector has, in bytes.
type heap struct {
	resident  uint64 // what the heap holds of the system's memory, garbage and free space included
	allocated uint64 // in total since the process started
}

func readHeap() heap {
	samples := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
		{Name: "/gc/heap/allocs:bytes"},
	}
	metrics.Read(samples)
	var values [4]uint64
	for i, s := range samples {
		if s.Value.Kind() == metrics.KindUint64 {
			values[i] = s.Value.Uint64()
		}
	}
	return heap{resident: values[0] + values[1] + values[2], allocated: values[3]}
}

// leftBehind reports whether a burst of work, such as the installation of large CustomResourceDefinitions, is over and has left
// garbage. An idle plane collects none for minutes. floor is the heap right after the last collection on purpose.
func leftBehind(floor, before, now heap, interval time.Duration) bool {
	idle := now.allocated-before.allocated < uint64(idleRate*interval.Seconds())
	return idle && now.resident > floor.resident+idleSlack
}

// releaseIdle returns memory to the system after every burst of work, until ctx is done.
func releaseIdle(ctx context.Context) {
	tick := time.NewTicker(idleInterval)
	defer tick.Stop()
	floor := readHeap()
	for before := floor; ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now := readHeap()
		if leftBehind(floor, before, now, idleInterval) {
			debug.FreeOSMemory()
			now = readHeap()
			floor = now
		}
		before = now
	}
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
