package ui

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/cluster/policy"
	"github.com/klkube/kl/ui/kit"
)

// policies shows NetworkPolicies in words, and who may reach whom as a matrix of workloads or namespaces, computed from
// the very model that kl's nodes enforce.
type policies struct {
	m        *Model
	w        *world
	model    *policy.Model
	from     [3]any // what the model was compiled from
	compiled time.Time
	part     policyPart
	ports    portChoice
	peers    []peer
	owners   map[string]string // of pods, by namespace/name
	made     string            // what peers was collected for
	cells    map[[2]int]judged // of the present peers, model and port
	budget   int               // verdicts left in this frame
	row, col int
	top      int // first row and column seen
	left     int
	rows     int // seen last
	cols     int
	list     []*networkingv1.NetworkPolicy
	table    kit.Table
	feed     kit.Table
	denials  []policy.Denial // newest first
}

type policyPart int

const (
	partMatrix policyPart = iota
	partNamespaces
	partPolicies
	partDenials
)

// portChoice is the port a matrix is about.
type portChoice struct {
	proto corev1.Protocol
	port  uint16
}

func (p portChoice) String() string {
	return fmt.Sprintf("%s %d", strings.ToLower(string(p.proto)), p.port)
}

func newPolicies(m *Model) *policies {
	p := &policies{m: m, ports: portChoice{corev1.ProtocolTCP, 80}}
	p.table.SetCols([]kit.Column{{Title: "namespace", Min: 7, Max: 20, Drop: 2}, {Title: "name", Min: 10, Max: 36}, {Title: "selects", Right: true},
		{Title: "allowed", Right: true, Drop: 3}, {Title: "denied", Right: true, Drop: 3}, {Title: "in words", Min: 20, Grow: true}, {Title: "age", Right: true, Drop: 1}})
	p.feed.SetCols([]kit.Column{{Title: "time"}, {Title: "from", Min: 18, Max: 60}, {Title: "to", Min: 18, Max: 60}, {Title: "port", Max: 12}, {Title: "by", Min: 10, Grow: true},
		{Title: "side", Drop: 3}, {Title: "packets", Right: true, Drop: 2}, {Title: "node", Drop: 4}})
	return p
}

func (p *policies) title() string { return "Policies" }

func (p *policies) keys() []kit.Binding {
	k := p.m.k
	keys := []kit.Binding{kit.Bind("m", "next view", "m")}
	switch p.part {
	case partPolicies:
		return append(keys, k.describe, k.yaml, k.remove)
	case partDenials:
		return append(keys, kit.Bind("↵", "explain in the matrix", "enter"))
	}
	return append(keys, kit.Bind("↑↓←→", "choose a pair", "up"), k.port, k.explain)
}

func (p *policies) set(w *world) {
	p.w = w
	s := w.snap
	first := func(n int, get func() any) any {
		if n == 0 {
			return nil
		}
		return get()
	}
	now := [3]any{first(len(s.Pods), func() any { return &s.Pods[0] }), first(len(s.Policies), func() any { return &s.Policies[0] }),
		first(len(s.Namespaces), func() any { return &s.Namespaces[0] })}
	if p.model == nil || now != p.from && (len(s.Pods) < 1000 || p.from[0] == nil || w.now.Sub(p.compiled) >= 2*time.Second) {
		p.from, p.compiled = now, w.now
		p.model = policy.Compile(policy.Objects{Pods: s.Pods, Namespaces: s.Namespaces, Policies: s.Policies, Nodes: s.Nodes}, policy.Options{})
		p.made = ""
	}
	if made := fmt.Sprint("made ", p.part, w.namespace, "\x00", w.filter); made != p.made {
		p.made, p.peers, p.cells = made, p.collect(), map[[2]int]judged{}
	}
	p.row, p.col = min(p.row, max(0, len(p.peers)-1)), min(p.col, max(0, len(p.peers)-1))
	p.setFeed(w)
	p.list = p.list[:0]
	for _, np := range s.Policies {
		if w.in(np.Namespace) && w.matches(np.Namespace, np.Name, policyWords(np)) {
			p.list = append(p.list, np)
		}
	}
	list := p.list
	selects := map[string]int{}
	for _, x := range p.model.Policies {
		selects[x.Key()] = x.Selects
	}
	p.table.SetRows(len(list), func(i int) string { return list[i].Namespace + "/" + list[i].Name }, func(i int) []kit.Cell {
		np := list[i]
		allowed, denied := "–", "–"
		if v := s.Verdicts; v != nil {
			a, d := v.Policy(np.Namespace + "/" + np.Name)
			allowed, denied = strconv.FormatUint(a, 10), strconv.FormatUint(d, 10)
		}
		return []kit.Cell{kit.Dim(np.Namespace), kit.Text(np.Name), kit.Text(kit.Count(selects[np.Namespace+"/"+np.Name], "pod")), kit.Dim(allowed), kit.Dim(denied), kit.Text(policyWords(np)),
			kit.Dim(observe.Span(w.now.Sub(np.CreationTimestamp.Time)))}
	})
}

// setFeed takes the denials that the filter lets through, newest first.
func (p *policies) setFeed(w *world) {
	p.denials = p.denials[:0]
	if v := w.snap.Verdicts; v != nil {
		for _, d := range slices.Backward(v.Denials) {
			from, _, _ := strings.Cut(d.From, "/")
			to, _, _ := strings.Cut(d.To, "/")
			if (w.in(from) || w.in(to)) && w.matches(d.From, d.To, d.Node, d.Reason, strings.Join(d.Policies, " "), strconv.Itoa(int(d.Port))) {
				p.denials = append(p.denials, d)
			}
		}
	}
	list := p.denials
	p.feed.SetRows(len(list), func(i int) string { return list[i].Node + "/" + strconv.FormatUint(list[i].Seq, 10) }, func(i int) []kit.Cell {
		d := &list[i]
		return []kit.Cell{kit.Dim(d.Time.In(w.now.Location()).Format(time.TimeOnly)), kit.Text(d.From), kit.Text(d.To), kit.Text(portChoice{d.Protocol, d.Port}.String()),
			kit.Text(strings.Join(d.Policies, ", ")), kit.Dim(string(d.Direction)), kit.Dim(strconv.FormatUint(d.Packets, 10)), kit.Dim(d.Node)}
	})
}

// showDenied puts the matrix on the chosen denial.
func (p *policies) showDenied() {
	if p.feed.Cursor >= len(p.denials) {
		return
	}
	d := p.denials[p.feed.Cursor]
	p.part, p.ports, p.made = partMatrix, portChoice{d.Protocol, d.Port}, ""
	p.set(p.w)
	p.row, p.col = p.peerOf(d.From), p.peerOf(d.To)
}

func (p *policies) update(msg tea.Msg) tea.Cmd {
	key, ok := msg.(tea.KeyMsg)
	k := p.m.k
	if ok && key.String() == "m" {
		p.part = (p.part + 1) % 4
		p.row, p.col, p.top, p.left = 0, 0, 0, 0
		p.set(p.w)
		return nil
	}
	switch p.part {
	case partPolicies:
		return p.updateList(msg)
	case partDenials:
		if !p.feed.Handle(msg, k.MoveKeys) && ok && k.open.Match(key) {
			p.showDenied()
		}
		return nil
	}
	if mouse, isMouse := msg.(tea.MouseMsg); isMouse && mouse.Button == tea.MouseButtonLeft && mouse.Action == tea.MouseActionPress {
		p.click(mouse)
		return nil
	}
	if !ok {
		p.choose(msg)
		return nil
	}
	n := len(p.peers) - 1
	switch {
	case k.Up.Match(key):
		p.row = max(0, p.row-1)
	case k.Down.Match(key):
		p.row = max(0, min(n, p.row+1))
	case k.Left.Match(key):
		p.col = max(0, p.col-1)
	case k.Right.Match(key):
		p.col = max(0, min(n, p.col+1))
	case k.PageUp.Match(key):
		p.row = max(0, p.row-p.rows)
	case k.PageDown.Match(key):
		p.row = max(0, min(n, p.row+p.rows))
	case k.Home.Match(key):
		p.row, p.col = 0, 0
	case k.End.Match(key):
		p.row, p.col = max(0, n), max(0, n)
	case k.port.Match(key):
		return p.m.ask(kit.NewPrompt("Port of the matrix", "80, 53/udp, 9090/sctp", strings.Replace(p.ports.String(), "tcp ", "", 1), func(v string) error {
			_, err := parsePortChoice(v)
			return err
		}, func(v string) tea.Cmd {
			return send(portMsg{v})
		}))
	case k.explain.Match(key):
		return p.choosePair()
	}
	return nil
}

// portMsg sets the port of a matrix.
type portMsg struct{ value string }

// pairMsg puts the cursor on a pair; an index below zero is left as it is.
type pairMsg struct{ row, col int }

func (p *policies) hears(msg tea.Msg) bool {
	switch msg.(type) {
	case portMsg, pairMsg:
		return true
	}
	return false
}

// choose answers the dialogs.
func (p *policies) choose(msg tea.Msg) {
	switch msg := msg.(type) {
	case portMsg:
		if c, err := parsePortChoice(msg.value); err == nil {
			p.ports, p.cells = c, map[[2]int]judged{}
		}
	case pairMsg:
		if msg.row >= 0 {
			p.row = msg.row
		}
		if msg.col >= 0 {
			p.col = msg.col
		}
	}
}

// choosePair asks from where and to where, and puts the cursor there: the explanation is below the matrix.
func (p *policies) choosePair() tea.Cmd {
	var from []kit.Choice
	for i, a := range p.peers {
		var to []kit.Choice
		for j, b := range p.peers {
			to = append(to, kit.Choice{Name: b.name, Then: send(pairMsg{-1, j})})
		}
		from = append(from, kit.Choice{Name: a.name, Note: kit.Count(len(a.pods), "pod"),
			Then: tea.Sequence(send(pairMsg{i, -1}), open(kit.NewPicker("From "+a.name+" to", "who is connected to", to)))})
	}
	return p.m.ask(kit.NewPicker("Who connects", "part of a name", from))
}

func parsePortChoice(v string) (portChoice, error) {
	v = strings.ToLower(strings.Join(strings.Fields(v), "/"))
	c := portChoice{proto: corev1.ProtocolTCP}
	for part := range strings.SplitSeq(v, "/") {
		switch part {
		case "tcp", "udp", "sctp":
			c.proto = corev1.Protocol(strings.ToUpper(part))
		default:
			n, err := strconv.ParseUint(part, 10, 16)
			if err != nil || n == 0 {
				return c, fmt.Errorf("a port from 1 to 65535, with /udp or /sctp after it if it is not TCP")
			}
			c.port = uint16(n)
		}
	}
	if c.port == 0 {
		return c, fmt.Errorf("a port is missing")
	}
	return c, nil
}

func (p *policies) updateList(msg tea.Msg) tea.Cmd {
	if p.table.Handle(msg, p.m.k.MoveKeys) {
		return nil
	}
	key, ok := msg.(tea.KeyMsg)
	if !ok || p.table.Cursor >= len(p.list) || p.m.session == nil {
		return nil
	}
	np := p.list[p.table.Cursor]
	k := p.m.k
	res := observe.Resource{GVR: networkingv1.SchemeGroupVersion.WithResource("networkpolicies"), Kind: "NetworkPolicy", Namespaced: true}
	switch {
	case k.open.Match(key), k.describe.Match(key):
		return p.m.inspect(kit.KeyPress("d"), res, "NetworkPolicy", np.Namespace, np.Name)
	case k.yaml.Match(key):
		return p.m.inspect(key, res, "NetworkPolicy", np.Namespace, np.Name)
	case k.remove.Match(key):
		return p.m.confirmDelete(res, np.Namespace, np.Name, "What it forbade is allowed again, unless another policy forbids it.")
	}
	return nil
}
