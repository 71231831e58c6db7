package tour

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
)

// Image is the name of the image that WriteImage writes.
const Image = "kl.local/tour:1"

// WriteImage writes a docker-archive (what docker save writes) with [Image]: one layer, with kl-engine at the path that
// [ImagePrograms] runs. Clusters that are not kl's can load it.
func WriteImage(w io.Writer, program *os.File) error {
	info, err := program.Stat()
	if err != nil {
		return err
	}
	sum, count := sha256.New(), &counter{}
	if err := writeLayer(io.MultiWriter(sum, count), program, info.Size()); err != nil {
		return err
	}
	diff := hex.EncodeToString(sum.Sum(nil))
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "config": map[string]any{"Cmd": []string{engine}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + diff}},
	})
	if err != nil {
		return err
	}
	of := sha256.Sum256(config)
	configFile, layerFile := hex.EncodeToString(of[:])+".json", diff+"/layer.tar"
	manifest, err := json.Marshal([]map[string]any{{"Config": configFile, "RepoTags": []string{Image}, "Layers": []string{layerFile}}})
	if err != nil {
		return err
	}
	out := tar.NewWriter(w)
	for _, f := range []struct {
		name string
		data []byte
	}{{"manifest.json", manifest}, {configFile, config}} {
		if err := writeEntry(out, f.name, 0o644, bytes.NewReader(f.data), int64(len(f.data))); err != nil {
			return err
		}
	}
	if err := out.WriteHeader(&tar.Header{Name: layerFile, Mode: 0o644, Size: count.n}); err != nil {
		return err
	}
	if err := writeLayer(out, program, info.Size()); err != nil {
		return err
	}
	return out.Close()
}

// writeLayer writes the layer's tar. Its bytes depend on kl-engine alone.
func writeLayer(w io.Writer, program *os.File, size int64) error {
	if _, err := program.Seek(0, io.SeekStart); err != nil {
		return err
	}
	layer := tar.NewWriter(w)
	if err := writeEntry(layer, engine[1:], 0o755, program, size); err != nil {
		return err
	}
	return layer.Close()
}

func writeEntry(w *tar.Writer, name string, mode int64, data io.Reader, size int64) error {
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: size}); err != nil {
		return err
	}
	n, err := io.Copy(w, data)
	if err == nil && n < size {
		err = fmt.Errorf("%s ends after %d of %d bytes", name, n, size)
	}
	return err
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}
