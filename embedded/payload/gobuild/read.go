package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// listAfter is how many packages are built before the others are listed, which takes seconds: most builds end sooner.
const listAfter = 20

// output reads what go build -v -json writes to standard output: the names of packages that it begins to build, as the output
// of each, and what compilers and linkers say, which is passed on. Helpers that it starts run until ctx is done.
func (b *build) output(ctx context.Context, helpers *sync.WaitGroup, r io.Reader) {
	built := 0
	for line := range lines(r) {
		var event struct{ ImportPath, Action, Output string }
		switch {
		case json.Unmarshal([]byte(line), &event) != nil:
			b.progress.say(line + "\n")
		case event.Action != "build-output":
		case event.Output != event.ImportPath+"\n":
			b.progress.say(event.Output)
		default:
			b.compiling()
			b.progress.building(event.ImportPath)
			if built++; built == listAfter {
				helpers.Go(func() {
					if left, err := b.stale(ctx); err == nil { // without it, the packages are counted all the same
						b.progress.expect(left)
					}
				})
			}
		}
	}
}

// log reads what go itself says on standard error, which is passed on but for the names of modules that it fetches. While it
// does, the processor is idle: that time is used until ctx is done.
func (b *build) log(ctx context.Context, helpers *sync.WaitGroup, r io.Reader) {
	fetched := 0
	for line := range lines(r) {
		if !strings.HasPrefix(line, "go: downloading ") {
			b.progress.say(line + "\n")
			continue
		}
		if fetched++; fetched == 1 {
			helpers.Go(func() { compileStandard(ctx) })
		}
		b.progress.fetching(fetched)
	}
}

// compileStandard compiles what no module has to be fetched for. The build that follows finds it in Go's cache, and says what is
// wrong if that fails.
func compileStandard(ctx context.Context) {
	_ = goCommand(ctx, "build", "net/http", "text/template", "encoding/xml", "go/parser", "archive/tar", "debug/elf").Run()
}

// stale returns the packages that are not in Go's cache, and for each how much there is to compile.
func (b *build) stale(ctx context.Context) (map[string]int64, error) {
	const format = "{{if .Stale}}{{.ImportPath}}\t{{.Dir}}{{range .GoFiles}}\t{{.}}{{end}}{{end}}"
	out, err := goCommand(ctx, slices.Concat([]string{"list", "-deps", "-f", format}, b.flags, b.packages)...).Output()
	if err != nil {
		return nil, err
	}
	left := map[string]int64{}
	for line := range lines(bytes.NewReader(out)) {
		fields := strings.Split(line, "\t")
		if len(fields) < 2 {
			continue
		}
		work := int64(perPackage)
		for _, file := range fields[2:] {
			if info, err := os.Stat(filepath.Join(fields[1], file)); err == nil {
				work += info.Size()
			}
		}
		left[fields[0]] = work
	}
	return left, nil
}

// perPackage is what a package costs beyond the bytes of its source, in such bytes. It was measured: reading what a package of
// Kubernetes imports takes 0.2 s, and compiling 60 kB does.
const perPackage = 60_000

// lines yields the lines of r without their ends, however long they are. It ends when r does.
func lines(r io.Reader) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for in := bufio.NewReader(r); ; {
			line, err := in.ReadString('\n')
			if line != "" && !yield(strings.TrimSuffix(line, "\n")) {
				return
			}
			if err != nil {
				return
			}
		}
	}
}
