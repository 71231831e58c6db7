package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// debianRoots are the packages that a node needs together with the libraries they depend on.
func debianRoots() []string { return []string{"mount", "nftables"} }

// debianAlone are the packages that a node needs without their dependencies.
func debianAlone() []string { return []string{"busybox-static", "ca-certificates"} }

// debianPackage is one downloaded and extracted package.
type debianPackage struct {
	name, version, sha256 string
	dir                   string // its files
}

// used are the packages that the tree has files of.
func used(packages []debianPackage, t tree) []debianPackage {
	var in []debianPackage
	for _, p := range packages {
		if slices.ContainsFunc(slices.Collect(maps.Values(t)), func(n node) bool {
			return strings.HasPrefix(n.source, p.dir+"/") || n.pkg == p.name
		}) {
			in = append(in, p)
		}
	}
	return in
}

// fetchDebian downloads the packages into o.debs, unless they are there already, and extracts each beside its file. They
// come from the Debian release that apt is configured for.
func fetchDebian(ctx context.Context, o options, log io.Writer) ([]debianPackage, error) {
	if err := os.MkdirAll(o.debs, 0o755); err != nil {
		return nil, err
	}
	files, err := debFiles(o)
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		if err := download(ctx, o, log); err != nil {
			return nil, err
		}
		if files, err = debFiles(o); err != nil {
			return nil, err
		}
	}
	var packages []debianPackage
	for _, file := range files {
		p, err := extract(ctx, file)
		if err != nil {
			return nil, fmt.Errorf("extract %s: %w", filepath.Base(file), err)
		}
		packages = append(packages, p)
	}
	slices.SortFunc(packages, func(a, b debianPackage) int { return strings.Compare(a.name, b.name) })
	return packages, nil
}

// debFiles lists the downloaded packages, or none if the download did not finish.
func debFiles(o options) ([]string, error) {
	if _, err := os.Stat(filepath.Join(o.debs, "complete")); err != nil {
		return nil, nil //nolint:nilerr // not downloaded yet
	}
	return filepath.Glob(filepath.Join(o.debs, "*.deb"))
}

func download(ctx context.Context, o options, log io.Writer) error {
	old, err := filepath.Glob(filepath.Join(o.debs, "*"))
	if err != nil {
		return err
	}
	for _, f := range old {
		if err := os.RemoveAll(f); err != nil {
			return err
		}
	}
	names, err := dependencies(ctx, o.arch)
	if err != nil {
		return err
	}
	fmt.Fprintf(log, "mkpayload: downloading %d Debian packages\n", len(names))
	cmd := exec.CommandContext(ctx, "apt-get", append([]string{"download", "-q"}, names...)...)
	cmd.Dir = o.debs
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("run apt-get download: %w\n%s", err, bytes.TrimSpace(out))
	}
	return os.WriteFile(filepath.Join(o.debs, "complete"), nil, 0o644)
}

// dependencies names all packages to download: the libraries that the root packages depend on, directly or not, but not
// the tools they call.
func dependencies(ctx context.Context, arch string) ([]string, error) {
	args := []string{
		"depends", "--recurse", "--important", "--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks",
		"--no-replaces", "--no-enhances",
	}
	var names []string
	for _, name := range debianRoots() {
		args = append(args, qualify(name, arch))
	}
	for _, name := range debianAlone() {
		names = append(names, qualify(name, arch))
	}
	out, err := exec.CommandContext(ctx, "apt-cache", args...).Output()
	if err != nil {
		return nil, fmt.Errorf("run apt-cache depends: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		name := strings.TrimSpace(line)
		if line[0] == ' ' || line[0] == '<' || name == "" {
			continue
		}
		base, _, _ := strings.Cut(name, ":")
		if strings.HasPrefix(base, "lib") || slices.Contains(debianRoots(), base) {
			names = append(names, qualify(base, arch))
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// qualify is apt's name of a package for an architecture. ca-certificates is the same for all.
func qualify(name, arch string) string {
	if name == "ca-certificates" {
		return name
	}
	return name + ":" + arch
}

// extract unpacks a package beside its file, unless that was done before, and reads its name and version.
func extract(ctx context.Context, file string) (debianPackage, error) {
	out, err := exec.CommandContext(ctx, "dpkg-deb", "--show", "--showformat=${Package}\n${Version}", file).Output()
	if err != nil {
		return debianPackage{}, fmt.Errorf("run dpkg-deb --show: %w", err)
	}
	name, version, _ := strings.Cut(string(out), "\n")
	b, err := os.ReadFile(file)
	if err != nil {
		return debianPackage{}, err
	}
	sum := sha256.Sum256(b)
	p := debianPackage{name: name, version: version, sha256: hex.EncodeToString(sum[:]), dir: strings.TrimSuffix(file, ".deb")}
	if _, err := os.Stat(p.dir); err == nil {
		return p, nil
	}
	tmp := p.dir + ".tmp"
	if out, err := exec.CommandContext(ctx, "dpkg-deb", "--extract", file, tmp).CombinedOutput(); err != nil {
		return p, fmt.Errorf("run dpkg-deb --extract: %w\n%s", err, bytes.TrimSpace(out))
	}
	return p, os.Rename(tmp, p.dir)
}

// checkLock compares the packages with the lock file, which has a line "arch name version sha256" for each tested package.
// A difference is logged, or an error with o.strict.
func checkLock(o options, packages []debianPackage, log io.Writer) error {
	b, err := os.ReadFile(o.lock)
	if err != nil {
		return fmt.Errorf("read lock: %w", err)
	}
	var differ []string
	for _, p := range packages {
		line := fmt.Sprintf("%s %s %s %s", o.arch, p.name, p.version, p.sha256)
		if !slices.Contains(strings.Split(string(b), "\n"), line) {
			differ = append(differ, line)
		}
	}
	if len(differ) == 0 {
		return nil
	}
	if o.strict {
		return fmt.Errorf("these Debian packages are not the ones in %s:\n%s", o.lock, strings.Join(differ, "\n"))
	}
	fmt.Fprintf(log, "mkpayload: these Debian packages are not the tested ones of %s:\n%s\n", o.lock, strings.Join(differ, "\n"))
	return nil
}
