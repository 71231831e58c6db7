// Package ephemeral runs a command beside a cluster that lives as long as the command does. The cluster has a home of its own, in a
// temporary directory, which a holder removes however this process ends.
//
//	program, err := ephemeral.Find("make")
//	h, err := ephemeral.New(ctx, ephemeral.Options{Program: kl, Payloads: home})
//	// bring up the cluster h.Name of the home h.Dir
//	code, err := ephemeral.Command{Program: program, Args: []string{"make", "test"}, Environ: h.Environ("")}.Run()
//	err = h.Remove()
package ephemeral

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/host"
	"github.com/klkube/kl/cluster/kltest/holder"
	"github.com/klkube/kl/cluster/statefile"
)

// Home is a home in a temporary directory, for one cluster. A process of its own removes it, with every cluster in it, when this
// process ends without having called Remove or Keep.
type Home struct {
	Dir  cluster.Home
	Name string // of the cluster, which the caller brings up

	held *holder.Held
}

// Options configures New.
type Options struct {
	Name    string // of the cluster; empty means that one is made up
	Program string // path of kl

	// Payloads is the home whose unpacked payloads are used, and added to. If it is empty, or nobody can write there, the new home has
	// payloads of its own.
	Payloads cluster.Home
}

// New makes a home. The directory is in $TMPDIR, or in /tmp if paths of sockets would be too long there, and for this user alone.
func New(ctx context.Context, o Options) (*Home, error) {
	h := &Home{Name: cmp.Or(o.Name, "run-"+strings.ToLower(rand.Text()[:6]))}
	var err error
	for _, parent := range slices.Compact([]string{os.TempDir(), "/tmp"}) {
		dir, made := makeIn(parent, h.Name, o)
		if made == nil {
			h.Dir, err = cluster.Home(dir), nil
			break
		}
		err = cmp.Or(err, made)
	}
	if err != nil {
		return nil, inTermsOfTemp(err)
	}
	h.held, err = holder.Start(ctx, o.Program, h.Environ(""), holder.Plan{Dir: string(h.Dir), Down: []string{"down", "--all"}})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("watch over the cluster: %w", err), os.RemoveAll(string(h.Dir)))
	}
	return h, nil
}

// makeIn makes the directory of a home.
func makeIn(parent, name string, o Options) (string, error) {
	dir, err := os.MkdirTemp(parent, "kl-run-")
	if err != nil {
		return "", err
	}
	if err := fill(cluster.Home(dir), name, o); err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return dir, nil
}

func fill(h cluster.Home, name string, o Options) error {
	if err := sharePayloads(o.Payloads, h); err != nil {
		return err
	}
	if err := host.CheckHome(h.Cluster(name), true); err != nil {
		return err
	}
	if err := os.Mkdir(binDir(h), 0o700); err != nil {
		return err
	}
	return os.Symlink(o.Program, filepath.Join(binDir(h), kl))
}

// sharePayloads has a home use the payloads of another one: unpacking takes seconds, and any number of processes may do it at once.
func sharePayloads(from, to cluster.Home) error {
	if from == "" {
		return nil
	}
	shared := filepath.Dir(from.PayloadDir("x"))
	if statefile.MkdirAll(shared, 0o700) != nil || statefile.CheckDir(shared) != nil {
		return nil // it unpacks its own
	}
	return os.Symlink(string(cluster.Home(shared).Real()), filepath.Dir(to.PayloadDir("x")))
}

// inTermsOfTemp is for errors of package host about a home that the user has not chosen.
func inTermsOfTemp(err error) error {
	var e *cluster.Error
	if !errors.As(err, &e) {
		return &cluster.Error{Op: "make a directory for the cluster", Err: err, Hint: "set TMPDIR to another directory"}
	}
	return &cluster.Error{Op: "make a directory for the cluster", Err: e.Err, Hint: strings.ReplaceAll(e.Hint, "KL_HOME", "TMPDIR")}
}

// binDir holds kl and kubectl for commands that have neither in their $PATH.
func binDir(h cluster.Home) string { return filepath.Join(string(h), "bin") }

// Kubeconfig is the file that commands get as $KUBECONFIG, unless they are given another one.
func (h *Home) Kubeconfig() string { return filepath.Join(string(h.Dir), "kubeconfig") }

// Environ is the environment of this process, in which kl, kubectl and clients find the cluster and no other. kubeconfig is a file
// instead of Kubeconfig, if it is not empty.
func (h *Home) Environ(kubeconfig string) []string {
	set := []string{
		"KL_HOME=" + string(h.Dir), "KL_CLUSTER=" + h.Name, "KUBECONFIG=" + cmp.Or(kubeconfig, h.Kubeconfig()),
		"KUBECACHEDIR=" + filepath.Join(string(h.Dir), "cache"), // the next cluster on this port has other resources
		"PATH=" + strings.TrimPrefix(os.Getenv("PATH")+string(os.PathListSeparator)+binDir(h.Dir), string(os.PathListSeparator)),
	}
	environ := slices.DeleteFunc(os.Environ(), func(entry string) bool {
		return slices.ContainsFunc(set, func(s string) bool {
			key, _, _ := strings.Cut(s, "=")
			return strings.HasPrefix(entry, key+"=")
		})
	})
	return append(environ, set...)
}

// AddKubectl makes a kubectl for commands that find no other. engine is the program of a payload.
func (h *Home) AddKubectl(engine string) error {
	text := fmt.Sprintf("#!/bin/sh\nexec '%s' kubectl \"$@\"\n", strings.ReplaceAll(engine, "'", `'\''`))
	return os.WriteFile(filepath.Join(binDir(h.Dir), kubectl), []byte(text), 0o700)
}

// Remove removes the clusters of the home and the home. If this process ends meanwhile, they are removed all the same.
func (h *Home) Remove() error { return h.held.Stop() }

// Keep leaves the home and its clusters as they are, for good.
func (h *Home) Keep() error { return h.held.Keep() }
