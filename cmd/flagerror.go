package cmd

import (
	"errors"
	"fmt"

	"github.com/spf13/pflag"
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
	return fmt.Errorf("invalid argument %q for \"--%s\" flag: %s", cutText(invalid.GetValue(), 100), invalid.GetFlag().Name, want)
}

func cutText(text string, size int) string {
	if len(text) <= size {
		return text
	}
	return text[:size] + "…"
}
