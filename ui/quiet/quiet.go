// Package quiet keeps the terminal from being asked questions by a program that has none. When it is loaded, bubbletea
// asks the terminal for its background colour and waits for the answer, in every command, `kl version` and `kl kubectl`
// too (its tea_init.go): escape sequences in the output and, where nobody answers, seconds of silence. It does not ask a
// terminal that calls itself dumb, so this package makes the terminal one until main begins:
//
//	func main() {
//		quiet.Restore()
//
// That works because Go initializes packages in the order of their paths as soon as what they import is ready
// (https://go.dev/ref/spec#Program_initialization), and this one imports nothing but os, so it comes before termenv,
// which bubbletea cannot do without. A test runs the program on a terminal and sees that it stays silent.
package quiet

import "os"

// restore is set while the program is loaded: the one moment that is early enough.
var restore = hush()

func hush() func() {
	value, set := os.LookupEnv("TERM")
	if !set {
		return func() {}
	}
	os.Setenv("TERM", "dumb")
	return func() { os.Setenv("TERM", value) }
}

// Restore gives $TERM back.
func Restore() { restore() }
