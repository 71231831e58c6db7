package cmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/bundle"
	"github.com/klkube/kl/cluster/images"
	"github.com/klkube/kl/cluster/registry"
	"github.com/klkube/kl/cluster/statefile"
)

// maxManifest is how many bytes a file with manifests may have.
const maxManifest = 64 << 20

// manifestRefs returns the images that manifests need.
func (e *env) manifestRefs(args []string) ([]bundle.Ref, error) {
	var refs []bundle.Ref
	for _, arg := range args {
		files, err := manifestFiles(arg)
		if err != nil {
			return nil, &cluster.Error{Op: "read " + arg, Err: statefile.Cause(err)}
		}
		for _, file := range files {
			data, err := e.readInput(file, maxManifest)
			if err == nil && len(data) > maxManifest {
				err = fmt.Errorf("it is larger than %d MB", maxManifest>>20)
			}
			if err != nil {
				return nil, &cluster.Error{Op: "read " + streamName(file), Err: statefile.Cause(err)}
			}
			found, err := bundle.Refs(streamName(file), data)
			if err != nil {
				return nil, &cluster.Error{Op: "find images", Err: err}
			}
			refs = append(refs, found...)
		}
	}
	return refs, nil
}

// manifestFiles returns a file, or the manifests of a directory, as kubectl finds them.
func manifestFiles(arg string) ([]string, error) {
	info, err := os.Stat(arg)
	if arg == "-" || isDescriptor(arg) || err == nil && !info.IsDir() {
		return []string{arg}, nil
	}
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(arg)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, entry := range entries {
		if slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(entry.Name())) && !entry.IsDir() {
			files = append(files, filepath.Join(arg, entry.Name()))
		}
	}
	if files == nil {
		return nil, errors.New("the directory has no file that ends in .yaml, .yml or .json")
	}
	return files, nil
}

// gatherer collects the images of a bundle. It closes what it opens with close.
type gatherer struct {
	*env
	archives []gathered
	engines  []engine
	opened   bool // engines is complete
	items    []bundle.Item
	network  bool            // registries are asked, too
	registry *registry.Store // nil until the first is
	closers  []func() error
}

// gathered is an archive.
type gathered struct {
	title  string
	source images.Source
	list   []images.Image
}

// engine is a driver with images.
type engine struct {
	name   cluster.DriverName
	images cluster.ImageSource
}

func (g *gatherer) close() error {
	var errs []error
	for _, c := range slices.Backward(g.closers) {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

// gather finds what the arguments of a command name and what manifests need.
func (g *gatherer) gather(ctx context.Context, args []string, refs []bundle.Ref) error {
	archives, names, cleanup, err := collectArchives(g.env, args)
	g.closers = append(g.closers, func() error { cleanup(); return nil })
	if err != nil {
		return err
	}
	for _, a := range archives {
		if err := g.open(ctx, a); err != nil {
			return err
		}
	}
	var wanted []bundle.Ref
	for _, name := range names {
		full, err := images.FullName(name)
		if err != nil {
			return &cluster.Error{Op: "find " + name, Err: err, Hint: "there is no such file, and it is not the name of an image"}
		}
		wanted = append(wanted, bundle.Ref{Name: full, Certain: true})
	}
	for _, ref := range append(wanted, refs...) {
		if err := g.add(ctx, ref); err != nil {
			return err
		}
	}
	return nil
}

// open adds all images of an archive.
func (g *gatherer) open(ctx context.Context, a images.Archive) error {
	if _, err := a.Images(); err != nil { // checks all of it
		return images.BadArchive(a.Title(), err)
	}
	source, err := a.Open()
	if err != nil {
		return images.BadArchive(a.Title(), err)
	}
	g.closers = append(g.closers, source.Close)
	list, err := source.Images(ctx)
	if errors.Is(err, images.ErrParts) { // such as one for another platform: the archive is as it should be
		return &cluster.Error{Op: "read " + a.Title(), Err: err}
	}
	if err != nil {
		return images.BadArchive(a.Title(), err)
	}
	g.archives = append(g.archives, gathered{a.Title(), source, list})
	for _, i := range list {
		g.items = append(g.items, bundle.Item{Image: i, From: source})
	}
	return nil
}

// add adds an image wherever it is.
func (g *gatherer) add(ctx context.Context, ref bundle.Ref) error {
	if slices.ContainsFunc(g.items, func(i bundle.Item) bool { return slices.Contains(i.Names, ref.Name) }) {
		return nil
	}
	var looked []string
	for _, find := range []func(context.Context, bundle.Ref) (*bundle.Item, []string, error){g.inArchives, g.inEngines, g.inRegistries} {
		item, places, err := find(ctx, ref)
		if err != nil {
			return &cluster.Error{Op: "find " + title(ref), Err: err}
		}
		if item != nil {
			item.Names = []string{ref.Name}
			g.items = append(g.items, *item)
			return nil
		}
		looked = append(looked, places...)
	}
	if !ref.Certain {
		fmt.Fprintf(g.Err, "kl: %s is left out, since no image has that name: it is not in %s\n", printable(title(ref)), strings.Join(looked, ", nor in "))
		return nil
	}
	return &cluster.Error{
		Op: "find " + title(ref), Err: errors.New("it is not in " + strings.Join(looked, ", nor in ")),
		Hint: "build or pull it, or name an archive that has it",
	}
}

// title is what messages call an image, with who asked for it.
func title(r bundle.Ref) string {
	name := images.Short(r.Name)
	if r.Where != "" {
		name += " (" + r.Where + ")"
	}
	return name
}

// inArchives finds an image that an archive has under another name: one by digest.
func (g *gatherer) inArchives(_ context.Context, ref bundle.Ref) (*bundle.Item, []string, error) {
	var looked []string
	for _, a := range g.archives {
		for _, i := range a.list {
			if cut, ok := byDigest(i, ref.Name); ok {
				return &bundle.Item{Image: cut, From: a.source}, nil, nil
			}
		}
		looked = append(looked, a.title)
	}
	return nil, looked, nil
}

// byDigest returns the part of an image that a name by digest asks for, false if it has none of that digest.
func byDigest(i images.Image, name string) (images.Image, bool) {
	_, d, ok := strings.Cut(name, "@")
	if !ok {
		return i, false
	}
	for n, blob := range i.Blobs[:len(i.Blobs)-1] {
		if digest.FromBytes(blob.Data).String() == d {
			i.Blobs = i.Blobs[n:]
			return i, true
		}
	}
	return i, false
}

// inEngines finds an image in the container engines of the machine.
func (g *gatherer) inEngines(ctx context.Context, ref bundle.Ref) (*bundle.Item, []string, error) {
	g.openEngines(ctx)
	var looked []string
	for _, engine := range g.engines {
		source, err := g.ofEngine(ctx, engine.images, ref.Name)
		if errors.Is(err, cluster.ErrNoImage) {
			looked = append(looked, string(engine.name))
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		list, err := source.Images(ctx)
		if err != nil {
			return nil, nil, fmt.Errorf("read it from %s: %w", engine.name, err)
		}
		if len(list) != 1 {
			return nil, nil, fmt.Errorf("%s has %d images of that name", engine.name, len(list))
		}
		image, _ := byDigest(list[0], ref.Name) // an engine without manifests vouches for the digest
		return &bundle.Item{Image: image, From: source}, nil, nil
	}
	if len(g.engines) == 0 {
		looked = append(looked, "a container engine, of which there is none")
	}
	return nil, looked, nil
}

// inRegistries finds an image in kl's registry or the registry of its name.
func (g *gatherer) inRegistries(ctx context.Context, ref bundle.Ref) (*bundle.Item, []string, error) {
	if !g.network {
		return nil, nil, nil
	}
	if g.registry == nil {
		g.registry = registry.Open(g.Home)
		g.registry.Upstream, g.registry.Logger = g.upstream(), g.Logger
		g.closers = append(g.closers, func() error { g.registry.Close(); return nil })
	}
	source, _, err := g.registry.Find(ctx, ref.Name)
	if err != nil {
		if !errors.Is(err, cluster.ErrNoImage) {
			return nil, nil, err
		}
		if source, err = g.registry.Pull(ctx, ref.Name, nil); err != nil {
			reason := err
			if inner := errors.Unwrap(err); inner != nil { // without the name, which the message has
				reason = inner
			}
			return nil, []string{"its registry (" + reason.Error() + ")"}, context.Cause(ctx)
		}
	}
	g.closers = append(g.closers, source.Close)
	list, err := source.Images(ctx)
	if err != nil || len(list) != 1 {
		return nil, nil, fmt.Errorf("the registry has %d images of that name (%w)", len(list), err)
	}
	image, _ := byDigest(list[0], ref.Name)
	return &bundle.Item{Image: image, From: source}, nil, nil
}

// openEngines opens the drivers that have images, once.
func (g *gatherer) openEngines(ctx context.Context) {
	if g.opened {
		return
	}
	g.opened = true
	for _, f := range g.Drivers {
		d, err := f.Open(ctx, g.Logger)
		if err != nil {
			g.Logger.Debug("skip driver", "driver", f.Name, "err", err) // it may not be installed
			continue
		}
		g.closers = append(g.closers, d.Close)
		if source, ok := d.(cluster.ImageSource); ok {
			g.engines = append(g.engines, engine{f.Name, source})
		}
	}
}

// ofEngine opens an image of an engine: out of its directory, or saved by the engine.
func (g *gatherer) ofEngine(ctx context.Context, from cluster.ImageSource, name string) (images.Source, error) {
	ids, dir, err := from.ImageIDs(ctx, []string{name})
	if err != nil {
		return nil, err
	}
	if dir != "" {
		source, err := images.OpenEngine(dir, []images.EngineImage{{Name: name, ID: ids[name]}})
		if err == nil {
			g.closers = append(g.closers, source.Close)
			return source, nil
		}
		if !errors.Is(err, images.ErrNoStore) {
			return nil, err
		}
		g.Logger.Debug("an image is not read out of the engine's directory", "image", name, "reason", err)
	}
	saved, err := from.SaveImages(ctx, []string{name})
	if err != nil {
		return nil, err
	}
	var temps []string
	archive, err := copyTemp(saved, name, &temps)
	g.closers = append(g.closers, func() error { g.removeTemps(temps); return nil })
	if err = errors.Join(err, saved.Close()); err != nil {
		return nil, brokenOff(images.Short(name), err)
	}
	source, err := archive.Open()
	if err != nil {
		return nil, images.BadArchive(name, err)
	}
	g.closers = append(g.closers, source.Close)
	return source, nil
}
