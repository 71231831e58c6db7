package export

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/cluster/statefile"
)

const (
	fileLimit = 30 * time.Second
	maxLog    = 20 << 20 // bytes of a log that are taken, the last ones
	maxAudit  = 50 << 20 // bytes of the audit log
)

// logs are the files that kl itself keeps: logs of components and of nodes, rotated ones, too, and what supervisors have noted.
func logs(l cluster.Layout, s *sight) part {
	return part{"logs of components and nodes", fileLimit, func(ctx context.Context, to *Folder) error {
		err := copyLogs(ctx, to, filepath.Dir(filepath.Dir(l.LogFile("x"))), "logs", "control-plane/logs", "log of a component")
		to.Miss("logs of the control plane", err)
		for _, f := range []struct{ from, name, about string }{
			{l.FailedFile(), "control-plane/failed.txt", "why the last control plane could not go on"},
			{l.KubernetesFile(), "control-plane/kubernetes.txt", "version of Kubernetes that the data is of"},
		} {
			err := copyFile(ctx, to, filepath.Dir(f.from), filepath.Base(f.from), f.name, f.about)
			if !errors.Is(err, fs.ErrNotExist) {
				to.Miss(f.name, err)
			}
		}
		to.Miss("configuration", configuration(l, to))
		to.Miss("control plane's supervisor", supervision(l, to))
		entries, err := os.ReadDir(filepath.Dir(l.NodeDir("x")))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			to.Miss("logs of nodes", err)
		}
		for _, e := range entries {
			dir := "nodes/" + safe(e.Name())
			to.Miss("logs of node "+e.Name(), copyLogs(ctx, to, l.NodeDir(e.Name()), "logs", dir+"/logs", "log of a node's program"))
		}
		if filer, ok := s.driver.(cluster.Filer); ok {
			for _, n := range s.info.Nodes {
				own, _ := filer.Files(n)
				for _, file := range own {
					err := copyFile(ctx, to, filepath.Dir(file), filepath.Base(file), "nodes/"+safe(n.Name)+"/logs/driver-"+safe(filepath.Base(file)), "log that the driver keeps of the node")
					if !errors.Is(err, fs.ErrNotExist) {
						to.Miss("node "+n.Name+", "+filepath.Base(file), err)
					}
				}
			}
		}
		return ctx.Err()
	}}
}

// configuration writes what the cluster was made of, without credentials for servers elsewhere.
func configuration(l cluster.Layout, to *Folder) error {
	spec, err := cluster.ReadSpec(l)
	if err != nil {
		return err
	}
	if k := &spec.Audit.Webhook.Kubeconfig; *k != "" {
		*k = "(left out)"
	}
	data, err := yaml.Marshal(spec)
	if err != nil {
		return err
	}
	return to.Write("control-plane/cluster.yaml", "configuration of the cluster", []byte(hideTokens(string(data))))
}

// supervision writes what the control plane's supervisor has noted: its file is as long as it may ever become.
func supervision(l cluster.Layout, to *Folder) error {
	s, _, err := cluster.ReadSupervision(l)
	if err != nil || s.State == "" {
		return err
	}
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return to.Write("control-plane/supervisor.json", "what the control plane's supervisor does, and the last crashes", append(data, '\n'))
}

// copyLogs copies the files of a directory within root, which others may write to: no link leads out of it.
func copyLogs(ctx context.Context, to *Folder, root, dir, name, about string) error {
	r, err := os.OpenRoot(root)
	if err != nil {
		return err
	}
	defer r.Close()
	entries, err := fs.ReadDir(r.FS(), dir)
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("there are none yet")
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		to.Miss(path.Join(name, e.Name()), copyFile(ctx, to, root, filepath.Join(dir, e.Name()), path.Join(name, safe(e.Name())), about))
	}
	return nil
}

// copyFile copies the last maxLog bytes of a regular file within root.
func copyFile(ctx context.Context, to *Folder, root, file, name, about string) error {
	f, err := statefile.OpenWithin(root, file)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	from := max(0, size-maxLog)
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return err
	}
	w, err := to.Create(name, about)
	if err != nil {
		return err
	}
	if from > 0 {
		fmt.Fprintf(w, "(the first %d bytes are left out)\n", from)
	}
	// The file may grow for as long as it is read.
	return errors.Join(copyContext(ctx, w, io.LimitReader(f, size-from)), w.Close())
}

// copyContext copies until ctx ends.
func copyContext(ctx context.Context, w io.Writer, r io.Reader) error {
	buffer := make([]byte, 256<<10)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := r.Read(buffer)
		if n > 0 {
			if _, err := w.Write(buffer[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// audit is the API server's audit log with its rotated files, in order.
func audit(l cluster.Layout) part {
	return part{"audit log", fileLimit, func(ctx context.Context, to *Folder) error {
		files, err := filepath.Glob(filepath.Join(l.Dir(), "audit*.log"))
		if err != nil || len(files) == 0 {
			return errors.Join(err, errors.New("there is none yet"))
		}
		var size int64
		for _, file := range files {
			if info, err := os.Lstat(file); err == nil {
				size += info.Size()
			}
		}
		skip := size - maxAudit
		about := "requests to the API server, one a line, oldest first"
		if skip > 0 {
			about += fmt.Sprintf("; the first %d MB are left out", skip>>20)
		}
		return to.Fill("audit.log", about, func(w io.Writer) error {
			return observe.ReadAudit(ctx, l.AuditLog(), false, func(line []byte) error {
				if skip > 0 {
					skip -= int64(len(line)) + 1
					return nil
				}
				_, err := w.Write(append(redactAudit(line), '\n'))
				return err
			})
		})
	}}
}

// document is a file that somebody else writes.
func document(d Document) part {
	return part{d.File, d.Limit, func(ctx context.Context, to *Folder) error {
		return to.Fill(d.File, d.About, func(w io.Writer) error { return d.Write(ctx, w) })
	}}
}
