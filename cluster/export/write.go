package export

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

// Destination is where a bundle goes. One of the two is set.
type Destination struct {
	Dir  string // a directory that is made, or is empty
	File string // an archive: .tar.zst, .tar.gz, .tgz or .tar. A file that is there is replaced.
}

// Result is a bundle that was written.
type Result struct {
	Path     string // of the directory or archive
	Files    int
	Bytes    int64 // of the files, or of the archive
	Missing  int   // things that could not be gathered, see index.txt
	Findings int   // things that look wrong
	Searched bool  // logs were searched for the values of all Secrets
}

// compressors are the endings that an archive may have.
func compressors() map[string]func(io.Writer) (io.WriteCloser, error) {
	gz := func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil }
	return map[string]func(io.Writer) (io.WriteCloser, error){
		".tar.zst": func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w, zstd.WithEncoderConcurrency(2)) },
		".tar.gz":  gz, ".tgz": gz,
		".tar": func(w io.Writer) (io.WriteCloser, error) { return plain{w}, nil },
	}
}

type plain struct{ io.Writer }

func (plain) Close() error { return nil }

// ending returns the ending of an archive's name, empty if it is none.
func ending(file string) string {
	for end := range compressors() {
		if strings.HasSuffix(strings.ToLower(file), end) {
			return end
		}
	}
	return ""
}

// Check returns why a bundle cannot be written there, as far as that is known before anything is gathered.
func (d Destination) Check() error {
	switch {
	case d.File != "" && ending(d.File) == "":
		return &cluster.Error{Op: "write " + d.File, Err: errors.New("its name says no kind of archive"), Hint: "let it end in .tar.zst, .tar.gz or .tar"}
	case d.File != "":
		if err := statefile.Check(d.File); err != nil {
			return &cluster.Error{Op: "write " + d.File, Err: statefile.Cause(err), Hint: "name a file in a directory that you can write to"}
		}
		if err := statefile.CheckDir(filepath.Dir(d.File)); err != nil {
			return &cluster.Error{Op: "write " + d.File, Err: statefile.Cause(err), Hint: "name a file in a directory that you can write to"}
		}
		return nil
	case ending(d.Dir) != "":
		return &cluster.Error{Op: "write " + d.Dir, Err: errors.New("it is named as an archive, and would be a directory"), Hint: "for an archive use -o " + d.Dir}
	}
	entries, err := os.ReadDir(d.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = statefile.Check(filepath.Join(d.Dir, indexFile))
	case err == nil && len(entries) > 0:
		return &cluster.Error{Op: "write " + d.Dir, Err: errors.New("the directory is not empty"), Hint: "name one that does not exist, or remove it first"}
	case err == nil:
		err = statefile.CheckDir(d.Dir)
	}
	if err != nil {
		return &cluster.Error{Op: "write " + d.Dir, Err: statefile.Cause(err), Hint: "name a directory that you can write to"}
	}
	return nil
}

// Write gathers a bundle and writes it. What cannot be gathered is no error. If ctx ends, or the destination cannot be written, nothing is
// left there. Progress is called often, by one goroutine; it may be nil.
func Write(ctx context.Context, d Destination, c Cluster, progress func(Progress)) (r Result, err error) {
	if err := d.Check(); err != nil {
		return r, err
	}
	if progress == nil {
		progress = func(Progress) {}
	}
	if d.File != "" {
		return writeArchive(ctx, d.File, c, progress)
	}
	_, statErr := os.Stat(d.Dir)
	if err := statefile.MkdirAll(d.Dir, 0o700); err != nil {
		return r, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, clear(d.Dir, statErr != nil))
		}
	}()
	r, err = fill(ctx, d.Dir, c, progress)
	r.Path = d.Dir
	return r, err
}

// clear removes what an export that failed has left in a directory, and the directory itself if the export has made it.
func clear(dir string, whole bool) error {
	if whole {
		return os.RemoveAll(dir)
	}
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}

// writeArchive gathers into a directory beside the archive, and packs that.
func writeArchive(ctx context.Context, file string, c Cluster, progress func(Progress)) (r Result, err error) {
	dir, err := os.MkdirTemp(filepath.Dir(file), ".kl-export-*")
	if err != nil {
		return r, &cluster.Error{Op: "write " + file, Err: statefile.Cause(err)}
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if r, err = fill(ctx, dir, c, progress); err != nil {
		return r, err
	}
	end := ending(file)
	r.Path = file
	r.Bytes, err = statefile.WriteWhole(file, 0o600, func(w io.Writer) error {
		z, err := compressors()[end](w)
		if err != nil {
			return err
		}
		return errors.Join(pack(ctx, z, dir, filepath.Base(file[:len(file)-len(end)])), z.Close())
	})
	if err != nil {
		err = &cluster.Error{Op: "write " + file, Err: statefile.Cause(err)}
	}
	return r, err
}

// pack writes a directory as a tar in which everything is below one directory of that name.
func pack(ctx context.Context, w io.Writer, dir, name string) error {
	t := tar.NewWriter(w)
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	err = fs.WalkDir(root.FS(), ".", func(file string, d fs.DirEntry, err error) error {
		if err != nil || ctx.Err() != nil {
			return errors.Join(err, context.Cause(ctx))
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		h := &tar.Header{Name: name + "/" + file, Mode: 0o600, Size: info.Size(), ModTime: info.ModTime(), Typeflag: tar.TypeReg}
		if file == "." {
			h.Name = name
		}
		if d.IsDir() {
			h.Name, h.Mode, h.Size, h.Typeflag = h.Name+"/", 0o700, 0, tar.TypeDir
		}
		if err := t.WriteHeader(h); err != nil || d.IsDir() {
			return err
		}
		f, err := root.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		return copyContext(ctx, t, f)
	})
	return errors.Join(err, t.Close())
}

// fill gathers everything into an empty directory.
func fill(ctx context.Context, dir string, c Cluster, progress func(Progress)) (r Result, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return r, err
	}
	defer root.Close()
	began := time.Now()
	progress(Progress{Of: 1, Running: []string{"state of the cluster"}})
	s := look(ctx, c)
	if s.driver != nil {
		defer s.driver.Close()
	}
	if ctx.Err() != nil {
		return r, context.Cause(ctx)
	}
	results, err := gatherAll(ctx, root, s.secrets, parts(c, s), progress)
	if err != nil {
		return r, err
	}
	x := index{cluster: c.Layout.Name, kl: c.Version, kubernetes: s.info.Kubernetes, taken: began, took: time.Since(began),
		findings: s.findings(time.Now()), missing: slices.Clone(s.unlisted)}
	for _, g := range results {
		x.files, x.missing = append(x.files, g.files...), append(x.missing, g.missing...)
	}
	slices.Sort(x.missing)
	x.missing = slices.Compact(x.missing)
	last := &Folder{root: root, known: s.secrets, written: new(atomic.Int64)}
	if err := last.Fill(indexFile, "this file", func(w io.Writer) error { x.print(w); return nil }); err != nil {
		return r, fmt.Errorf("write %s: %w", indexFile, err)
	}
	own, _ := last.close()
	for _, f := range append(x.files, own...) {
		r.Bytes += f.Bytes
	}
	r.Files, r.Missing, r.Findings, r.Searched = len(x.files)+1, len(x.missing), len(x.findings), s.searched
	return r, giveTo(dir)
}

// giveTo gives what root has written to the user whose directory it is in.
func giveTo(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 || owner.Uid == 0 {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(owner.Uid), int(owner.Gid))
	})
}

// parts is what is gathered.
func parts(c Cluster, s *sight) []Part {
	all := []Part{logs(c.Layout, s), audit(c.Layout), podLogs(s), events(s), objects(s), chart(c.Layout, s)}
	all = append(all, nodeStates(s)...)
	for _, d := range c.Documents {
		all = append(all, document(d))
	}
	return all
}
