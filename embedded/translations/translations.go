// Package translations keeps kubectl's translations out of the roles of kl-engine that are not kubectl. kubectl loads them as
// soon as one of its packages is initialized, which is before main, and took 25 ms and 4 MB of every start of every role.
//
// It is imported for its effect, and imports nothing else of kubectl, so that it is initialized before those packages:
//
//	import _ "github.com/klkube/kl/embedded/translations"
package translations

import (
	"os"

	"k8s.io/kubectl/pkg/util/i18n"
)

var _ = i18n.SetLoadTranslationsFunc(func() error { return load(os.Args, i18n.LoadTranslations) })

// load loads the translations if args are those of kubectl. Text that is not translated is as its authors wrote it.
func load(args []string, load func(root string, language func() string) error) error {
	if len(args) < 2 || args[1] != "kubectl" {
		return nil
	}
	return load("kubectl", nil)
}
