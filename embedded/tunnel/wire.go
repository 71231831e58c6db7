package tunnel

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/libp2p/go-yamux/v5"

	"github.com/klkube/kl/cluster/statefile"
)

// Limits on what the other side may ask for before it is known or trusted.
const (
	maxLine          = 4096             // bytes of a hello, a header or an answer
	handshakeTimeout = 10 * time.Second // for a hello, a header or an answer to arrive
	dialTimeout      = 15 * time.Second // for a connection made on behalf of the other side
	maxHandshakes    = 256              // connections that have not said a valid hello yet
	maxStreams       = 4096             // streams of one session served at the same time
)

// protocol is the version of the wire format. A node that was made by an older kl still speaks an older one.
const protocol = 3

// The kinds of stream.
const (
	kindAPI   = "api"   // agent to hub: the API server
	kindJoin  = "join"  // agent to hub: a token, as text, to join the cluster with
	kindDial  = "dial"  // hub to agent: a TCP address
	kindAgent = "agent" // hub to agent: the agent's HTTP handler
	kindHost  = "host"  // agent to hub: the hub's HTTP handler for that node
)

// hello is the first line of a connection.
type hello struct {
	Node    string `json:"node"`
	Token   string `json:"token"`
	Version string `json:"version,omitempty"`
	// Protocol is missing in protocol 1.
	Protocol int `json:"protocol,omitempty"`
}

// header is the first line of a stream.
type header struct {
	Kind    string `json:"kind"`
	Network string `json:"network,omitempty"`
	Address string `json:"address,omitempty"`
}

// answer is the line that comes back for a hello or a header.
type answer struct {
	OK    bool   `json:"ok,omitempty"`
	Error string `json:"error,omitempty"`
}

// RefusedError is the reason that the other side gave for not serving a stream or a session.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return "refused by the other side: " + e.Reason }

var errLineTooLong = fmt.Errorf("line is longer than %d bytes", maxLine)

// readLine reads one JSON line into v and not a byte more: what follows the line is read by the caller.
func readLine(r io.Reader, v any) error {
	line := make([]byte, 0, 128)
	var b [1]byte
	for {
		n, err := r.Read(b[:])
		switch {
		case n == 1 && b[0] == '\n':
			if err := json.Unmarshal(line, v); err != nil {
				return fmt.Errorf("decode line: %w", err)
			}
			return nil
		case n == 1 && len(line) == maxLine:
			return errLineTooLong
		case n == 1:
			line = append(line, b[0])
		case errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
	}
}

func writeLine(w io.Writer, v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode line: %w", err)
	}
	_, err = w.Write(append(line, '\n'))
	return err
}

// readAnswer reads an answer and turns a refusal into an error.
func readAnswer(r io.Reader) error {
	var a answer
	if err := readLine(r, &a); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if !a.OK {
		return &RefusedError{Reason: a.Error}
	}
	return nil
}

// refuse answers with an error, cut to what fits in a line.
func refuse(w io.Writer, err error) {
	reason := statefile.Shorten(err.Error(), maxLine/8) // JSON needs up to six bytes for one
	_ = writeLine(w, answer{Error: reason})             // the connection is closed next, whether or not the reason arrives
}

// yamuxConfig is how both sides multiplex. A peer that is frozen (docker pause) or gone is noticed within
// KeepAliveInterval + ConnectionWriteTimeout.
func yamuxConfig(logger *slog.Logger) *yamux.Config {
	c := yamux.DefaultConfig()
	c.KeepAliveInterval = 15 * time.Second
	c.ConnectionWriteTimeout = 20 * time.Second
	c.MaxStreamWindowSize = c.InitialStreamWindowSize // what a stream may buffer; over a unix socket more gains nothing
	c.MaxIncomingStreams = 2 * maxStreams             // accept refuses them earlier, with a reason
	c.LogOutput = slog.NewLogLogger(logger.Handler(), slog.LevelDebug).Writer()
	return c
}

func loggerOr(l *slog.Logger) *slog.Logger {
	if l == nil {
		return slog.New(slog.DiscardHandler)
	}
	return l
}
