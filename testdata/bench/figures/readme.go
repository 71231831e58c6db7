package figures

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// The lines around the figures in README.
const (
	tableBegins = "<!-- The figures, written by make docs from testdata/bench/figures.json. -->\n"
	tableEnds   = "<!-- End of the figures. -->\n"
)

// line is a line of README's table. A key in braces stands for the median of that row, and {key:p99} for another figure of it: max,
// n, or ratio, the median of its ratios to U.
type line struct {
	label, value string
	optional     bool // it is left out while one of its rows is missing
}

// readme is the table in README.
func readme() []line {
	return []line{
		{label: "`kl up` to ready, 1 node, Docker / without an engine", value: "{up/nodes=1/driver=docker} / {up/nodes=1/driver=embedded}"},
		{label: "the same with 2 nodes", value: "{up/nodes=2/driver=docker} / {up/nodes=2/driver=embedded}"},
		{label: "`kl up --nodes 0`: API, controllers and scheduler alone", value: "{up/nodes=0}"},
		{label: "etcd and kube-apiserver as two processes, as envtest starts them, to `/readyz`: U", value: "{upstream}", optional: true},
		{label: "in proportion to U: `kl up --nodes 0` / 1 node Ready / and its DNS answers (no engine)",
			value: "{up/nodes=0:ratio} / {up/ready/nodes=1/driver=embedded:ratio} / {up/nodes=1/driver=embedded:ratio}", optional: true},
		{label: "from nothing to a Deployment that answers another pod by name (with `kl image load`)", value: "{app/all/driver=docker}"},
		{label: "first pod of a loaded image, from `kl kubectl apply` to Running, Docker / without an engine",
			value: "{pod/first/driver=docker} / {pod/first/driver=embedded}", optional: true},
		{label: "an image of ten layers of 100 MB, one of 1 MB changed: `docker build` returned to the new pods Ready, Docker, 1 node / 3 nodes (median of {image/changed/nodes=1/driver=docker:n})",
			value: "{image/changed/nodes=1/driver=docker} / {image/changed/nodes=3/driver=docker}"},
		{label: "the same on 1 node with an image that it has / by `docker save` and a load of it all (median of {image/changed/saved/nodes=1/driver=docker:n})",
			value: "{image/known/nodes=1/driver=docker} / {image/changed/saved/nodes=1/driver=docker}"},
		{label: "first pod of that image / in a second cluster", value: "{image/first/nodes=1/driver=docker} / {image/second/nodes=1/driver=docker}"},
		{label: "`kl stop` / `kl start` to ready (no engine, median of {start/driver=embedded:n})", value: "{stop/driver=embedded} / {start/driver=embedded}"},
		{label: "`kl pause` / `kl resume` until the API answers (no engine, median of {resume/driver=embedded:n})",
			value: "{pause/driver=embedded} / {resume/driver=embedded}"},
		{label: "one node, all processes together: anonymous memory, idle processor (no engine)", value: "{memory/driver=embedded}, {idle/driver=embedded}", optional: true},
		{label: "control plane, cloud provider, storage and metrics included: anonymous memory, idle processor",
			value: "{memory/plane/driver=docker}, {idle/plane/driver=docker}"},
		{label: "a node: anonymous memory, idle processor", value: "{memory/node/driver=docker}, {idle/node/driver=docker}"},
		{label: "a new NetworkPolicy in force on both of two nodes, as pods see it, among 500 pods (most simulated; {policy/created/pods=500/policies=0/driver=docker:n} times)",
			value: "p50 {policy/created/pods=500/policies=0/driver=docker}, p99 {policy/created/pods=500/policies=0/driver=docker:p99}"},
		{label: "throughput between two pods with 100 policies, compared with none (iperf3, median of {iperf/kept/on=one_node/policies=100/driver=docker:n}): on one node / on two",
			value: "{iperf/kept/on=one_node/policies=100/driver=docker} / {iperf/kept/on=two_nodes/policies=100/driver=docker}"},
		{label: "a LoadBalancer Service: created to its address / to its first answer (median of {balancer/answer/driver=docker:n})",
			value: "{balancer/address/driver=docker} / {balancer/answer/driver=docker}"},
		{label: "nobody answers at a load balancer's address when its node is killed / cut off, or its last pod there deleted",
			value: "{balancer/outage/of=node/by=killed/driver=docker} / {balancer/outage/of=node/by=cut_off/driver=docker}, {balancer/outage/of=pod/by=deleted/driver=docker}"},
		{label: "a claim of class `shared` until bound; a pod with one of class `standard` until it runs / without (median of {claim/standard/driver=docker:n})",
			value: "{claim/shared/driver=docker}; {claim/standard/driver=docker} / {claim/none/driver=docker}"},
		{label: "`kl ui` to its first list of 5,000 pods on 1,000 simulated nodes (median of {ui/list/pods=5000:n})", value: "{ui/list/pods=5000}"},
		{label: "there, key to frame: median / worst of {ui/frame/meanwhile=nothing:n}, worst of {ui/frame/meanwhile=500_pods_are_replaced:n} while 500 pods are replaced; memory",
			value: "{ui/frame/meanwhile=nothing} / {ui/frame/meanwhile=nothing:max}, {ui/frame/meanwhile=500_pods_are_replaced:max}; {ui/memory}"},
		{label: "1000 simulated nodes from nothing to Ready (one run)", value: "{up/simulated/nodes=1000}, {up/simulated/memory/nodes=1000}"},
		{label: "then 10,000 pods from apply to Running (one run)",
			value: "{crowd/nodes=1000/pods=10000/deployments=10}, at most {crowd/memory/nodes=1000/pods=10000/deployments=10}"},
		{label: "`kl version`", value: "{version}"},
		{label: "size of `bin/kl`, of which `kl crictl` and `kl cri check` 12 MB with Kubernetes 1.36", value: "{size}"},
	}
}

// hole is where a figure goes in a line.
var hole = regexp.MustCompile(`\{([^{}:]+)(?::(\w+))?\}`) //nolint:gochecknoglobals // a constant that Go cannot write as one

// marks say that a line is older than the others. Five kinds of old figures are four too many.
const marks = "\\*,†,‡,§,¶"

// Document returns a Markdown document in which the table of figures is up to date.
func Document(text string, f *File) (string, error) {
	before, rest, begins := strings.Cut(text, tableBegins)
	_, after, ends := strings.Cut(rest, tableEnds)
	if !begins || !ends {
		return "", errors.New("the document has no place for the figures")
	}
	table, err := f.document()
	return before + tableBegins + table + tableEnds + after, err
}

func (f *File) document() (string, error) {
	mark, main, err := f.marks()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("\n" + f.about(main, mark) + "\n\n| | |\n| --- | --- |\n")
	for _, l := range readme() {
		label, runs, err := f.fill(l.label)
		value, more, verr := f.fill(l.value)
		if err = cmp.Or(err, verr); err != nil {
			if errors.Is(err, errNoFigure) && l.optional {
				continue
			}
			return "", err
		}
		for _, run := range f.Runs { // in their order
			if m := mark[run.ID]; m != "" && (slices.Contains(runs, run.ID) || slices.Contains(more, run.ID)) {
				label += " " + m
			}
		}
		fmt.Fprintf(&b, "| %s | %s |\n", label, value)
	}
	b.WriteString("\n")
	return b.String(), nil
}

// marks gives each run a mark, but the newest: of that day, the one with most rows.
func (f *File) marks() (mark map[string]string, main Run, err error) {
	rows := map[string]int{}
	for _, r := range f.Rows {
		rows[r.Run]++
	}
	for _, run := range f.Runs {
		if run.Date > main.Date || run.Date == main.Date && rows[run.ID] > rows[main.ID] {
			main = run
		}
	}
	left := strings.Split(marks, ",")
	mark = map[string]string{}
	for _, run := range f.Runs {
		if run.ID == main.ID {
			continue
		}
		if len(left) == 0 {
			return nil, main, fmt.Errorf("the figures are of %d runs: measure the oldest again", len(f.Runs))
		}
		mark[run.ID], left = left[0], left[1:]
	}
	return mark, main, nil
}

// about says where and when the figures are from.
func (f *File) about(main Run, mark map[string]string) string {
	text := "Medians " + f.words(main) + ". The payload was unpacked before; `make bench` measures them on your machine."
	separator := " Those"
	for _, run := range f.Runs {
		if m := mark[run.ID]; m != "" {
			text += separator + " marked " + m + " are " + f.words(run)
			separator = "; those"
		}
	}
	if len(mark) > 0 {
		text += "."
	}
	return wrap(text)
}

// columns is where README's lines end.
const columns = 132

// wrap breaks a paragraph into lines.
func wrap(text string) string {
	var b strings.Builder
	column := 0
	for i, word := range strings.Fields(text) {
		switch n := utf8.RuneCountInString(word); {
		case i == 0:
			column = n
		case column+1+n > columns:
			b.WriteString("\n")
			column = n
		default:
			b.WriteString(" ")
			column += 1 + n
		}
		b.WriteString(word)
	}
	return b.String()
}

// words describes a run. It says how many samples most of its rows have: lines of README whose rows have others say so.
func (f *File) words(r Run) string {
	if r.Note != "" {
		return r.Note
	}
	times, usual := map[int]int{}, 0
	for _, row := range f.Rows {
		if n := row.n(); row.Run == r.ID {
			if times[n]++; times[n] > times[usual] {
				usual = n
			}
		}
	}
	runs := "one run"
	if usual != 1 {
		runs = fmt.Sprintf("%d runs", usual)
	}
	text := fmt.Sprintf("of %s on %s with kl %s and Kubernetes %s, on %s", runs, r.Date, r.KL, r.Kubernetes, r.Machine)
	for _, driver := range []string{"docker", "embedded"} {
		if engine := r.Drivers[driver]; engine != "" {
			text += ", " + engine
		}
	}
	return text
}

// errNoFigure says that a figure is not in the file.
var errNoFigure = errors.New("no such figure")

// fill puts figures into a text, and returns the runs that they are of.
func (f *File) fill(text string) (filled string, runs []string, err error) {
	filled = hole.ReplaceAllStringFunc(text, func(in string) string {
		m := hole.FindStringSubmatch(in)
		key, which := m[1], cmp.Or(m[2], "median")
		row, ok := f.row(key)
		if !ok {
			err = cmp.Or(err, fmt.Errorf("README shows %s, which is not in the file: %w", key, errNoFigure))
			return ""
		}
		v, ferr := row.figure(which)
		if err = cmp.Or(err, ferr); ferr != nil {
			return ""
		}
		runs = append(runs, row.Run)
		switch which {
		case "n":
			return fmt.Sprint(v)
		case "ratio":
			return Format("", v)
		}
		return Format(row.Unit, v)
	})
	return filled, runs, err
}
