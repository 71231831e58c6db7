package main

import (
	"strings"
	"testing"
)

func TestBadArguments(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"-no-such"}, "-no-such"},
		{[]string{"-focus"}, "needs an argument"},
		{[]string{"n1"}, `unexpected argument "n1"`},
	} {
		if err := run(tt.args); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: %v, want %q", tt.args, err, tt.want)
		}
	}
}
