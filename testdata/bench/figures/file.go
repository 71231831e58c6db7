package figures

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/klkube/kl/cluster/statefile"
)

// format is the version of the files that this package reads and writes.
const format = 1

// File is what one or more runs measured. A key is in it once.
type File struct {
	Format int   `json:"format"`
	Runs   []Run `json:"runs"`
	Rows   []Row `json:"rows"`
}

// Run is the circumstances of measurements.
type Run struct {
	ID         string `json:"id"`
	Date       string `json:"date,omitempty"` // of its first row, such as 2026-11-30
	KL         string `json:"kl,omitempty"`
	Kubernetes string `json:"kubernetes,omitempty"`
	Commit     string `json:"commit,omitempty"` // of the tree that the benchmarks are in, with -dirty if it had changes
	Binary     string `json:"binary,omitempty"` // SHA-256 of the kl that was measured
	Machine    string `json:"machine,omitempty"`
	// Drivers has what nodes were made with, such as "Docker 20.10" for docker; it may be empty.
	Drivers map[string]string `json:"drivers,omitempty"`
	Note    string            `json:"note,omitempty"` // what README says of the run, if not all of the above is known
}

// Read reads a file. What is wrong with one is said in one line that names it.
func Read(path string) (*File, error) {
	var f File
	if err := statefile.ReadJSON(path, &f); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("there is no file %s: `make bench JSON=%s` makes one", path, path)
		}
		return nil, fmt.Errorf("%w: it is not a file that `make bench JSON=FILE` has made", err)
	}
	if f.Format != format {
		return nil, fmt.Errorf("%s has format %d, and this tree reads format %d: measure again with `make bench JSON=FILE`", path, f.Format, format)
	}
	if err := f.check(); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", path, err)
	}
	return &f, nil
}

func (f *File) check() error {
	runs, keys := map[string]bool{}, map[string]bool{}
	for _, r := range f.Runs {
		if r.ID == "" || runs[r.ID] {
			return fmt.Errorf("%q is no ID of a run, or that of two", r.ID)
		}
		runs[r.ID] = true
	}
	for _, r := range f.Rows {
		if err := r.check(); err != nil {
			return err
		}
		if keys[r.Key] {
			return fmt.Errorf("row %s is there twice", r.Key)
		}
		keys[r.Key] = true
		if !runs[r.Run] {
			return fmt.Errorf("row %s is of the run %q, which is not there", r.Key, r.Run)
		}
	}
	return nil
}

// Write writes the file at once: whoever reads it, also after a crash, sees the old content or the new one.
func (f *File) Write(path string) error {
	f.Format = format
	if err := f.check(); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	// A line is a row: that is how a person reads it, and how git compares it.
	var b bytes.Buffer
	fmt.Fprintf(&b, "{\n\"format\": %d,\n\"runs\": [", f.Format)
	if err := lines(&b, f.Runs); err != nil {
		return err
	}
	b.WriteString("],\n\"rows\": [")
	if err := lines(&b, f.Rows); err != nil {
		return err
	}
	b.WriteString("]\n}\n")
	return statefile.Write(path, b.Bytes(), 0o644)
}

func lines[T any](b *bytes.Buffer, all []T) error {
	for i, v := range all {
		b.WriteString(map[bool]string{true: "\n  ", false: ",\n  "}[i == 0])
		e := json.NewEncoder(b)
		e.SetEscapeHTML(false)
		if err := e.Encode(v); err != nil {
			return err
		}
		b.Truncate(b.Len() - 1) // the encoder's newline
	}
	b.WriteString("\n")
	return nil
}

// row finds a row by its key.
func (f *File) row(key string) (Row, bool) {
	i := slices.IndexFunc(f.Rows, func(r Row) bool { return r.Key == key })
	if i < 0 {
		return Row{}, false
	}
	return f.Rows[i], true
}

// Add adds rows to the file at path, which is made if it is missing: samples of a key that it has are appended to those. A file
// holds what one kl did on one machine, so the error may be that it has another's. The driver that run names is added to the
// others.
func Add(path string, run Run, rows ...Row) error {
	f := &File{Runs: []Run{run}}
	if old, err := Read(path); err == nil {
		f = old
	} else if !missing(path) {
		return err
	}
	if len(f.Runs) != 1 {
		return fmt.Errorf("%s holds figures of %d runs: choose another file", path, len(f.Runs))
	}
	have := &f.Runs[0]
	switch {
	case have.Machine != run.Machine:
		return fmt.Errorf("%s holds figures of another machine, %s: choose another file", path, have.Machine)
	case have.Binary != run.Binary:
		return fmt.Errorf("%s holds figures of another build of kl, %s of commit %s: choose another file", path, have.KL, have.Commit)
	}
	for name, engine := range run.Drivers {
		if have.Drivers == nil {
			have.Drivers = map[string]string{}
		}
		have.Drivers[name] = engine
	}
	for _, r := range rows {
		r.Run = have.ID
		i := slices.IndexFunc(f.Rows, func(old Row) bool { return old.Key == r.Key })
		if i < 0 {
			f.Rows = append(f.Rows, r)
			continue
		}
		old := &f.Rows[i]
		if (len(old.Ratios) > 0) != (len(r.Ratios) > 0) {
			return fmt.Errorf("add to %s: %s has ratios to U in one measurement alone", path, r.Key)
		}
		old.Samples, old.Ratios = append(old.Samples, r.Samples...), append(old.Ratios, r.Ratios...)
	}
	return f.Write(path)
}

func missing(path string) bool {
	_, err := statefile.Read(path)
	return errors.Is(err, fs.ErrNotExist)
}

// Adopt takes over the rows of another file, in place of those that have the same keys, and forgets runs without rows.
func (f *File) Adopt(from *File) error {
	for _, r := range from.Runs {
		i := slices.IndexFunc(f.Runs, func(old Run) bool { return old.ID == r.ID })
		switch {
		case i < 0:
			f.Runs = append(f.Runs, r)
		case f.Runs[i].Binary != r.Binary || f.Runs[i].Machine != r.Machine:
			return fmt.Errorf("two runs have the ID %s: give one of them another", r.ID)
		default:
			f.Runs[i] = r
		}
	}
	for _, r := range from.Rows {
		if i := slices.IndexFunc(f.Rows, func(old Row) bool { return old.Key == r.Key }); i >= 0 {
			f.Rows[i] = r
		} else {
			f.Rows = append(f.Rows, r)
		}
	}
	f.Runs = slices.DeleteFunc(f.Runs, func(run Run) bool {
		return !slices.ContainsFunc(f.Rows, func(r Row) bool { return r.Run == run.ID })
	})
	return nil
}
