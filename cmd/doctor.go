package cmd

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/doctor"
	"github.com/klkube/kl/cluster/host"
	"github.com/klkube/kl/cluster/statefile"
)

func newDoctorCmd(e *env) *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use: "doctor", Short: "Check this machine for problems that keep clusters from working",
		Long: "Check what a cluster needs of this machine: container engine, kernel, cgroups, limits, disk, memory, networks\n" +
			"and clock. Each problem comes with a fix. The exit code is 1 if a cluster cannot start.",
		Example: "  kl doctor\n  kl doctor -o json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runDoctor(cmd.Context(), e, o) },
	}
	addOutput(cmd, &o)
	return cmd
}

func runDoctor(ctx context.Context, e *env, o output) error {
	results := doctor.Run(ctx, e.system(), doctor.All())
	if o.isJSON() {
		if err := printJSON(e.Out, results); err != nil {
			return err
		}
	} else {
		for _, r := range results {
			fmt.Fprintf(e.Out, "%-5s %-8s %s\n", r.Level, r.Name, r.Detail)
			if r.Fix != "" {
				fmt.Fprintf(e.Out, "               → %s\n", r.Fix)
			}
		}
	}
	if doctor.Worst(results) == doctor.Fail {
		return exitError(exitFailed)
	}
	return nil
}

// system returns this machine as the checks see it.
func (e *env) system() doctor.System {
	s := doctor.Host(e.Home, func(ctx context.Context) (string, error) {
		d, err := e.openDriver(ctx, cluster.DriverDocker)
		if err != nil {
			return "", err
		}
		defer d.Close()
		nodes, err := d.List(ctx, "")
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("Docker answers and runs %s of kl", plural(len(nodes), "node")), nil
	})
	s.DataDir = e.engineDir
	s.Orphans = e.orphans
	names, err := e.Home.Names()
	if err == nil && len(names) > 0 {
		s.LongName = slices.MaxFunc(names, func(a, b string) int { return len(a) - len(b) })
	}
	return s
}

// engineDir is where Docker keeps nodes; empty if there is no Docker.
func (e *env) engineDir(ctx context.Context) string {
	d, err := e.openDriver(ctx, cluster.DriverDocker)
	if err != nil { // the check of the engine says why
		return ""
	}
	defer d.Close()
	dir := ""
	if s, ok := d.(cluster.Storer); ok {
		dir, _ = s.DataDir(ctx)
	}
	return dir
}

// orphans lists the nodes whose files are gone and that this user could remove: those of a home that the user can make again.
func (e *env) orphans(ctx context.Context) (found []cluster.Orphan) {
	for _, f := range e.Drivers {
		d, err := f.Open(ctx, e.Logger)
		if err != nil {
			continue // what cannot be used here has nothing of this user's
		}
		if o, ok := d.(cluster.Orphaner); ok {
			orphans, err := o.Orphans(ctx)
			if err != nil {
				e.Logger.Debug("look for orphans", "driver", f.Name, "err", err)
			}
			found = append(found, orphans...)
		}
		d.Close()
	}
	return slices.DeleteFunc(found, func(o cluster.Orphan) bool { return statefile.Check(o.Home.Cluster(o.Cluster).LockFile()) != nil })
}

// preflight is host.Host.Preflight: it runs the cheap checks, returns the first failure and passes warnings to warn.
func (e *env) preflight(ctx context.Context, p host.Plan, warn func(string)) error {
	s := e.system()
	s.LongName, s.Nodes, s.Exists = p.Cluster, p.Nodes, p.Exists
	s.DataDir = func(context.Context) string { return p.DataDir }
	for _, r := range doctor.Run(ctx, s, doctor.Cheap(doctor.All(), p.Nodes)) {
		switch r.Level {
		case doctor.Fail:
			return &cluster.Error{Op: "check " + r.Name, Err: errors.New(r.Detail), Hint: r.Fix}
		case doctor.Warn:
			warn(fmt.Sprintf("%s: %s: %s", r.Name, r.Detail, r.Fix))
		}
	}
	return nil
}
