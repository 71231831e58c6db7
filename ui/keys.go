package ui

import "github.com/klkube/kl/ui/kit"

// keyMap is every key of the interface, in the groups the help shows.
type keyMap struct {
	quit, help, filter, palette, namespace, cluster, back, next, prev, screens kit.Binding

	kit.MoveKeys

	open, mark, sort kit.Binding

	restart, pause, undo, scale, partition, image, diff kit.Binding

	describe, yaml, events, logs, shell, forward, forwards, remove, resource kit.Binding

	follow, previous, wrapLines, explain, port kit.Binding

	stop, start, kill, cut, heal, cordon kit.Binding

	onlyDenied, onlyChanges, freeze, charts kit.Binding
}

func newKeyMap() *keyMap {
	return &keyMap{
		quit: kit.Bind("q", "quit", "q", "ctrl+c"), help: kit.Bind("?", "help", "?"), filter: kit.Bind("/", "filter", "/"),
		palette: kit.Bind(":", "commands", ":"), namespace: kit.Bind("n", "namespace", "n"), cluster: kit.Bind("c", "cluster", "c"),
		back: kit.Bind("esc", "back", "esc"), next: kit.Bind("tab", "next screen", "tab"), prev: kit.Bind("⇧tab", "previous screen", "shift+tab"),
		screens: kit.Bind("1–7", "go to screen", "1", "2", "3", "4", "5", "6", "7"),

		MoveKeys: kit.NewMoveKeys(),

		open: kit.Bind("↵", "open", "enter"), mark: kit.Bind("space", "mark", " "), sort: kit.Bind("o", "order", "o"),

		restart: kit.Bind("R", "restart", "R"), pause: kit.Bind("P", "pause/resume", "P"), undo: kit.Bind("U", "undo to this revision", "U"),
		scale: kit.Bind("S", "scale", "S"), partition: kit.Bind("C", "canary partition", "C"), image: kit.Bind("I", "set image", "I"),
		diff: kit.Bind("v", "compare revisions", "v"),

		describe: kit.Bind("d", "describe", "d"), yaml: kit.Bind("y", "YAML", "y"), events: kit.Bind("e", "events", "e"),
		logs: kit.Bind("l", "logs", "l"), shell: kit.Bind("s", "shell", "s"), forward: kit.Bind("f", "port-forward", "f"),
		forwards: kit.Bind("F", "forwards", "F"), remove: kit.Bind("D", "delete", "D"), resource: kit.Bind("r", "resource…", "r"),

		follow: kit.Bind("f", "follow", "f"), previous: kit.Bind("p", "previous run", "p"), wrapLines: kit.Bind("w", "wrap", "w"),
		explain: kit.Bind("x", "explain a pair", "x"), port: kit.Bind("p", "port", "p"),

		stop: kit.Bind("T", "stop", "T"), start: kit.Bind("A", "start", "A"), kill: kit.Bind("K", "kill", "K"),
		cut: kit.Bind("X", "partition", "X"), heal: kit.Bind("H", "heal", "H"), cordon: kit.Bind("C", "cordon/uncordon", "C"),

		onlyDenied: kit.Bind("x", "only refused", "x"), onlyChanges: kit.Bind("w", "only changes", "w"), freeze: kit.Bind("f", "freeze", "f"),
		charts: kit.Bind("t", "more charts", "t"),
	}
}

func (k *keyMap) global() kit.Group {
	return kit.Group{Title: "Everywhere", Keys: []kit.Binding{k.screens, k.next, k.prev, k.back, k.filter, k.palette, k.namespace, k.cluster, k.help, k.quit}}
}

func (k *keyMap) list() kit.Group {
	return kit.Group{Title: "Lists", Keys: []kit.Binding{k.Up, k.Down, k.PageUp, k.PageDown, k.Home, k.End, k.open}}
}
