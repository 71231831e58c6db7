package ui

import (
	"slices"

	"github.com/charmbracelet/bubbles/key"
	tea "github.com/charmbracelet/bubbletea"
)

// binding is one key (or several that do the same) with the words the help shows. A binding of a screen also appears in
// the command palette, where choosing it presses its first key.
type binding struct{ key.Binding }

func bind(help, desc string, keys ...string) binding {
	return binding{key.NewBinding(key.WithKeys(keys...), key.WithHelp(help, desc))}
}

func (b binding) match(msg tea.KeyMsg) bool { return slices.Contains(b.Keys(), msg.String()) }

// keyMap is every key of the interface, in the groups the help shows.
type keyMap struct {
	quit, help, filter, palette, namespace, cluster, back, next, prev, screens binding

	up, down, pageUp, pageDown, home, end, open, mark, sort binding

	restart, pause, undo, scale, partition, image, diff binding

	describe, yaml, events, logs, shell, forward, forwards, remove, resource binding

	follow, previous, wrapLines, left, right, explain, port, scope binding

	stop, start, kill, cut, heal, cordon binding

	onlyDenied, onlyChanges, freeze, charts binding
}

func newKeyMap() *keyMap {
	return &keyMap{
		quit: bind("q", "quit", "q", "ctrl+c"), help: bind("?", "help", "?"), filter: bind("/", "filter", "/"),
		palette: bind(":", "commands", ":"), namespace: bind("n", "namespace", "n"), cluster: bind("c", "cluster", "c"),
		back: bind("esc", "back", "esc"), next: bind("tab", "next screen", "tab"), prev: bind("⇧tab", "previous screen", "shift+tab"),
		screens: bind("1–7", "go to screen", "1", "2", "3", "4", "5", "6", "7"),

		up: bind("↑/k", "up", "up", "k"), down: bind("↓/j", "down", "down", "j"),
		pageUp: bind("pgup", "page up", "pgup", "ctrl+b", "ctrl+u"), pageDown: bind("pgdn", "page down", "pgdown", "ctrl+f", "ctrl+d"),
		home: bind("g", "first", "home", "g"), end: bind("G", "last", "end", "G"),
		open: bind("↵", "open", "enter"), mark: bind("space", "mark", " "), sort: bind("o", "order", "o"),

		restart: bind("R", "restart", "R"), pause: bind("P", "pause/resume", "P"), undo: bind("U", "undo to this revision", "U"),
		scale: bind("S", "scale", "S"), partition: bind("C", "canary partition", "C"), image: bind("I", "set image", "I"),
		diff: bind("v", "compare revisions", "v"),

		describe: bind("d", "describe", "d"), yaml: bind("y", "YAML", "y"), events: bind("e", "events", "e"),
		logs: bind("l", "logs", "l"), shell: bind("s", "shell", "s"), forward: bind("f", "port-forward", "f"),
		forwards: bind("F", "forwards", "F"), remove: bind("D", "delete", "D"), resource: bind("r", "resource…", "r"),

		follow: bind("f", "follow", "f"), previous: bind("p", "previous run", "p"), wrapLines: bind("w", "wrap", "w"),
		left: bind("←/h", "left", "left", "h"), right: bind("→/l", "right", "right", "l"),
		explain: bind("x", "explain a pair", "x"), port: bind("p", "port", "p"), scope: bind("m", "pods/namespaces", "m"),

		stop: bind("T", "stop", "T"), start: bind("A", "start", "A"), kill: bind("K", "kill", "K"),
		cut: bind("X", "partition", "X"), heal: bind("H", "heal", "H"), cordon: bind("C", "cordon/uncordon", "C"),

		onlyDenied: bind("x", "only refused", "x"), onlyChanges: bind("w", "only changes", "w"), freeze: bind("f", "freeze", "f"),
		charts: bind("t", "more charts", "t"),
	}
}

// group is a titled part of the help.
type group struct {
	title string
	keys  []binding
}

func (k *keyMap) global() group {
	return group{"Everywhere", []binding{k.screens, k.next, k.prev, k.back, k.filter, k.palette, k.namespace, k.cluster, k.help, k.quit}}
}

func (k *keyMap) list() group {
	return group{"Lists", []binding{k.up, k.down, k.pageUp, k.pageDown, k.home, k.end, k.open}}
}
