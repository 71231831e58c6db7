package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// pauseName is the image of pods' sandboxes and of cluster DNS.
const pauseName = "kl.local/pause:1"

// nodePath is in the image's configuration because command names without a directory cannot be resolved without it.
const nodePath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// pauseImage makes a docker-archive of one layer that holds the pause program.
func pauseImage(program, arch string) ([]byte, error) {
	b, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	layer, err := plainTar([]plainFile{{"pause", 0o755, b}})
	if err != nil {
		return nil, err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": arch,
		"os":           "linux",
		"created":      time.Unix(0, 0).UTC(),
		"config":       map[string]any{"Env": []string{nodePath}, "Entrypoint": []string{"/pause"}, "WorkingDir": "/"},
		"rootfs":       map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + sum(layer)}},
		"history":      []map[string]any{{"created": time.Unix(0, 0).UTC(), "created_by": "kl"}},
	})
	if err != nil {
		return nil, err
	}
	configName, layerName := sum(config)+".json", sum(layer)+".tar"
	manifest, err := json.Marshal([]map[string]any{{
		"Config": configName, "RepoTags": []string{pauseName}, "Layers": []string{layerName},
	}})
	if err != nil {
		return nil, err
	}
	return plainTar([]plainFile{
		{"manifest.json", 0o644, manifest}, {configName, 0o644, config}, {layerName, 0o644, layer},
	})
}

type plainFile struct {
	name string
	mode int64
	data []byte
}

// plainTar is a tar of regular files owned by root and dated 1970.
func plainTar(files []plainFile) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		h := &tar.Header{
			Typeflag: tar.TypeReg, Name: f.name, Mode: f.mode, Size: int64(len(f.data)),
			ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR,
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("write %s: %w", f.name, err)
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, fmt.Errorf("write %s: %w", f.name, err)
		}
	}
	return buf.Bytes(), w.Close()
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}
