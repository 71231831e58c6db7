package ui

import "github.com/klkube/kl/ui/kit"

// keyMap holds all keys of the interface.
type keyMap struct {
	// everywhere
	quit, help, filter, palette, namespace, cluster, back, next, prev, screens kit.Binding

	// lists and texts
	kit.MoveKeys
	open, mark, sort, view kit.Binding

	// rollouts and revisions
	restart, pause, undo, scale, partition, image, diff, onlyDiff, older, newer, toPods, toRevisions kit.Binding

	// pods and other objects
	describe, yaml, events, logs, shell, forward, forwards, endForward, remove, resource kit.Binding

	// logs
	follow, previous, wrapLines kit.Binding

	// policies
	explain, port, choosePair, showDenial kit.Binding

	// nodes
	stop, start, kill, cut, heal, cordon kit.Binding

	// audit log and metrics
	onlyDenied, onlyChanges, freeze, charts, metricsView kit.Binding
}

func newKeyMap() *keyMap {
	bind := kit.Bind
	return &keyMap{
		quit: bind("q", "quit", "q", "ctrl+c"), help: bind("?", "help", "?"), filter: bind("/", "filter", "/"),
		palette: bind(":", "commands", ":"), namespace: bind("n", "namespace", "n"), cluster: bind("c", "cluster", "c"),
		back: bind("esc", "back", "esc"), next: bind("tab", "next screen", "tab"), prev: bind("⇧tab", "previous screen", "shift+tab"),
		screens: bind("1–7", "go to screen", "1", "2", "3", "4", "5", "6", "7"),

		MoveKeys: kit.NewMoveKeys(),
		open:     bind("↵", "open", "enter"), mark: bind("space", "mark", " "), sort: bind("o", "order", "o"), view: bind("m", "next view", "m"),

		restart: bind("R", "restart", "R"), pause: bind("P", "pause/resume", "P"), undo: bind("U", "undo to this revision", "U"),
		scale: bind("S", "scale", "S"), partition: bind("C", "canary partition", "C"), image: bind("I", "set image", "I"),
		diff: bind("v", "compare revisions", "v"), onlyDiff: bind("v", "only changes", "v"), older: bind("[", "older", "["), newer: bind("]", "newer", "]"),
		toPods: bind("→/l", "right", "right", "enter"), toRevisions: bind("←/h", "left", "left", "h"),

		describe: bind("d", "describe", "d"), yaml: bind("y", "YAML", "y"), events: bind("e", "events", "e"),
		logs: bind("l", "logs", "l"), shell: bind("s", "shell", "s"), forward: bind("f", "port-forward", "f"),
		forwards: bind("F", "forwards", "F"), endForward: bind("D", "end forward", "D"), remove: bind("D", "delete", "D"), resource: bind("r", "resource…", "r"),

		follow: bind("f", "follow", "f"), previous: bind("p", "previous run", "p"), wrapLines: bind("w", "wrap", "w"),

		explain: bind("x", "explain a pair", "x"), port: bind("p", "port", "p"),
		choosePair: bind("↑↓←→", "choose a pair", "up"), showDenial: bind("↵", "explain in the matrix", "enter"),

		stop: bind("T", "stop", "T"), start: bind("A", "start", "A"), kill: bind("K", "kill", "K"),
		cut: bind("X", "partition", "X"), heal: bind("H", "heal", "H"), cordon: bind("C", "cordon/uncordon", "C"),

		onlyDenied: bind("x", "only refused", "x"), onlyChanges: bind("w", "only changes", "w"), freeze: bind("f", "freeze", "f"),
		charts: bind("t", "more charts", "t"), metricsView: bind("m", "pods/nodes/autoscalers/plane", "m"),
	}
}

// global are the keys that work everywhere.
func (k *keyMap) global() kit.Group {
	return kit.Group{Title: "Everywhere", Keys: []kit.Binding{k.screens, k.next, k.prev, k.back, k.filter, k.palette, k.namespace, k.cluster, k.help, k.quit}}
}

// list are the keys that work in lists.
func (k *keyMap) list() kit.Group {
	return kit.Group{Title: "Lists", Keys: []kit.Binding{k.Up, k.Down, k.PageUp, k.PageDown, k.Home, k.End, k.open}}
}
