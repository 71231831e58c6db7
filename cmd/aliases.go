package cmd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/klkube/kl/cluster"
)

// People who come from kind, minikube or k3d type what they are used to. Those commands work where kl has the same thing, and say the
// word that kl has for it. They are in no help, completion or table.

// habit is a command of another program. One whose path is that of a parent runs when no command below it is given.
type habit struct {
	path    string // such as "create cluster"
	args    string // its arguments, as usage shows them
	example string // arguments of an example
	check   cobra.PositionalArgs
	named   bool // arguments are names of clusters
	define  func(*cobra.Command)
	lacks   map[string]string // flags that kl has no equal of, with a reason or what to do instead

	kl  string                                                            // the command of kl
	run func(e *env, cmd *cobra.Command, args []string) ([]string, error) // returns what follows the command of kl; nil returns args
	do  func(ctx context.Context, e *env, cmd *cobra.Command) error       // instead of a command of kl
}

// nameFlags are flags of other programs that name the cluster, with their short forms.
func nameFlags() map[string]string {
	return map[string]string{"cluster": "c", "profile": "p", "in": "n"}
}

// addHabits adds the commands to root.
func addHabits(root *cobra.Command, e *env) {
	parents := map[string]*cobra.Command{}
	for name, kubectl := range map[string]bool{
		"create": true, "delete": true, "get": true, "load": false, "export": false, "cluster": false, "profile": false,
	} {
		parents[name] = newHabitParent(name, kubectl)
		root.AddCommand(parents[name])
	}
	i := slices.IndexFunc(root.Commands(), func(c *cobra.Command) bool { return c.Name() == "image" })
	parents["image"] = root.Commands()[i]
	for _, h := range e.habits() {
		name, below, _ := strings.Cut(h.path, " ")
		parent := parents[name]
		switch c := h.command(e, parent, below); {
		case below != "":
			c.Hidden = !parent.Hidden
			parent.AddCommand(c)
		case parent == nil:
			c.Hidden = true
			root.AddCommand(c)
		}
	}
}

// newHabitParent returns a command that holds others. What it does not know may be meant for kubectl.
func newHabitParent(name string, kubectl bool) *cobra.Command {
	hint := fmt.Sprintf("see 'kl %s --help'", name)
	if kubectl {
		hint = fmt.Sprintf("'kl kubectl %s …' is for objects of the cluster", name)
	}
	refuse := func(err error) error { return usageError{&cluster.Error{Op: "kl " + name, Err: err, Hint: hint}} }
	parent := &cobra.Command{
		Use: name, Short: "What other programs call by this name", Example: "  kl " + name + " --help", Hidden: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return refuse(fmt.Errorf("unknown command %q", quotable(args[0])))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	parent.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if cmd == parent {
			return refuse(flagError(err))
		}
		return misuse(cmd, flagError(err))
	})
	return parent
}

// command returns the command, which is parent itself if nothing is below it.
func (h habit) command(e *env, parent *cobra.Command, below string) *cobra.Command {
	c := &cobra.Command{DisableFlagsInUseLine: true, Args: h.check}
	switch {
	case below != "":
		c.Use = strings.TrimSpace(below + " " + h.args)
	case parent == nil:
		c.Use = strings.TrimSpace(h.path + " " + h.args)
	default:
		c = parent
	}
	if c.Args == nil {
		c.Args = cobra.NoArgs
	}
	c.Short = "In kl this is '" + h.word() + "'"
	c.Example = strings.TrimSpace(h.path + " " + h.example)
	c.Example = "  kl " + c.Example
	c.RunE = func(cmd *cobra.Command, args []string) error { return h.execute(cmd, e, args) }
	if h.define != nil {
		h.define(c)
	}
	for flag, short := range nameFlags() {
		if c.Flags().ShorthandLookup(short) == nil {
			c.Flags().StringVarP(&e.name, flag, short, e.name, "the same as --name")
			mustRegister(c.Flags().MarkHidden(flag))
		}
	}
	return c
}

// word is what kl calls it.
func (h habit) word() string { return "kl " + h.kl }

func (h habit) execute(cmd *cobra.Command, e *env, args []string) error {
	for _, flag := range slices.Sorted(maps.Keys(h.lacks)) {
		if cmd.Flags().Changed(flag) {
			return misuse(cmd, fmt.Errorf("kl has no --%s: %s", flag, h.lacks[flag]))
		}
	}
	names := []string{""}
	if slices.ContainsFunc(append(slices.Collect(maps.Keys(nameFlags())), "name"), cmd.Flags().Changed) {
		names[0] = e.name
	}
	if h.named && len(args) > 0 {
		names, args = args, nil
	}
	for _, name := range names {
		if name != "" && cluster.CheckName(name) != nil {
			return misuse(cmd, cluster.CheckName(name))
		}
	}
	rest := args
	if h.run != nil {
		var err error
		if rest, err = h.run(e, cmd, args); err != nil {
			return err
		}
	}
	fmt.Fprintf(e.Err, "%s: in kl this is %q\n", cmd.CommandPath(), h.word())
	if h.do != nil {
		return h.do(cmd.Context(), e, cmd)
	}
	for _, name := range names {
		line := strings.Fields(h.kl)
		if name != "" {
			line = append(line, "--name", name)
		}
		if err := e.again(cmd.Context(), append(line, rest...)); err != nil {
			return err
		}
	}
	return nil
}

// again runs another command line of kl.
func (e *env) again(ctx context.Context, line []string) error {
	root := newRootCmd(newEnv(e.Env)) //nolint:contextcheck // ExecuteContext gives commands their context
	root.SetArgs(line)
	root.SetIn(e.In)
	root.SetOut(e.Out)
	root.SetErr(e.Err)
	return root.ExecuteContext(ctx)
}

// firstNode returns the name of the first node of the cluster.
func (e *env) firstNode(ctx context.Context) (string, error) {
	info, err := e.host(nil).Inspect(ctx, e.name)
	if err != nil {
		return "", err
	}
	if len(info.Nodes) == 0 {
		return "", &cluster.Error{Op: "open a shell", Err: errors.New("the cluster has no nodes"), Hint: "'kl node add' adds one"}
	}
	return info.Nodes[0].Name, nil
}
