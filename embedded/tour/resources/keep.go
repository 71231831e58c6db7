package resources

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"

	"github.com/klkube/kl/embedded/tour"
)

// Keep notes each of its starts on a volume, and shows all of them.
func Keep() tour.Program {
	k := &keeper{}
	return tour.Program{
		Name: "keep", Args: "[FILE]", Short: "notes each start in a file or on a block device, and shows all starts", Run: k.run,
		Long: `It appends a line (name, time, count) that is on the disk before anything else happens, prints all lines, and serves them over HTTP.
What it finds is never overwritten: a device that holds anything but such lines and zeros is refused.`,
		Flags: func(fs *pflag.FlagSet) {
			fs.StringVar(&k.device, "device", "", "block device to write to, instead of FILE")
			fs.StringVar(&k.name, "name", "", "who starts; the host's name, which is the pod's, if empty")
			fs.StringVar(&k.listen, "listen", ":8080", "address to serve the lines on")
		},
	}
}

type keeper struct{ device, name, listen string }

func (k *keeper) run(ctx context.Context, args []string, log *tour.Log) error {
	if (len(args) == 1) == (k.device != "") {
		return tour.Usagef("want either FILE or --device")
	}
	if k.name == "" {
		name, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("read the host's name: %w", err)
		}
		k.name = name
	}
	l, err := tour.Listen(ctx, k.listen) // first: a start that fails is not noted
	if err != nil {
		return err
	}
	defer l.Close()
	var all []byte
	if k.device != "" {
		all, err = appendRecord(k.device, k.line)
	} else {
		all, err = appendLine(args[0], k.line)
	}
	if err != nil {
		return err
	}
	for line := range bytes.Lines(all) {
		log.Printf("%s", bytes.TrimSuffix(line, []byte("\n")))
	}
	log.Printf("%s serves %d lines on %s", k.name, bytes.Count(all, []byte("\n")), l.Addr())
	return tour.ServeHTTP(ctx, l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(all) }), log)
}

// line is what a start is noted as, the count-th one.
func (k *keeper) line(count int) string {
	return fmt.Sprintf("%s %s %d\n", k.name, time.Now().UTC().Format(time.RFC3339), count)
}

// appendLine appends a line to a file, which is made if it does not exist, and returns all its lines once they are on the disk.
func appendLine(path string, line func(count int) string) ([]byte, error) {
	before, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	added := line(bytes.Count(before, []byte("\n")) + 1)
	if len(before) > 0 && before[len(before)-1] != '\n' { // a start that was cut short
		added = "\n" + line(bytes.Count(before, []byte("\n"))+2)
	}
	if _, err := f.WriteString(added); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	return append(before, added...), syncDir(filepath.Dir(path))
}

// syncDir makes sure that a file's name is on the disk, too.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

const (
	// recordSize is the size of a record on a block device, in bytes: a multiple of every usual block size.
	recordSize = 4096
	// recordMark begins each record. Its line follows, and zeros.
	recordMark = "kl tour keep\n"
)

// appendRecord writes a line as the next record of a block device, and returns the lines of all records once they are on the disk.
func appendRecord(path string, line func(count int) string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []byte
	record := make([]byte, recordSize)
	for n := 0; ; n++ {
		offset := int64(n) * recordSize
		switch _, err := f.ReadAt(record, offset); {
		case errors.Is(err, io.EOF):
			return nil, fmt.Errorf("%s has no space for another record after %d", path, n)
		case err != nil:
			return nil, err
		}
		content, ours := bytes.CutPrefix(record, []byte(recordMark))
		content = bytes.TrimRight(content, "\x00")
		switch {
		case ours && bytes.HasSuffix(content, []byte("\n")):
			all = append(all, content...)
			continue
		case len(content) > 0 || ours:
			return nil, fmt.Errorf("%s holds something else than the lines of keep at byte %d: nothing was written", path, offset)
		}
		added := line(n + 1)
		if len(recordMark)+len(added) > recordSize {
			return nil, tour.Usagef("--name has %d bytes: want at most %d", len(added), recordSize-len(recordMark))
		}
		clear(record)
		copy(record, recordMark+added)
		if _, err := f.WriteAt(record, offset); err != nil {
			return nil, err
		}
		return append(all, added...), f.Sync()
	}
}
