package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// mains are the packages of the Go programs in kl and its payload.
func mains() []string {
	return []string{
		"./cmd/kl", "./cmd/kl-engine", "./cmd/kl-init", "./cmd/kl-policy", "./cmd/kl-critest",
		"github.com/opencontainers/runc",
		"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
		"sigs.k8s.io/cri-tools/cmd/crictl",
		"github.com/containernetworking/plugins/plugins/main/ptp",
		"github.com/containernetworking/plugins/plugins/main/loopback",
		"github.com/containernetworking/plugins/plugins/ipam/host-local",
		"github.com/containernetworking/plugins/plugins/meta/portmap",
	}
}

// goModule is a module as go list prints it. usedModules replaces Version and Dir by those of Replace.
type goModule struct {
	Path    string
	Version string
	Dir     string
	Main    bool
	Replace *goModule
}

// usedModules are the modules that one of the programs has a package of, by path and without this module.
func usedModules(ctx context.Context, root string) (map[string]goModule, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"list", "-deps", "-json=Module"}, mains()...)...)
	cmd.Dir = root
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("run go list: %w\n%s", err, stderr.Bytes())
	}
	used := map[string]goModule{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct{ Module *goModule }
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return used, nil
		} else if err != nil {
			return nil, err
		}
		if p.Module == nil || p.Module.Main { // the standard library, or kl
			continue
		}
		m := *p.Module
		if m.Replace != nil {
			m.Version, m.Dir = m.Replace.Version, m.Replace.Dir
		}
		used[m.Path] = m
	}
}

func writeModules(w io.Writer, used map[string]goModule) error {
	fmt.Fprint(w, "\n## Go modules\n\n| module | version | licence |\n| --- | --- | --- |\n")
	for _, path := range slices.Sorted(maps.Keys(used)) {
		m := used[path]
		licence, err := m.licence()
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "| %s | %s | %s |\n", path, m.Version, licence)
	}
	return nil
}

// licence names the licences in a module's licence files.
func (m goModule) licence() (string, error) {
	var found []string
	entries, err := os.ReadDir(m.Dir)
	if err != nil {
		return "", fmt.Errorf("read module %s: %w", m.Path, err)
	}
	for _, e := range entries {
		name := strings.ToLower(e.Name())
		if e.IsDir() || !strings.HasPrefix(name, "license") && !strings.HasPrefix(name, "licence") && !strings.HasPrefix(name, "copying") &&
			!strings.HasPrefix(name, "unlicense") && !strings.HasPrefix(name, "mit-license") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(m.Dir, e.Name()))
		if err != nil {
			return "", err
		}
		found = append(found, classify(string(text))...)
	}
	slices.Sort(found)
	if found = slices.Compact(found); len(found) == 0 {
		return "", fmt.Errorf("the licence of module %s is not known: read %s", m.Path, m.Dir)
	}
	return strings.Join(found, ", "), nil
}

// phrase is a piece of a licence's text, in lower case, that no other licence has.
type phrase struct{ licence, text string }

func phrases() []phrase {
	return []phrase{
		{"Apache-2.0", "apache license version 2.0"},
		{"Apache-2.0", "licensed under the apache license, version 2.0"},
		{"MPL-2.0", "mozilla public license version 2.0"},
		{"MPL-2.0", "mozilla public license, version 2.0"},
		{"MIT", "permission is hereby granted, free of charge, to any person obtaining a copy"},
		{"ISC", "permission to use, copy, modify, and/or distribute this software for any purpose"},
		{"ISC", "permission to use, copy, modify, and distribute this software for any purpose"},
		{"CC0-1.0", "cc0 1.0 universal"},
		{"Unlicense", "this is free and unencumbered software released into the public domain"},
		{"BSD-3-Clause", "endorse or promote products derived from"},
	}
}

// classify names the licences that a text contains.
func classify(text string) []string {
	text = strings.Join(strings.Fields(strings.ToLower(text)), " ")
	var found []string
	for _, p := range phrases() {
		if strings.Contains(text, p.text) {
			found = append(found, p.licence)
		}
	}
	if strings.Contains(text, "redistribution and use in source and binary forms") && !slices.Contains(found, "BSD-3-Clause") {
		found = append(found, "BSD-2-Clause")
	}
	return found
}
