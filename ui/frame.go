package ui

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/lipgloss"
	"github.com/charmbracelet/x/ansi"
	"github.com/muesli/termenv"

	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/ui/kit"
)

// FrameFormat is the format that a frame is written in.
type FrameFormat string

// The formats of a frame.
const (
	FrameText FrameFormat = "text" // without colours
	FrameANSI FrameFormat = "ansi" // with escape sequences, in true colour
	FrameSVG  FrameFormat = "svg"
)

// FrameOptions say which frame to draw.
type FrameOptions struct {
	Width, Height int
	Format        FrameFormat
	Light         bool          // colours for a light background
	Keys          []string      // pressed before the frame is drawn: "enter", "down", "v", …
	Wait          time.Duration // longest time to wait for data; 15 s if 0
}

// ParseSize reads a size such as 120x40.
func ParseSize(s string) (width, height int, err error) {
	w, h, ok := strings.Cut(s, "x")
	width, err1 := strconv.Atoi(w)
	height, err2 := strconv.Atoi(h)
	if !ok || err1 != nil || err2 != nil || width < 20 || height < 6 || width > 1000 || height > 1000 {
		return 0, 0, fmt.Errorf("size %q is not WIDTHxHEIGHT, as in 120x40", s)
	}
	return width, height, nil
}

// Frame writes one frame of a screen. It observes the target until everything has been listed, but no longer than
// FrameOptions.Wait, and draws what is known by then.
func Frame(ctx context.Context, o Options, f FrameOptions) error {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	observe.LogClients(o.Logger)
	profile := termenv.TrueColor
	if f.Format == FrameText {
		profile = termenv.Ascii
	}
	r := lipgloss.NewRenderer(io.Discard)
	r.SetColorProfile(profile)
	r.SetHasDarkBackground(!f.Light)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m := newModel(o, kit.NewStyles(r))
	m.connectWith(ctx)
	m.Update(tea.WindowSizeMsg{Width: f.Width, Height: f.Height})
	s, err := connect(ctx, o.Target, o)
	if err != nil {
		return err
	}
	defer s.close()
	d := newDriver(ctx, m)
	d.send(connectedMsg{s, o.Target, nil})
	wait := f.Wait
	if wait == 0 {
		wait = 15 * time.Second
	}
	d.until(wait, func() bool {
		snap := m.state.snap
		return snap.Synced() && snap.Usage != nil && snap.Plane != nil && (o.Target.Layout == nil || snap.KL != nil)
	})
	for _, k := range f.Keys {
		d.send(kit.KeyPress(k))
		d.until(300*time.Millisecond, func() bool { return false })
	}
	d.until(5*time.Second, func() bool { return !m.pending() })
	if c := m.state.snap.Conn; c.State == observe.Connecting {
		return fmt.Errorf("connect to %s: %s", o.Target.Name, c.Err)
	}
	return WriteFrame(o.Out, m.View(), f)
}

// WriteFrame writes a frame in the format of f.
func WriteFrame(out io.Writer, frame string, f FrameOptions) error {
	var err error
	switch f.Format {
	case FrameText:
		_, err = fmt.Fprintln(out, trimRight(ansi.Strip(frame)))
	case FrameSVG:
		err = kit.WriteSVG(out, frame, kit.Area{W: f.Width, H: f.Height}, f.Light)
	default:
		_, err = fmt.Fprintln(out, frame)
	}
	if err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	return nil
}

func trimRight(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(l, " ")
	}
	return strings.Join(lines, "\n")
}

// driver runs a model without a terminal. Like bubbletea, it runs commands in goroutines and handles their messages one
// after the other.
type driver struct {
	ctx  context.Context // ends the commands; a driver does not outlive the call of Frame
	m    *Model
	msgs chan tea.Msg
}

func newDriver(ctx context.Context, m *Model) *driver {
	return &driver{ctx: ctx, m: m, msgs: make(chan tea.Msg, 64)}
}

func (d *driver) send(msg tea.Msg) {
	_, cmd := d.m.Update(msg)
	d.run(cmd)
}

func (d *driver) run(cmd tea.Cmd) {
	if cmd == nil {
		return
	}
	go func() {
		msg := cmd()
		if msg == nil {
			return
		}
		select {
		case d.msgs <- msg:
		case <-d.ctx.Done():
		}
	}()
}

// until handles messages until done returns true, or for as long as wait.
func (d *driver) until(wait time.Duration, done func() bool) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for !done() {
		select {
		case <-d.ctx.Done():
			return
		case <-timer.C:
			return
		case msg := <-d.msgs:
			if batch, ok := msg.(tea.BatchMsg); ok {
				for _, c := range batch {
					d.run(c)
				}
				continue
			}
			d.send(msg)
		}
	}
}
