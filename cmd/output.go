package cmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// output is the value of the -o flag: empty for text, or "json".
type output string

func (o *output) String() string { return string(*o) }

// Set implements pflag.Value.
func (o *output) Set(s string) error {
	switch s {
	case "text":
		s = ""
	case "json":
	default:
		return errors.New("use text or json")
	}
	*o = output(s)
	return nil
}

// Type implements pflag.Value.
func (o *output) Type() string { return "format" }

func (o *output) isJSON() bool { return *o == "json" }

// addOutput adds the -o flag.
func addOutput(cmd *cobra.Command, o *output) {
	cmd.Flags().VarP(o, "output", "o", "output `format`: text or json (default text)")
	mustRegister(cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp)))
}

// printJSON prints a document with indentation.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// field prints a name and its value on a line, unless the value is empty.
func field(w io.Writer, name, value string) {
	if value != "" {
		fmt.Fprintf(w, "%-12s%s\n", name, printable(value))
	}
}

// firstLine is for texts of which the first line says what the others explain.
func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// table prints rows in aligned columns; the first row is the heading. An empty cell is printed as "-".
func table(w io.Writer, rows [][]string) error {
	tw := tabwriter.NewWriter(w, 0, 8, 3, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			if i > 0 {
				fmt.Fprint(tw, "\t")
			}
			if cell == "" {
				cell = "-"
			}
			fmt.Fprint(tw, printable(cell))
		}
		fmt.Fprintln(tw)
	}
	return tw.Flush()
}

// age formats a duration as kubectl does.
func age(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 3*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// megabytes formats a size in bytes; zero, which means unknown, is empty.
func megabytes(bytes int64) string {
	if bytes == 0 {
		return ""
	}
	return fmt.Sprintf("%d MB", (bytes+500_000)/1_000_000)
}
