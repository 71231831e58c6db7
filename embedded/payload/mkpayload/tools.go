package main

import (
	"bytes"
	"debug/elf"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// applets names busybox's commands, which are links to busybox in a node.
//
//go:embed applets.txt
var applets string

// wget stands before busybox's, which cannot be given a time limit.
//
//go:embed wget.sh
var wget []byte

// tools are the programs taken from Debian packages, with their paths in a node.
func tools() map[string]string {
	return map[string]string{
		"nft":     "usr/sbin/nft",
		"mount":   "usr/bin/mount",
		"umount":  "usr/bin/umount",
		"busybox": "usr/bin/busybox",
	}
}

// addDebian adds the tools, the libraries they are linked with, busybox's links and the certificates of public authorities.
func addDebian(t tree, packages []debianPackage) error {
	for name, place := range tools() {
		source, ok := findFile(packages, name, "usr/sbin", "usr/bin", "sbin", "bin")
		if !ok {
			return fmt.Errorf("no package has %s", name)
		}
		t.program(place, source)
		if err := addLibraries(t, packages, source); err != nil {
			return fmt.Errorf("find libraries of %s: %w", name, err)
		}
	}
	for name := range strings.FieldsSeq(applets) {
		t.link("usr/bin/"+name, "busybox")
	}
	t.add("usr/bin/wget", node{mode: 0o755, data: wget})
	bundle, err := certificates(packages)
	if err != nil {
		return err
	}
	t.add("etc/ssl/certs/ca-certificates.crt", node{mode: 0o644, data: bundle, pkg: "ca-certificates"})
	return nil
}

// findFile looks for a regular file in the given directories of all packages and follows symbolic links.
func findFile(packages []debianPackage, name string, dirs ...string) (string, bool) {
	for _, p := range packages {
		for _, dir := range dirs {
			source := filepath.Join(p.dir, dir, name)
			if info, err := os.Stat(source); err == nil && info.Mode().IsRegular() {
				return source, true
			}
		}
	}
	return "", false
}

// addLibraries adds the libraries that an ELF file is linked with, directly or not, and the loader.
func addLibraries(t tree, packages []debianPackage, source string) error {
	f, err := elf.Open(source)
	if err != nil {
		return err
	}
	defer f.Close()
	needed, err := f.ImportedLibraries()
	if err != nil {
		return err
	}
	triplet := map[elf.Machine]string{elf.EM_X86_64: "x86_64-linux-gnu", elf.EM_AARCH64: "aarch64-linux-gnu"}[f.Machine]
	if triplet == "" {
		return fmt.Errorf("machine %v is not supported", f.Machine)
	}
	for _, lib := range needed {
		place := path.Join("usr/lib", triplet, lib)
		if isLoader(lib) { // added by addLoader, because its path is fixed: /lib64/… or /lib/…
			continue
		}
		if _, ok := t[path.Join("rootfs", place)]; ok {
			continue
		}
		from, ok := findFile(packages, lib, "usr/lib/"+triplet, "lib/"+triplet)
		if !ok {
			return fmt.Errorf("no package has %s", lib)
		}
		t.add(place, node{mode: 0o644, source: from})
		if err := addLibraries(t, packages, from); err != nil {
			return err
		}
	}
	return addLoader(t, packages, f, triplet)
}

func isLoader(lib string) bool { return strings.HasPrefix(lib, "ld-linux") }

// addLoader adds the program interpreter that an ELF file names.
func addLoader(t tree, packages []debianPackage, f *elf.File, triplet string) error {
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		b := make([]byte, p.Filesz)
		if _, err := p.ReadAt(b, 0); err != nil {
			return err
		}
		interp := strings.Trim(string(b), "/\x00") // lib64/ld-linux-x86-64.so.2
		from, ok := findFile(packages, path.Base(interp), "usr/lib/"+triplet, "lib/"+triplet, path.Dir(interp))
		if !ok {
			return fmt.Errorf("no package has %s", interp)
		}
		t.program("usr/"+interp, from)
	}
	return nil
}

// certificates joins the certificates of ca-certificates as update-ca-certificates does.
func certificates(packages []debianPackage) ([]byte, error) {
	i := slices.IndexFunc(packages, func(p debianPackage) bool { return p.name == "ca-certificates" })
	if i < 0 {
		return nil, errors.New("ca-certificates is missing")
	}
	var bundle bytes.Buffer
	err := filepath.WalkDir(filepath.Join(packages[i].dir, "usr/share/ca-certificates"),
		func(file string, d fs.DirEntry, err error) error { // in lexical order
			if err != nil || filepath.Ext(file) != ".crt" {
				return err
			}
			b, err := os.ReadFile(file)
			bundle.Write(bytes.TrimSpace(b))
			bundle.WriteByte('\n')
			return err
		})
	if err == nil && bundle.Len() == 0 {
		err = errors.New("ca-certificates has no certificates")
	}
	return bundle.Bytes(), err
}
