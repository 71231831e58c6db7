package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/host"
	"github.com/klkube/kl/cluster/statefile"
	"github.com/klkube/kl/cluster/timeline"
)

// timelineFlag is the value of --timeline[=FILE.svg].
type timelineFlag struct {
	on   bool
	file string // to draw into as well; empty for none
}

// timelineText is what --timeline without a file is.
const timelineText = "text"

func (f *timelineFlag) String() string {
	if f.on && f.file == "" {
		return timelineText
	}
	return f.file
}

// Set implements pflag.Value.
func (f *timelineFlag) Set(s string) error {
	switch {
	case s == timelineText:
		*f = timelineFlag{on: true}
	case strings.EqualFold(filepath.Ext(s), ".svg"):
		*f = timelineFlag{on: true, file: s}
	default:
		return errors.New("use the name of a file that ends in .svg")
	}
	return nil
}

// Type implements pflag.Value.
func (f *timelineFlag) Type() string { return "file" }

// check refuses a file that cannot be there, before anything starts.
func (f *timelineFlag) check() error {
	if f.file == "" {
		return nil
	}
	refuse := func(err error) error {
		return &cluster.Error{Op: "draw timeline", Err: err, Hint: "choose another file"}
	}
	if info, err := os.Stat(f.file); err == nil && info.IsDir() {
		return refuse(fmt.Errorf("%s is a directory", f.file))
	}
	dir := filepath.Dir(f.file)
	if info, err := os.Stat(dir); err != nil {
		return refuse(err)
	} else if !info.IsDir() {
		return refuse(fmt.Errorf("%s is not a directory", dir))
	}
	return nil
}

// chart draws the timeline into its file, if it has one.
func (f *timelineFlag) chart(ctx context.Context, e *env, r *host.Result) (*timeline.Chart, error) {
	if !f.on {
		return nil, nil
	}
	title := fmt.Sprintf("Start of cluster %s: %.1f s", r.Cluster, r.Seconds)
	if r.Running {
		title = fmt.Sprintf("Cluster %s was running already: %.1f s", r.Cluster, r.Seconds)
	}
	c := timeline.Of(timeline.Start{
		Title: title, Began: r.Began, Steps: r.Steps, Events: r.Events, Status: r.Status,
		Programs: nodePrograms(ctx, cluster.NewClient(e.Home.Cluster(r.Cluster)), r.Status.Nodes),
	})
	if f.file == "" {
		return &c, nil
	}
	var picture strings.Builder
	if err := c.WriteSVG(&picture); err != nil {
		return nil, err
	}
	if err := statefile.Replace(f.file, []byte(picture.String()), 0o644); err != nil {
		return nil, &cluster.Error{Op: "draw timeline", Err: err, Hint: "the cluster is up"}
	}
	return &c, nil
}

// nodePrograms asks each node for its components. Those of a node that does not answer are not in the chart.
func nodePrograms(ctx context.Context, c *cluster.Client, nodes []cluster.NodeStatus) map[string]cluster.NodeProgram {
	defer c.Close()
	programs := map[string]cluster.NodeProgram{}
	for _, n := range nodes {
		if p, err := nodeProgram(ctx, c, n.Name); err == nil {
			programs[n.Name] = p
		}
	}
	return programs
}

func nodeProgram(ctx context.Context, c *cluster.Client, node string) (cluster.NodeProgram, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return c.NodeProgram(ctx, node)
}

// finish prints the result of kl up, and the timeline if it was asked for. text prints the result if it is not to be JSON.
func (f *upFlags) finish(ctx context.Context, e *env, r *host.Result, text func(io.Writer, *host.Result)) error {
	chart, err := f.timeline.chart(ctx, e, r)
	if f.output.isJSON() {
		document := map[string]any{"result": r}
		if chart != nil {
			document["timeline"] = chart
		}
		return errors.Join(json.NewEncoder(e.Out).Encode(document), err)
	}
	text(e.Out, r)
	if err != nil || chart == nil {
		return err
	}
	fmt.Fprintln(e.Out)
	if err := chart.WriteText(e.Out); err != nil {
		return err
	}
	if f.timeline.file != "" {
		fmt.Fprintf(e.Out, "Picture: %s\n", printable(f.timeline.file))
	}
	return nil
}
