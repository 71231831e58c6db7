// Command mkpayload packs the root file system of nodes into payload.tar.zst (see package payload): the programs in -bin,
// the Debian tools a node needs (downloaded with apt-get, nothing is installed) and a few files of its own. The same inputs
// give the same bytes, and an archive that already has them is not written again.
//
//	mkpayload -bin .cache/payload/bin -debs .cache/payload/debs -out bin -version kl=v0.1.0
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mkpayload:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	arch     string // Debian's and Go's name of the architecture: amd64, arm64
	bin      string // directory of the programs to pack
	debs     string // directory that keeps downloaded Debian packages
	lock     string // file that names the tested Debian packages
	strict   bool   // fail, not warn, where a package differs from lock
	out      string // directory to write the archive to
	level    int
	versions versions
}

func run(ctx context.Context, args []string, log io.Writer) error {
	o := options{versions: versions{}}
	flags := flag.NewFlagSet("mkpayload", flag.ContinueOnError)
	flags.SetOutput(log)
	flags.StringVar(&o.arch, "arch", "amd64", "architecture, as Debian names it")
	flags.StringVar(&o.bin, "bin", ".cache/payload/bin", "directory of the programs to pack")
	flags.StringVar(&o.debs, "debs", ".cache/payload/debs", "directory to keep Debian packages in")
	flags.StringVar(&o.lock, "lock", "embedded/payload/debian.lock", "file with the tested Debian packages")
	flags.BoolVar(&o.strict, "strict", false, "fail where a Debian package differs from the lock file")
	flags.StringVar(&o.out, "out", "bin", "directory to write the archive to")
	flags.IntVar(&o.level, "level", 3, "zstd level: 1 (fastest) to 19 (smallest, minutes)")
	flags.Var(o.versions, "version", "name=version of a component, for the manifest; repeatable")
	if err := flags.Parse(args); err != nil {
		return err
	}
	packages, err := fetchDebian(ctx, o, log)
	if err != nil {
		return fmt.Errorf("fetch Debian packages: %w", err)
	}
	tree, err := nodeTree(o, packages)
	if err != nil {
		return fmt.Errorf("lay out node: %w", err)
	}
	packages = used(packages, tree)
	if err := checkLock(o, packages, log); err != nil {
		return fmt.Errorf("check Debian packages: %w", err)
	}
	for _, p := range packages {
		o.versions["debian/"+p.name] = p.version
		licence := filepath.Join("usr/share/doc", p.name, "copyright")
		tree.add(licence, node{mode: 0o644, source: filepath.Join(p.dir, licence)})
	}
	return writeArchive(ctx, o, tree, log)
}

// versions is a flag of name=version pairs.
type versions map[string]string

func (v versions) String() string { return "" }

// Set implements flag.Value.
func (v versions) Set(s string) error {
	name, version, ok := strings.Cut(s, "=")
	if !ok || name == "" {
		return errors.New("want name=version")
	}
	v[name] = version
	return nil
}
