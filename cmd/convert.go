package cmd

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/convert"
	"github.com/klkube/kl/cluster/statefile"
)

// convertOptions are the flags of kl convert.
type convertOptions struct {
	files []string
	write bool   // into the files themselves
	to    string // directory for the results; empty for standard output
}

func newConvertCmd(e *env) *cobra.Command {
	var o convertOptions
	cmd := &cobra.Command{
		Use: "convert -f FILE|DIR", Short: "Turn manifests with removed API versions into today's",
		Long: "Turn manifests from the time of Kubernetes 1.7, and with any API version that was removed since, into what an API server accepts\n" +
			"today. Comments and order stay. Standard error has a line for each change, and for what cannot be converted, which then says what\n" +
			"to do; the exit status is 1 if there is any. Such an object becomes a comment in YAML, and stays as it is in JSON.",
		Example: "  kl convert -f old.yaml | kl kubectl apply -f -\n" +
			"  kl convert -f manifests/ --to today/\n" +
			"  kl convert -f manifests/ --write",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case len(o.files) == 0:
				return misuse(cmd, errors.New("say what to convert: -f FILE, -f DIR, or -f - for standard input"))
			case slices.Contains(o.files, ""):
				return misuse(cmd, errors.New("-f names no file"))
			}
			if err := exclusive(cmd, "write", "to"); err != nil {
				return err
			}
			return e.convert(o)
		},
	}
	cmd.Flags().StringArrayVarP(&o.files, "file", "f", nil, "`file`, or directory with *.yaml, *.yml and *.json at any depth; - is standard input; may be repeated")
	cmd.Flags().BoolVar(&o.write, "write", false, "change the files themselves")
	cmd.Flags().StringVar(&o.to, "to", "", "`directory` for the converted files, which is made if it is missing; nothing in it is replaced")
	return cmd
}

// source is one file to convert.
type source struct {
	path   string // "-" is standard input
	within string // its path below the directory that was given, or its name
	found  bool   // in a directory: it may be something else than a manifest
	result convert.Result
}

// convert converts all files, and then writes the results.
func (e *env) convert(o convertOptions) error {
	sources, err := findManifests(o)
	if err != nil {
		return usageError{err}
	}
	var done []source
	failed, left, objects, changed := false, 0, 0, 0
	for _, s := range sources {
		err := e.convertFile(&s)
		switch {
		case s.found && errors.Is(err, convert.ErrNoManifest):
			fmt.Fprintf(e.Err, "%s: skipped: %s\n", printable(s.path), convert.ErrNoManifest)
			continue
		case err != nil:
			fmt.Fprintf(e.Err, "kl: convert %s\n", printable(err.Error()))
			failed = true
			continue
		}
		for _, n := range s.result.Notes {
			fmt.Fprintf(e.Err, "%s:%d: %s: %s\n", printable(streamName(s.path)), n.Line, printable(n.Object), printable(n.Text))
		}
		objects, changed, left = objects+s.result.Objects, changed+s.result.Changed, left+s.result.Left
		done = append(done, s)
	}
	if err := e.writeConverted(o, done, len(sources) > 1); err != nil {
		return err
	}
	if len(done) > 0 {
		fmt.Fprintf(e.Err, "%s in %s: %d converted, %d need a person\n", plural(objects, "object"), plural(len(done), "file"), changed, left)
	}
	if failed || left > 0 {
		return exitError(exitFailed)
	}
	return nil
}

// convertFile reads and converts one file. The error names it.
func (e *env) convertFile(s *source) error {
	data, err := e.readInput(s.path, convert.MaxSize)
	if err != nil {
		return err
	}
	s.result, err = convert.Convert(data)
	var wrong *convert.Error
	switch {
	case errors.As(err, &wrong) && wrong.Line > 0:
		return fmt.Errorf("%s:%d: %s", streamName(s.path), wrong.Line, wrong.Text)
	case err != nil:
		return fmt.Errorf("%s: %w", streamName(s.path), err)
	}
	return nil
}

// findManifests lists the files to convert: in directories, those whose names end as manifests do, at any depth but below hidden ones.
func findManifests(o convertOptions) ([]source, error) {
	var all []source
	for _, arg := range o.files {
		if arg == "-" || isDescriptor(arg) {
			if o.write || o.to != "" {
				return nil, fmt.Errorf("convert %s: it has no name to write to: leave out --write and --to", streamName(arg))
			}
			all = append(all, source{path: arg})
			continue
		}
		info, err := os.Stat(arg)
		if err != nil {
			return nil, fmt.Errorf("convert %s: %w", arg, statefile.Cause(err))
		}
		if !info.IsDir() {
			all = append(all, source{path: arg, within: filepath.Base(arg)})
			continue
		}
		before := len(all)
		err = filepath.WalkDir(arg, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && path != arg && strings.HasPrefix(d.Name(), "."):
				return fs.SkipDir
			case !d.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)):
				within, err := filepath.Rel(arg, path)
				all = append(all, source{path: path, within: within, found: true})
				return err
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("convert %s: %w", arg, err)
		}
		if len(all) == before {
			return nil, fmt.Errorf("convert %s: no file in it ends in .yaml, .yml or .json", arg)
		}
	}
	return all, nil
}

// writeConverted prints the results or puts them where they belong.
func (e *env) writeConverted(o convertOptions, done []source, several bool) error {
	if o.to != "" {
		return copyConverted(o.to, done)
	}
	for i, s := range done {
		if o.write {
			old, err := e.readInput(s.path, convert.MaxSize)
			if err == nil && !bytes.Equal(old, s.result.Data) {
				err = statefile.Write(s.path, s.result.Data, 0o644)
			}
			if err != nil {
				return err
			}
			continue
		}
		head := ""
		if several {
			head = "# Source: " + printable(s.path) + "\n"
		}
		if i > 0 {
			head = "---\n" + head
		}
		text := s.result.Data
		if !bytes.HasSuffix(text, []byte("\n")) {
			text = append(text, '\n')
		}
		if _, err := fmt.Fprintf(e.Out, "%s%s", head, text); err != nil {
			return err
		}
	}
	return nil
}

// copyConverted writes the results into a directory, unless that would replace something else.
func copyConverted(dir string, done []source) error {
	targets := map[string]string{}
	for _, s := range done {
		target := filepath.Join(dir, s.within)
		if other := targets[target]; other != "" {
			return &cluster.Error{Op: "write " + target, Err: fmt.Errorf("both %s and %s would go there", other, s.path), Hint: "convert them one by one"}
		}
		targets[target] = s.path
		old, err := statefile.Read(target)
		if err == nil && !bytes.Equal(old, s.result.Data) || err != nil && !errors.Is(err, fs.ErrNotExist) {
			return &cluster.Error{Op: "write " + target, Err: errors.New("there is something else already"), Hint: "name another directory, or remove it"}
		}
	}
	for _, s := range done {
		target := filepath.Join(dir, s.within)
		if err := statefile.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		if err := statefile.Write(target, s.result.Data, 0o644); err != nil {
			return err
		}
	}
	return nil
}
