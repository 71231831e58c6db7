package clustertest

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"runtime"
)

// TarEntry is an entry of a tar. A header without a size or mode gets those of a file with that data.
type TarEntry struct {
	tar.Header
	Data string
}

// Tar writes entries one after another, also those with less data than their header says. It panics if a header cannot be
// written.
func Tar(entries ...TarEntry) []byte {
	var b bytes.Buffer
	for _, e := range entries {
		if e.Size == 0 {
			e.Size = int64(len(e.Data))
		}
		if e.Mode == 0 {
			e.Mode = 0o644
		}
		w := tar.NewWriter(&b) // of its own, since one does not go on after an entry that lacks data
		if err := w.WriteHeader(&e.Header); err != nil {
			panic(err)
		}
		if _, err := w.Write([]byte(e.Data)); err != nil {
			panic(err)
		}
		_ = w.Flush() // pads the data, unless some is missing
	}
	b.Write(make([]byte, 2*blockSize))
	return b.Bytes()
}

const blockSize = 512

// File is an entry that is a file.
func File(name, data string) TarEntry { return TarEntry{tar.Header{Name: name}, data} }

// DockerArchive returns what docker save writes for one image: the configuration and a layer, and manifest.json last.
func DockerArchive(names ...string) []TarEntry {
	config, layer := imageConfig(), string(Tar(File("hello", "hello\n")))
	manifest := encodeJSON([]map[string]any{{"Config": hexSum(config) + ".json", "RepoTags": names, "Layers": []string{hexSum(layer) + "/layer.tar"}}})
	return []TarEntry{File(hexSum(config)+".json", config), File(hexSum(layer)+"/layer.tar", layer), File("manifest.json", manifest)}
}

// OCIArchive returns an OCI layout with one image, index.json last.
func OCIArchive(name string) []TarEntry {
	config, layer := imageConfig(), string(Tar(File("hello", "hello\n")))
	manifest := encodeJSON(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": descriptor("application/vnd.oci.image.config.v1+json", config),
		"layers": []any{descriptor("application/vnd.oci.image.layer.v1.tar", layer)},
	})
	image := descriptor("application/vnd.oci.image.manifest.v1+json", manifest)
	image["annotations"] = map[string]string{"io.containerd.image.name": name}
	index := encodeJSON(map[string]any{"schemaVersion": 2, "manifests": []any{image}})
	return []TarEntry{
		File("oci-layout", `{"imageLayoutVersion":"1.0.0"}`), File(blob(config), config), File(blob(layer), layer), File(blob(manifest), manifest),
		File("index.json", index),
	}
}

func imageConfig() string {
	return encodeJSON(map[string]any{"architecture": runtime.GOARCH, "os": "linux", "rootfs": map[string]any{"type": "layers", "diff_ids": []string{
		"sha256:" + hexSum(string(Tar(File("hello", "hello\n")))),
	}}})
}

func descriptor(mediaType, data string) map[string]any {
	return map[string]any{"mediaType": mediaType, "digest": "sha256:" + hexSum(data), "size": len(data)}
}

func blob(data string) string { return "blobs/sha256/" + hexSum(data) }

func hexSum(data string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(data))) }

func encodeJSON(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(data)
}
