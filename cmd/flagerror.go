package cmd

import (
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/klkube/kl/cluster/statefile"
)

// flagError says in plain words what a flag cannot have for a value, where the parser says it in Go's.
func flagError(err error) error {
	var invalid *pflag.InvalidValueError
	if !errors.As(err, &invalid) {
		return err
	}
	want := map[string]string{
		"bool": "want true or false", "int": "want a whole number", "duration": "want a time such as 90s, 5m or 1h30m",
	}[invalid.GetFlag().Value.Type()]
	if want == "" {
		return err
	}
	return fmt.Errorf("invalid argument %q for \"--%s\" flag: %s", quotable(invalid.GetValue()), invalid.GetFlag().Name, want)
}

// maxQuote is how many bytes of what somebody typed are quoted.
const maxQuote = 100

// quotable is what may be quoted of what somebody typed.
func quotable(text string) string { return statefile.Shorten(text, maxQuote) }
