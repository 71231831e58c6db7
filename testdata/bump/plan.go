package main

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/semver"
)

// move is a module that changes from one version to another; no version stands for none.
type move struct{ module, from, to string }

// plan returns which modules of a go.mod have newer releases in their lines, in the order of the file.
func (t tree) plan(ctx context.Context, data []byte) ([]move, error) {
	f, err := modfile.Parse("go.mod", data, nil)
	if err != nil {
		return nil, err
	}
	p := planner{tree: t, file: f, staging: map[string]bool{}}
	if err := p.kubernetes(ctx); err != nil {
		return nil, err
	}
	tools := map[string]bool{} // modules of programs that are built from them: go.mod calls them indirect
	for _, tool := range f.Tool {
		tools[longestModule(f, tool.Path)] = true
	}
	for _, r := range f.Require {
		path, version := r.Mod.Path, r.Mod.Version
		if p.staging[path] || r.Indirect && !tools[path] || !released(version) || path == kubernetes {
			continue
		}
		if err := p.consider(ctx, path, version); err != nil {
			return nil, err
		}
	}
	return p.moves, nil
}

// longestModule returns the module of a package: the longest of go.mod's that is a prefix.
func longestModule(f *modfile.File, pkg string) string {
	best := ""
	for _, r := range f.Require {
		if strings.HasPrefix(pkg+"/", r.Mod.Path+"/") && len(r.Mod.Path) > len(best) {
			best = r.Mod.Path
		}
	}
	return best
}

// planner gathers the moves of one go.mod.
type planner struct {
	tree
	file     *modfile.File
	staging  map[string]bool   // modules that are released with Kubernetes
	minor    string            // of Kubernetes, once it has moved: v1.37
	required map[string]string // what that Kubernetes requires
	moves    []move
}

// kubernetes plans the move of Kubernetes and of the modules that are released with it: those that its go.mod replaces.
func (p *planner) kubernetes(ctx context.Context) error {
	current := ""
	for _, r := range p.file.Require {
		if r.Mod.Path == kubernetes {
			current = r.Mod.Version
		}
	}
	if current == "" {
		return fmt.Errorf("go.mod does not require %s", kubernetes)
	}
	versions, err := p.versions(ctx, kubernetes)
	if err != nil {
		return err
	}
	to := newest(current, minors, "", versions)
	p.minor = semver.MajorMinor(to)
	data, err := p.requires(ctx, kubernetes, to)
	if err != nil {
		return err
	}
	theirs, err := modfile.Parse(kubernetes+"@"+to, data, nil)
	if err != nil {
		return err
	}
	p.required = map[string]string{}
	for _, r := range theirs.Require {
		p.required[r.Mod.Path] = r.Mod.Version
	}
	for _, r := range theirs.Replace {
		p.staging[r.Old.Path] = true
	}
	if to == current {
		return nil
	}
	p.moves = append(p.moves, move{kubernetes, current, to})
	replaced := map[string]bool{}
	for _, r := range p.file.Replace {
		if replaced[r.Old.Path] = true; p.staging[r.Old.Path] {
			p.moves = append(p.moves, move{r.Old.Path, r.New.Version, stagingVersion(to)})
		}
	}
	for _, r := range p.file.Require {
		if p.staging[r.Mod.Path] && !replaced[r.Mod.Path] {
			p.moves = append(p.moves, move{r.Mod.Path, r.Mod.Version, stagingVersion(to)})
		}
	}
	return nil
}

// consider plans the move of one module.
func (p *planner) consider(ctx context.Context, path, current string) error {
	for _, r := range p.file.Replace {
		if r.Old.Path == path {
			return nil // held on purpose
		}
	}
	l := lines()[path]
	minor := p.minor
	switch l {
	case named:
		if p.required[path] == "" {
			l = patches
		}
		minor = semver.MajorMinor(p.required[path])
	case aligned:
		minor = semver.Major(current) + strings.TrimPrefix(p.minor, "v1")
	}
	versions, err := p.versions(ctx, path)
	if err != nil {
		return err
	}
	if to := newest(current, l, minor, versions); to != current {
		p.moves = append(p.moves, move{path, current, to})
	}
	return nil
}

// apply returns a go.mod with the moves made: in its requirements, and in replacements by another version of the same module.
func apply(data []byte, moves []move) ([]byte, error) {
	f, err := modfile.Parse("go.mod", data, nil)
	if err != nil {
		return nil, err
	}
	for _, m := range moves {
		replaced := false
		for _, r := range f.Replace {
			if r.Old.Path == m.module {
				replaced = true
			}
		}
		if replaced {
			err = f.AddReplace(m.module, "", m.module, m.to)
		}
		for _, r := range f.Require {
			if r.Mod.Path == m.module && released(r.Mod.Version) && err == nil {
				err = f.AddRequire(m.module, m.to)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	f.Cleanup()
	return f.Format()
}

// difference returns what changed between two go.mods, in the order of the second: versions that are used, replacements
// counted in, and last the modules that are gone.
func difference(before, after []byte) ([]move, error) {
	earlier, old, err := used(before)
	if err != nil {
		return nil, err
	}
	order, now, err := used(after)
	if err != nil {
		return nil, err
	}
	var moves []move
	for _, path := range order {
		if old[path] != now[path] {
			moves = append(moves, move{path, old[path], now[path]})
		}
	}
	for _, path := range earlier {
		if now[path] == "" {
			moves = append(moves, move{path, old[path], ""})
		}
	}
	return moves, nil
}

// used returns the modules that a go.mod requires, in its order, and the version of each.
func used(data []byte) (order []string, versions map[string]string, err error) {
	f, err := modfile.Parse("go.mod", data, nil)
	if err != nil {
		return nil, nil, err
	}
	versions = map[string]string{}
	for _, r := range f.Require {
		order = append(order, r.Mod.Path)
		versions[r.Mod.Path] = r.Mod.Version
	}
	for _, r := range f.Replace {
		if versions[r.Old.Path] != "" {
			versions[r.Old.Path] = r.New.Version
		}
	}
	return order, versions, nil
}
