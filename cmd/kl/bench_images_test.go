//go:build e2e

package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// BenchmarkImages measures how long an image of ten layers of 100 MB, below one of 1 MB, takes from the end of `docker build` until new pods
// are Ready, one on each node, and what that writes to disk. Nothing loads the image. Beside it, in the same run, the old way: the engine
// saves the whole image, which is then sent to every node, as to nodes of an older kl. It needs a Docker engine, and root to read the
// directory of layers.
//
//	make build && go test -tags e2e -run '^$' -bench Images -benchtime 1x ./cmd/kl
//
// KL_BENCH_RUNS is the number of runs (10; of the old way at most 3), KL_BENCH_LAYER the size of a layer in MB (100), KL_DRIVER the driver.
func BenchmarkImages(b *testing.B) {
	runs := benchRuns(10)
	for b.Loop() {
		u := newUser(b)
		u.warmUp()
		i := newImageBench(u)
		for _, nodes := range []int{1, 3} {
			m := i.newWay(nodes, runs)
			i.oldWay(nodes, min(runs, 3), m)
			fmt.Println(i.table(nodes, m))
		}
	}
}

// imageTimes is what was measured on a number of nodes.
type imageTimes struct {
	first, firstOld        time.Duration
	again, againOld, known []time.Duration // after a change; pods of an image that nodes have
	wrote, wroteOld        []int64         // bytes, after a change
	disk, diskOld          int64           // bytes that the image takes
	second                 time.Duration   // in a second cluster
	secondWrote            int64
}

// newWay measures images that nodes find by themselves.
func (i *imageBench) newWay(nodes, runs int) *imageTimes {
	var m imageTimes
	i.build()
	i.u.kl("up", "--nodes", strconv.Itoa(nodes))
	i.warm(nodes)
	before := i.disk(nodes)
	m.first = i.pods(nodes)
	m.disk = i.disk(nodes) - before
	for range runs {
		before = i.disk(nodes)
		i.build()
		m.again = append(m.again, i.pods(nodes))
		m.wrote = append(m.wrote, i.disk(nodes)-before)
		m.known = append(m.known, i.pods(nodes))
	}
	second := *i
	second.u = &user{b: i.u.b, h: i.u.h, home: i.u.home, cluster: i.u.cluster + "-b"}
	second.u.kl("up", "--nodes", strconv.Itoa(nodes))
	second.warm(nodes)
	before = second.disk(nodes)
	m.second = second.pods(nodes)
	m.secondWrote = second.disk(nodes) - before
	second.u.kl("down")
	i.u.kl("down")
	return &m
}

// oldWay measures images that are saved and sent to every node, in a cluster of its own.
func (i *imageBench) oldWay(nodes, runs int, m *imageTimes) {
	i.u.kl("up", "--nodes", strconv.Itoa(nodes))
	i.warm(nodes)
	before := i.disk(nodes)
	began := time.Now()
	i.saveAndSend(nodes)
	i.pods(nodes)
	m.firstOld, m.diskOld = time.Since(began), i.disk(nodes)-before
	for range runs {
		before = i.disk(nodes)
		i.build()
		began = time.Now()
		saved := i.saveAndSend(nodes)
		i.pods(nodes)
		m.againOld = append(m.againOld, time.Since(began))
		m.wroteOld = append(m.wroteOld, i.disk(nodes)-before+saved)
	}
	i.u.kl("down")
}

func (i *imageBench) table(nodes int, m *imageTimes) string {
	var table strings.Builder
	fmt.Fprintf(&table, "\n| an image of ten layers of %d MB and one of 1 MB, nodes: %d (median of %d, old way of %d) | %s |\n| --- | --- |\n",
		i.layer, nodes, len(m.again), len(m.againOld), i.u.machine())
	for _, row := range [][2]string{
		{"the 1 MB changed: `docker build` returned to new pods Ready", fine(m.again...)},
		{"the same with an image that nodes have", fine(m.known...)},
		{"the same the old way, saved and loaded", fine(m.againOld...)},
		{"bytes written for the change", megabytes(m.wrote...)},
		{"the same the old way, with the saved archive", megabytes(m.wroteOld...)},
		{"first pods of the image", fine(m.first)},
		{"the same the old way", fine(m.firstOld)},
		{"disk that the image takes", megabytes(m.disk)},
		{"the same the old way", megabytes(m.diskOld)},
		{"first pods of the image in a second cluster", fine(m.second)},
		{"bytes written for these", megabytes(m.secondWrote)},
	} {
		fmt.Fprintf(&table, "| %s | %s |\n", row[0], row[1])
	}
	return table.String()
}

// fine is seconds with two digits.
func fine(d ...time.Duration) string {
	s := slices.Sorted(slices.Values(d))
	text := fmt.Sprintf("%.2f s", s[len(s)/2].Seconds())
	if len(s) > 1 {
		text += fmt.Sprintf(" (%.2f–%.2f)", s[0].Seconds(), s[len(s)-1].Seconds())
	}
	return text
}

// megabytes formats the median.
func megabytes(n ...int64) string {
	s := slices.Sorted(slices.Values(n))
	return fmt.Sprintf("%.1f MB", float64(s[len(s)/2])/1e6)
}

// disk returns the bytes that layers and the nodes' file systems take.
func (i *imageBench) disk(nodes int) int64 {
	i.u.b.Helper()
	du := i.u.command("du", "-skx", i.u.layout().Home.LayersDir())
	out, err := du.Output()
	if err != nil {
		i.u.b.Fatalf("du: %v", err)
	}
	total := kilobytes(i.u.b, string(out))
	for n := range nodes { // files of pods that have just gone are missed
		total += kilobytes(i.u.b, i.u.kl("node", "shell", fmt.Sprintf("n%d", n+1), "--", "sh", "-c", "du -skx /var 2>/dev/null; true"))
	}
	return total
}

// kilobytes reads the first word of du -k.
func kilobytes(b *testing.B, out string) int64 {
	b.Helper()
	word, _, _ := strings.Cut(out, "\t")
	n, err := strconv.ParseInt(word, 10, 64)
	if err != nil {
		b.Fatalf("du printed %q", out)
	}
	return n << 10
}

// layerSize returns KL_BENCH_LAYER, or a hundred.
func layerSize() int {
	if v, err := strconv.Atoi(os.Getenv("KL_BENCH_LAYER")); err == nil && v > 0 {
		return v
	}
	return 100
}
