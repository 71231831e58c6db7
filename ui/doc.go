// Package ui is kl's terminal interface: the dashboard of `kl ui`, the small inline views of `kl watch` and `kl top`, and
// single frames of any screen as text or pictures.
//
//	err := ui.Run(ctx, ui.Options{Targets: targets, Target: targets[0], In: os.Stdin, Out: os.Stdout})
//
// There is one bubbletea model. It routes keys to the screen on top and lays out header, body and footer; a screen is a
// struct that takes snapshots, answers keys with commands and draws itself into a given area. Update never does I/O:
// commands do, and what they find comes back as a message. Everything shown is derived by pure functions from an
// [observe.Snapshot], so a frame is a function of snapshot, clock and size, and tests compare whole frames.
package ui
