// Package ui is the terminal interface of kl: the dashboard of 'kl ui', the inline views of 'kl watch' and 'kl top', the
// progress of 'kl up', and single frames of any screen as text or pictures.
//
// [Model] is the one bubbletea model of the dashboard. It routes keys to the screen on top and lays out header, body and
// footer. A screen (see screen.go) takes the state, answers keys with commands, and draws itself into an area. To the
// model it talks through a shell of five methods. The widgets are in package kit.
//
// Update does no I/O: commands do, and what they find comes back as a message. Everything that is shown is derived from an
// [observe.Snapshot] by pure functions. After every update, resize computes what depends on the size of the window, such
// as scroll positions, so that View only draws: the same state gives the same frame, which tests compare with golden files.
//
// To add a screen, write a file with a struct that implements screen, and open it with push, or list it in reset of
// navigate.go and in screenNames.
package ui
