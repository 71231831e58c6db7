package host

import (
	"maps"
	"slices"
	"strings"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

// readFiles replaces the paths of files in a Spec by what is in them. The cluster then starts again when a file is gone, and a
// file that has changed is a change of the Spec. A kubeconfig stays where it is: what it holds may be secret, and refers to
// files beside it.
func readFiles(s *cluster.Spec) error {
	files := s.Files()
	delete(files, "audit.webhook.kubeconfig")
	for _, field := range slices.Sorted(maps.Keys(files)) {
		given := files[field]
		if *given == "" || cluster.HoldsContent(*given) {
			continue
		}
		data, err := statefile.Read(*given)
		if err != nil {
			return &cluster.Error{Op: "read " + field, Err: err}
		}
		*given = strings.TrimRight(string(data), "\n") + "\n" // several lines are content, and one is a path
	}
	return nil
}
