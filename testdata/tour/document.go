package scenarios

import (
	"errors"
	"fmt"
	"strings"

	"github.com/klkube/kl/cluster/tour"
)

// The lines around the table in README.
const (
	tableBegins = "<!-- The tour's table, written by make docs. -->\n"
	tableEnds   = "<!-- End of the tour's table. -->\n"
)

// Document returns a Markdown document in which the table of the scenarios is up to date.
func Document(text string) (string, error) {
	before, rest, begins := strings.Cut(text, tableBegins)
	_, after, ends := strings.Cut(rest, tableEnds)
	if !begins || !ends {
		return "", errors.New("the document has no place for the tour's table")
	}
	table, err := table()
	return before + tableBegins + table + tableEnds + after, err
}

func table() (string, error) {
	all, err := tour.LoadAll(Files)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("\n| Kubernetes 1.7, in its form of today | `kl tour run` | what is seen |\n| --- | --- | --- |\n")
	for _, s := range all {
		fmt.Fprintf(&b, "| %s | `%s` | %s |\n", s.Feature, s.Name, s.Title)
	}
	b.WriteString("\n")
	return b.String(), nil
}
