package export

import (
	"cmp"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"
)

// indexFile is written last: a directory without it is not complete.
const indexFile = "index.txt"

// index is what index.txt says.
type index struct {
	cluster    string
	kl         string
	kubernetes string
	taken      time.Time
	took       time.Duration
	findings   []string
	files      []File
	missing    []string // in order
}

// print writes the index: first what looks wrong, then what is where, then what is missing and why.
func (x index) print(w io.Writer) {
	fmt.Fprintf(w, "Support bundle of cluster %s, taken %s in %.1f s by kl %s", x.cluster, x.taken.UTC().Format(time.RFC3339), x.took.Seconds(), cmp.Or(x.kl, "(unknown)"))
	if x.kubernetes != "" {
		fmt.Fprintf(w, ", Kubernetes %s", x.kubernetes)
	}
	fmt.Fprint(w, "\n\nWHAT LOOKS WRONG\n\n")
	for _, f := range x.findings {
		fmt.Fprintf(w, "- %s\n", f)
	}
	if len(x.findings) == 0 {
		fmt.Fprint(w, "Nothing that kl knows to look for.\n")
	}
	fmt.Fprint(w, "\nWHAT IS WHERE\n")
	files := slices.SortedFunc(slices.Values(x.files), func(a, b File) int {
		return cmp.Or(cmp.Compare(directory(a), directory(b)), cmp.Compare(a.Path, b.Path))
	})
	width := 0
	for _, f := range files {
		width = max(width, len(f.Path))
	}
	last := "-"
	for _, f := range files {
		if d := directory(f); d != last {
			last = d
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%-*s %10s  %s\n", min(width, 60), f.Path, Size(f.Bytes), f.About)
	}
	fmt.Fprint(w, "\nWHAT IS MISSING\n\n")
	for _, m := range x.missing {
		fmt.Fprintf(w, "- %s\n", m)
	}
	if len(x.missing) == 0 {
		fmt.Fprint(w, "Nothing.\n")
	}
	fmt.Fprint(w, `
WHAT IS LEFT OUT ON PURPOSE

Values of Secrets: their keys are there, and the lengths of the values. Where a program has written such a value of at least 8 bytes into a
log, the name of the Secret stands in its place; words of lower-case letters that are shorter than 20 bytes are not looked for. Private keys
and tokens; kubeconfigs and the keys of kl itself. Anything else that programs have logged is in this bundle: look through it before you
send it to others.
`)
}

// directory is empty for a file at the top, so that those come first.
func directory(f File) string {
	d := path.Dir(f.Path)
	if d == "." {
		return ""
	}
	return d
}

// Size is a number of bytes for people.
func Size(bytes int64) string {
	switch {
	case bytes < 1000:
		return fmt.Sprintf("%d B", bytes)
	case bytes < 1_000_000:
		return fmt.Sprintf("%.1f kB", float64(bytes)/1e3)
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(bytes)/1e6), ".0") + " MB"
}
