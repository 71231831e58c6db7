package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// Error is a failure that a person reads: what was tried, where, why, and what to do about it. cmd prints Hint on a line
// of its own and Log, the last lines of the failing component's log, below.
type Error struct {
	Op   string // what was tried: "start etcd"
	Node string // the node it happened on, if any
	Err  error
	Hint string   // one line: what to do
	Log  []string // last lines of the log that explains it
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Node != "" {
		b.WriteString(" on node ")
		b.WriteString(e.Node)
	}
	if e.Err != nil {
		b.WriteString(": ")
		b.WriteString(e.Err.Error())
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// Damaged is the error for a file of the cluster's state that is missing or cannot be read. It names the file.
func Damaged(l Layout, file string, err error) error {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		err = pathError.Err // the path is in Op already
	}
	return &Error{
		Op:   "read " + file,
		Err:  err,
		Hint: fmt.Sprintf("restore the file, or remove the cluster with 'kl down --name %s' and make it again", l.Name),
	}
}
