package translations

import (
	"errors"
	"testing"

	"k8s.io/kubectl/pkg/util/i18n"
)

func TestLoad(t *testing.T) {
	wrong := errors.New("loaded")
	for _, tt := range []struct {
		args []string
		want error
	}{
		{[]string{"kl-engine"}, nil},
		{[]string{"kl-engine", "control-plane", "kubectl"}, nil},
		{[]string{"kl-engine", "kubectl", "get"}, wrong},
	} {
		got := load(tt.args, func(root string, language func() string) error {
			if root != "kubectl" || language != nil {
				t.Errorf("loads %s with a language of its own: %v", root, language != nil)
			}
			return wrong
		})
		if !errors.Is(got, tt.want) {
			t.Errorf("load(%q) = %v, want %v", tt.args, got, tt.want)
		}
	}
}

func TestUntranslated(t *testing.T) {
	if got := i18n.T("Print the client and server version information"); got != "Print the client and server version information" {
		t.Errorf("T = %q, want the text itself", got)
	}
}
