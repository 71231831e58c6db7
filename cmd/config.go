package cmd

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/config"
)

func newConfigCmd(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use: "config", Short: "Show the cluster's configuration, or the schema of kl.yaml",
		Example: "  kl config view\n  kl config schema > kl.schema.json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newConfigViewCmd(e), newConfigSchemaCmd(e))
	return cmd
}

func newConfigSchemaCmd(e *env) *cobra.Command {
	return &cobra.Command{
		Use: "schema", Short: "Print the JSON Schema of kl.yaml for editors",
		Example: "  kl config schema > kl.schema.json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			b, err := config.Schema()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(e.Out, "%s\n", b)
			return err
		},
	}
}

func newConfigViewCmd(e *env) *cobra.Command {
	var file string
	var o output
	cmd := &cobra.Command{
		Use: "view", Short: "Print the effective configuration with all defaults",
		Long:    "Print the effective configuration, with all defaults filled in, of the cluster or, with -f, of a file.",
		Example: "  kl config view\n  kl config view -f kl.yaml",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			spec, err := cluster.ReadSpec(e.layout())
			if file != "" {
				spec, _, err = e.readConfig(file)
			}
			switch {
			case err != nil:
				return err
			case o.isJSON():
				return printJSON(e.Out, spec)
			}
			b, err := config.View(spec)
			if err != nil {
				return err
			}
			_, err = e.Out.Write(b)
			return err
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "configuration `file` to show instead of the cluster's; - is standard input")
	addOutput(cmd, &o)
	return cmd
}

// readConfig reads a configuration file, or standard input if file is "-", and returns what it says and what it is. A file that is
// missing or wrong is a usage error.
func (e *env) readConfig(file string) (cluster.Spec, []byte, error) {
	data, err := e.readInput(file, config.MaxSize)
	if err != nil {
		wrong := &cluster.Error{Op: "read configuration", Err: err}
		if errors.Is(err, fs.ErrNotExist) {
			wrong.Hint = "'kl config schema' describes the format; 'kl config view' prints an example"
		}
		return cluster.Spec{}, nil, usageError{wrong}
	}
	spec, err := config.Parse(file, data, config.ThisMachine())
	if err != nil {
		return spec, data, usageError{err}
	}
	return spec, data, nil
}
