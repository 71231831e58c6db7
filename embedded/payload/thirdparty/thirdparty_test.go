package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestUpToDate compares THIRD_PARTY.md with what the command writes now, so that a new dependency, version or licence does
// not go unnoticed.
func TestUpToDate(t *testing.T) {
	const root = "../../.."
	var want strings.Builder
	if err := write(t.Context(), &want, root); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(root, "THIRD_PARTY.md"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(want.String(), "\n"), strings.Split(string(got), "\n")); diff != "" {
		t.Errorf("THIRD_PARTY.md is out of date (-want +got): go run ./embedded/payload/thirdparty > THIRD_PARTY.md\n%s", diff)
	}
}

func TestClassify(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       []string
	}{
		{"apache", "  Apache License\n   Version 2.0, January 2004", []string{"Apache-2.0"}},
		{"mit", "Permission is hereby granted, free of\ncharge, to any person obtaining a copy", []string{"MIT"}},
		{"bsd 3", "Redistribution and use in source and binary forms … to endorse or promote products derived from", []string{"BSD-3-Clause"}},
		{"bsd 2", "Redistribution and use in source and binary forms, with or without", []string{"BSD-2-Clause"}},
		{"several", "Apache License Version 2.0 … Mozilla Public License, version 2.0", []string{"Apache-2.0", "MPL-2.0"}},
		{"unknown", "all rights reserved", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, classify(tt.text)); diff != "" {
				t.Errorf("classify (-want +got):\n%s", diff)
			}
		})
	}
}

func TestUnknownLicence(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "LICENSE"), []byte("all rights reserved"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := (goModule{Path: "example.org/m", Dir: dir}).licence(); err == nil {
		t.Errorf("licence is %q, want an error", got)
	}
}
