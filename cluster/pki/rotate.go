package pki

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

// A rotation makes a whole PKI beside the present one (Prepare), which takes its place while no control plane runs (Switch).
// Whatever ends kl, there is a whole PKI: the old one, or the new one. Old authorities stay trusted until they are retired, but their
// keys, and the old key of tokens, are gone with Switch, so that nothing more is signed with them.
const (
	nextDir = "pki.next" // complete, and about to take the place of the present one
	oldDir  = "pki.old"  // it has been replaced, and is about to be removed
)

// unfinished begins the names of directories in which a PKI is made.
const unfinished = ".pki-"

// removeUnfinished removes what was left of a PKI when whoever made it was killed: it has keys.
func removeUnfinished(l cluster.Layout) error {
	entries, err := os.ReadDir(l.Dir())
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), unfinished) {
			err = errors.Join(err, os.RemoveAll(beside(l, e.Name())))
		}
	}
	return err
}

func pkiDir(l cluster.Layout) string           { return filepath.Dir(l.PKI("x")) }
func beside(l cluster.Layout, d string) string { return filepath.Join(l.Dir(), d) }

// Prepare makes the PKI that a rotation leads to. The error of RotateAuthorities is permanent while older authorities are trusted.
func Prepare(l cluster.Layout, network cluster.Networking, kind cluster.RotationKind, now time.Time) error {
	fail := func(err error) error { return &cluster.Error{Op: "make certificates", Err: err} }
	if err := Ensure(l, network, now); err != nil { // which names what is damaged
		return err
	}
	have, err := readSet(l)
	if err != nil {
		return err
	}
	rotation, err := cluster.ReadRotation(l)
	if err != nil {
		return err
	}
	leaves, err := leavesOf(network)
	if err != nil {
		return fail(err)
	}
	if err := removeUnfinished(l); err != nil {
		return fail(err)
	}
	temp, err := statefile.MkdirTemp(l.Dir(), unfinished)
	if err != nil {
		return fail(err)
	}
	defer os.RemoveAll(temp) // gone after the rename
	rotation.Kind, rotation.Unfinished = kind, true
	switch kind {
	case cluster.RotateLeaves:
		err = have.write(temp, leaves, now)
	case cluster.RotateAuthorities:
		if !rotation.Replaced.IsZero() {
			return fail(errors.New("there are older ones that are still trusted"))
		}
		rotation.Replaced, rotation.Published = now, time.Time{} // Switch corrects it
		var next set
		if next, err = have.succeed(now); err == nil {
			err = next.write(temp, leaves, now)
		}
	case cluster.RetireAuthorities:
		rotation.Replaced, rotation.Published = time.Time{}, time.Time{}
		err = have.retire(l, temp, leaves)
	}
	if err == nil {
		err = writeRotation(temp, rotation)
	}
	if err == nil {
		err = move(temp, beside(l, nextDir))
	}
	if err != nil {
		return fail(err)
	}
	return nil
}

// succeed makes the authorities and the key that come after those of s.
func (s set) succeed(now time.Time) (set, error) {
	next := set{authorities: map[string]authority{}}
	for name, old := range s.authorities {
		a, err := successor(old.identity, now)
		if err != nil {
			return next, fmt.Errorf("make %s: %w", name, err)
		}
		next.authorities[name] = a
	}
	var err error
	next.keys, err = newTokenKeys(&s.keys.key.PublicKey)
	return next, err
}

// retire writes a PKI of the same certificates and keys, and nothing old.
func (s set) retire(l cluster.Layout, dir string, leaves []leaf) error {
	s.authorities = maps.Clone(s.authorities)
	for name, a := range s.authorities {
		s.authorities[name] = authority{identity: a.identity}
	}
	s.keys.old = nil
	if err := s.write(dir, nil, time.Time{}); err != nil {
		return err
	}
	for _, leaf := range leaves {
		id, err := readIdentity(l, leaf.name)
		if err != nil {
			return err
		}
		id.chain = nil
		if err := writeIdentity(dir, leaf.name, id); err != nil {
			return err
		}
	}
	return nil
}

func writeRotation(dir string, r cluster.Rotation) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return statefile.Write(filepath.Join(dir, "rotation.json"), append(data, '\n'), 0o600)
}

// Pending returns the rotation that has been prepared and waits for Switch; its kind is empty if there is none.
func Pending(l cluster.Layout) (cluster.Rotation, error) {
	var r cluster.Rotation
	file := filepath.Join(beside(l, nextDir), "rotation.json")
	err := statefile.ReadJSON(file, &r)
	if errors.Is(err, fs.ErrNotExist) && missing(beside(l, nextDir)) {
		return r, nil
	}
	if err != nil {
		return r, cluster.Damaged(l, file, err)
	}
	return r, nil
}

// Switch puts what Prepare has made in the place of the present PKI, and finishes a Switch that was interrupted. It does nothing if
// there is nothing to do. No control plane runs: it would read some files of one PKI and some of the other.
func Switch(l cluster.Layout, now time.Time) error {
	if err := Recover(l); err != nil {
		return err
	}
	r, err := Pending(l)
	if err != nil || r.Kind == "" {
		return err
	}
	if r.Kind != cluster.RetireAuthorities { // all of these are as old as their keys are in use
		r.Switched = now
	}
	if r.Kind == cluster.RotateAuthorities {
		r.Replaced = now
	}
	err = writeRotation(beside(l, nextDir), r)
	if err == nil {
		err = move(pkiDir(l), beside(l, oldDir))
	}
	if err != nil {
		return &cluster.Error{Op: "replace certificates", Err: err}
	}
	return Recover(l)
}

// Recover finishes a Switch that was interrupted: afterwards the PKI is where it belongs.
func Recover(l cluster.Layout) error {
	var err error
	switch {
	case missing(beside(l, oldDir)):
		return nil
	case missing(pkiDir(l)):
		err = move(beside(l, nextDir), pkiDir(l))
	}
	if err == nil {
		err = os.RemoveAll(beside(l, oldDir))
	}
	if err != nil {
		return &cluster.Error{Op: "replace certificates", Err: err}
	}
	return nil
}

// Publish notes that pods which start from now on are told of new authorities.
func Publish(l cluster.Layout, now time.Time) error {
	return note(l, func(r *cluster.Rotation) { r.Published = now })
}

// Finish notes that the last rotation has reached everything.
func Finish(l cluster.Layout) error {
	return note(l, func(r *cluster.Rotation) { r.Unfinished = false })
}

func note(l cluster.Layout, edit func(*cluster.Rotation)) error {
	r, err := cluster.ReadRotation(l)
	if err != nil {
		return err
	}
	edit(&r)
	if err := writeRotation(pkiDir(l), r); err != nil {
		return &cluster.Error{Op: "save " + l.RotationFile(), Err: err}
	}
	return nil
}
