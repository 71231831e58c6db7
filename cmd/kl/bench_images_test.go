//go:build e2e

package main

import (
	"fmt"
	"os"
	"os/exec"
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
	if exec.Command("docker", "info").Run() != nil {
		fmt.Println("SKIPPED: BenchmarkImages: no Docker engine answers") // what b.Skip says is printed with -v alone
		b.SkipNow()
	}
	runs := benchRuns(10)
	for b.Loop() {
		u := newUser(b)
		u.warmUp()
		i := newImageBench(u)
		for _, nodes := range []int{1, 3} {
			m := i.newWay(nodes, runs)
			i.oldWay(nodes, min(runs, 3), m)
			i.results(nodes, m).publish(fmt.Sprintf("an image of ten layers of %d MB and one of 1 MB", i.layer))
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

// results are the rows of a number of nodes. A size of the layers that is not the usual one is in their keys.
func (i *imageBench) results(nodes int, m *imageTimes) *results {
	r := i.u.results()
	key := func(name string) string {
		name += fmt.Sprintf("/nodes=%d", nodes)
		if i.layer != usualLayer {
			name += fmt.Sprintf("/layer=%dMB", i.layer)
		}
		return i.u.perDriver(name)
	}
	r.times(key("image/changed"), m.again...)
	r.times(key("image/known"), m.known...)
	r.times(key("image/changed/saved"), m.againOld...)
	r.sizes(key("image/written"), m.wrote...)
	r.sizes(key("image/written/saved"), m.wroteOld...)
	r.times(key("image/first"), m.first)
	r.times(key("image/first/saved"), m.firstOld)
	r.sizes(key("image/disk"), m.disk)
	r.sizes(key("image/disk/saved"), m.diskOld)
	r.times(key("image/second"), m.second)
	r.sizes(key("image/second/written"), m.secondWrote)
	return r
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
func kilobytes(b testing.TB, out string) int64 {
	b.Helper()
	word, _, _ := strings.Cut(out, "\t")
	n, err := strconv.ParseInt(word, 10, 64)
	if err != nil {
		b.Fatalf("du printed %q", out)
	}
	return n << 10
}

// usualLayer is the size of a layer in MB.
const usualLayer = 100

// layerSize returns KL_BENCH_LAYER, or the usual size.
func layerSize() int {
	if v, err := strconv.Atoi(os.Getenv("KL_BENCH_LAYER")); err == nil && v > 0 {
		return v
	}
	return usualLayer
}
