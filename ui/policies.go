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

// policies shows who may reach whom as a matrix of workloads or namespaces, the NetworkPolicies in words, and the
// connections that were denied. The matrix comes from the model that the nodes of kl enforce.
type policies struct {
	sh    shell
	state viewState
	part  policyPart

	model    *policy.Model
	source   policySource // what model was compiled from
	compiled time.Time

	peers    []peer            // rows and columns of the matrix
	peersFor peersKey          // what peers was collected for
	owners   map[string]string // name of the workload by namespace/name of its pod
	ports    portChoice
	verdicts map[[2]int]pairVerdict // by row and column, for the current peers and port
	row, col int                    // the cursor
	grid     grid

	list    []*networkingv1.NetworkPolicy
	table   kit.Table
	denials []policy.Denial // newest first
	feed    kit.Table       // of denials
}

// policySource identifies the objects that a policy model was compiled from. A list is another one after every change, so
// the address of its first element is enough.
type policySource struct{ pods, policies, namespaces any }

// firstOf is the address of the first element of a list, or nil.
func firstOf[T any](list []T) any {
	if len(list) == 0 {
		return nil
	}
	return &list[0]
}

// peersKey is what the peers of a model depend on.
type peersKey struct {
	model             *policy.Model
	part              policyPart
	namespace, filter string
}

type policyPart int

const (
	partMatrix policyPart = iota
	partNamespaces
	partPolicies
	partDenials
)

// portChoice is a port that connections are judged for.
type portChoice struct {
	proto corev1.Protocol
	port  uint16
}

func (p portChoice) String() string {
	return fmt.Sprintf("%s %d", strings.ToLower(string(p.proto)), p.port)
}

func newPolicies(sh shell) *policies {
	p := &policies{sh: sh, ports: portChoice{corev1.ProtocolTCP, 80}}
	p.table.SetCols([]kit.Column{{Title: "namespace", Min: 7, Max: 20, Drop: 2}, {Title: "name", Min: 10, Max: 36}, {Title: "selects", Right: true},
		{Title: "allowed", Right: true, Drop: 3}, {Title: "denied", Right: true, Drop: 3}, {Title: "in words", Min: 20, Grow: true}, {Title: "age", Right: true, Drop: 1}})
	p.feed.SetCols([]kit.Column{{Title: "time"}, {Title: "from", Min: 18, Max: 60}, {Title: "to", Min: 18, Max: 60}, {Title: "port", Max: 12}, {Title: "by", Min: 10, Grow: true},
		{Title: "side", Drop: 3}, {Title: "packets", Right: true, Drop: 2}, {Title: "node", Drop: 4}})
	return p
}

func (p *policies) title() string { return "Policies" }

func (p *policies) keys() []kit.Binding {
	k := p.sh.keys()
	switch p.part {
	case partPolicies:
		return []kit.Binding{k.view, k.describe, k.yaml, k.remove}
	case partDenials:
		return []kit.Binding{k.view, k.showDenial}
	}
	return []kit.Binding{k.view, k.choosePair, k.port, k.explain}
}

func (p *policies) setState(v viewState) {
	p.state = v
	p.compile()
	if key := (peersKey{p.model, p.part, v.namespace, v.filter}); key != p.peersFor {
		p.peersFor, p.peers, p.verdicts = key, p.collect(), map[[2]int]pairVerdict{}
	}
	p.row, p.col = min(p.row, max(0, len(p.peers)-1)), min(p.col, max(0, len(p.peers)-1))
	p.setDenials(v)
	p.setList(v)
}

// compile compiles the model if objects have changed since, but no more than every two seconds in a large cluster.
func (p *policies) compile() {
	s := p.state.snap
	source := policySource{firstOf(s.Pods), firstOf(s.Policies), firstOf(s.Namespaces)}
	recent := p.state.now.Sub(p.compiled) < 2*time.Second && len(s.Pods) >= 1000 && p.source.pods != nil
	if p.model != nil && (source == p.source || recent) {
		return
	}
	p.source, p.compiled = source, p.state.now
	p.model = policy.Compile(policy.Objects{Pods: s.Pods, Namespaces: s.Namespaces, Policies: s.Policies, Nodes: s.Nodes}, policy.Options{})
}

// setList lists the policies that pass the filter.
func (p *policies) setList(v viewState) {
	p.list = nil
	for _, np := range v.snap.Policies {
		if v.in(np.Namespace) && v.matches(np.Namespace, np.Name, policyWords(np)) {
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
		if verdicts := v.snap.Verdicts; verdicts != nil {
			a, d := verdicts.Policy(np.Namespace + "/" + np.Name)
			allowed, denied = strconv.FormatUint(a, 10), strconv.FormatUint(d, 10)
		}
		return []kit.Cell{kit.Dim(np.Namespace), kit.Text(np.Name), kit.Text(kit.Count(selects[np.Namespace+"/"+np.Name], "pod")), kit.Dim(allowed), kit.Dim(denied),
			kit.Text(policyWords(np)), kit.Dim(observe.Span(v.now.Sub(np.CreationTimestamp.Time)))}
	})
}

// setDenials lists the denials that pass the filter, newest first.
func (p *policies) setDenials(v viewState) {
	p.denials = nil
	if verdicts := v.snap.Verdicts; verdicts != nil {
		for _, d := range slices.Backward(verdicts.Denials) {
			from, _, _ := strings.Cut(d.From, "/")
			to, _, _ := strings.Cut(d.To, "/")
			if (v.in(from) || v.in(to)) && v.matches(d.From, d.To, d.Node, d.Reason, strings.Join(d.Policies, " "), strconv.Itoa(int(d.Port))) {
				p.denials = append(p.denials, d)
			}
		}
	}
	list := p.denials
	p.feed.SetRows(len(list), func(i int) string { return list[i].Node + "/" + strconv.FormatUint(list[i].Seq, 10) }, func(i int) []kit.Cell {
		d := &list[i]
		return []kit.Cell{kit.Dim(d.Time.In(v.now.Location()).Format(time.TimeOnly)), kit.Text(d.From), kit.Text(d.To), kit.Text(portChoice{d.Protocol, d.Port}.String()),
			kit.Text(strings.Join(d.Policies, ", ")), kit.Dim(string(d.Direction)), kit.Dim(strconv.FormatUint(d.Packets, 10)), kit.Dim(d.Node)}
	})
}

// showDenial shows the selected denial in the matrix.
func (p *policies) showDenial() {
	if p.feed.Cursor >= len(p.denials) {
		return
	}
	d := p.denials[p.feed.Cursor]
	p.part = partMatrix
	p.setPorts(portChoice{d.Protocol, d.Port})
	p.setState(p.state)
	p.row, p.col = p.peerOf(d.From), p.peerOf(d.To)
}

// setPorts sets the port that connections are judged for.
func (p *policies) setPorts(c portChoice) { p.ports, p.verdicts = c, map[[2]int]pairVerdict{} }

func (p *policies) update(msg tea.Msg) tea.Cmd {
	key, ok := msg.(tea.KeyMsg)
	k := p.sh.keys()
	if ok && k.view.Match(key) {
		p.part = (p.part + 1) % 4
		p.row, p.col = 0, 0
		p.setState(p.state)
		return nil
	}
	switch p.part {
	case partPolicies:
		return p.updateList(msg)
	case partDenials:
		if !p.feed.Handle(msg, k.MoveKeys) && ok && k.showDenial.Match(key) {
			p.showDenial()
		}
		return nil
	}
	switch msg := msg.(type) {
	case tea.KeyMsg:
		return p.matrixKey(msg)
	case tea.MouseMsg:
		if msg.Button == tea.MouseButtonLeft && msg.Action == tea.MouseActionPress {
			p.click(msg)
		}
	default:
		p.answered(msg)
	}
	return nil
}

// matrixKey handles a key of the matrix.
func (p *policies) matrixKey(key tea.KeyMsg) tea.Cmd {
	k, n := p.sh.keys(), max(0, len(p.peers)-1)
	switch {
	case k.Up.Match(key):
		p.row = max(0, p.row-1)
	case k.Down.Match(key):
		p.row = min(n, p.row+1)
	case k.Left.Match(key):
		p.col = max(0, p.col-1)
	case k.Right.Match(key):
		p.col = min(n, p.col+1)
	case k.PageUp.Match(key):
		p.row = max(0, p.row-p.grid.rows)
	case k.PageDown.Match(key):
		p.row = min(n, p.row+p.grid.rows)
	case k.Home.Match(key):
		p.row, p.col = 0, 0
	case k.End.Match(key):
		p.row, p.col = n, n
	case k.port.Match(key):
		return p.askPort()
	case k.explain.Match(key):
		return p.choosePair()
	}
	return nil
}

// askPort asks for the port of the matrix.
func (p *policies) askPort() tea.Cmd {
	now := strings.TrimPrefix(p.ports.String(), "tcp ")
	check := func(v string) error {
		_, err := parsePortChoice(v)
		return err
	}
	return p.sh.ask(kit.NewPrompt("Port of the matrix", "80, 53/udp, 9090/sctp", now, check, func(v string) tea.Cmd { return send(portMsg{v}) }))
}

// portMsg sets the port of the matrix.
type portMsg struct{ value string }

// pairMsg puts the cursor of the matrix on a row and a column; a negative one leaves it where it is.
type pairMsg struct{ row, col int }

func (p *policies) wants(msg tea.Msg) bool {
	switch msg.(type) {
	case portMsg, pairMsg:
		return true
	}
	return false
}

// answered handles the messages that the dialogs of the matrix send.
func (p *policies) answered(msg tea.Msg) {
	switch msg := msg.(type) {
	case portMsg:
		if c, err := parsePortChoice(msg.value); err == nil {
			p.setPorts(c)
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

// choosePair asks for a pair and puts the cursor on it, so that it is explained below the matrix.
func (p *policies) choosePair() tea.Cmd {
	var from []kit.Choice
	for i, a := range p.peers {
		var to []kit.Choice
		for j, b := range p.peers {
			to = append(to, kit.Choice{Name: b.name, Then: send(pairMsg{-1, j})})
		}
		from = append(from, kit.Choice{Name: a.name, Note: kit.Count(len(a.pods), "pod"),
			Then: tea.Sequence(send(pairMsg{i, -1}), openDialog(kit.NewPicker("From "+a.name+" to", "who is connected to", to)))})
	}
	return p.sh.ask(kit.NewPicker("Who connects", "part of a name", from))
}

// parsePortChoice reads "80" or "53/udp".
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
				return c, fmt.Errorf("enter a port from 1 to 65535, followed by /udp or /sctp unless it is TCP")
			}
			c.port = uint16(n)
		}
	}
	if c.port == 0 {
		return c, fmt.Errorf("enter a port")
	}
	return c, nil
}

func (p *policies) updateList(msg tea.Msg) tea.Cmd {
	k := p.sh.keys()
	if p.table.Handle(msg, k.MoveKeys) {
		return nil
	}
	key, ok := msg.(tea.KeyMsg)
	if !ok || p.table.Cursor >= len(p.list) || p.sh.session() == nil {
		return nil
	}
	np := p.list[p.table.Cursor]
	res := observe.Resource{GVR: networkingv1.SchemeGroupVersion.WithResource("networkpolicies"), Kind: "NetworkPolicy", Namespaced: true}
	if k.remove.Match(key) {
		return confirmDelete(p.sh, res, np.Namespace, np.Name, "Connections that only this policy denied are allowed again.")
	}
	return inspectKey(p.sh, key, object{res, np.Namespace, np.Name})
}
