// Package quiet keeps bubbletea from asking the terminal questions in commands that have no interface. While bubbletea is
// being loaded (its tea_init.go), it asks the terminal for its background colour and waits for the answer, even in
// 'kl version' and 'kl kubectl': that puts escape sequences into the output and costs seconds on a terminal that does not
// answer. It does not ask a dumb terminal, so this package sets TERM=dumb until main begins:
//
//	func main() {
//		quiet.Restore()
//
// Go initializes packages in the order of their paths as soon as their imports are ready
// (https://go.dev/ref/spec#Program_initialization). This package imports nothing but os, so it comes before termenv, which
// bubbletea needs. A test checks the order.
package quiet

import "os"

// restore is set while the program is loaded: any later would be too late.
var restore = setDumb() //nolint:gochecknoglobals // the initialization is what this package is for

// setDumb sets TERM=dumb and returns a function that sets $TERM to what it was.
func setDumb() (restore func()) {
	value, set := os.LookupEnv("TERM")
	if !set {
		return func() {}
	}
	os.Setenv("TERM", "dumb")
	return func() { os.Setenv("TERM", value) }
}

// Restore sets $TERM back to what it was when the program started.
func Restore() { restore() }
