package traffic

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/klkube/kl/embedded/tour"
)

// maxAnswer is how much of an answer is read, in bytes.
const maxAnswer = 1 << 20

// asker asks one server again and again, each time over a new connection, so that a Service chooses anew.
type asker struct {
	target  *url.URL
	timeout time.Duration
	dialer  net.Dialer
	client  *http.Client
}

// newAsker checks the flags of a client. bind is the address to ask from, or empty.
func newAsker(target string, timeout time.Duration, bind string) (*asker, error) {
	u, err := url.Parse(target)
	if err != nil || u.Host == "" {
		return nil, tour.Usagef("%q is not a URL: want http://HOST:PORT/PATH, tcp://HOST:PORT or udp://HOST:PORT", target)
	}
	if timeout <= 0 {
		return nil, tour.Usagef("--timeout is %s: want more than 0", timeout)
	}
	a := &asker{target: u, timeout: timeout}
	switch u.Scheme {
	case "http", "https":
	case "tcp", "udp":
		if u.Port() == "" || u.Path != "" && u.Path != "/" {
			return nil, tour.Usagef("%q: want a port and no path, as in %s://server:8081", target, u.Scheme)
		}
	default:
		return nil, tour.Usagef("%q begins with %s://: want http, https, tcp or udp", target, u.Scheme)
	}
	if bind != "" {
		ip := net.ParseIP(bind)
		switch {
		case ip == nil:
			return nil, tour.Usagef("--bind is %q: want an IP address of this host", bind)
		case u.Scheme == "udp":
			a.dialer.LocalAddr = &net.UDPAddr{IP: ip}
		default:
			a.dialer.LocalAddr = &net.TCPAddr{IP: ip}
		}
	}
	a.client = &http.Client{
		// Redirects are answers, too. A proxy would hide who answers.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{DialContext: a.dialer.DialContext, DisableKeepAlives: true},
	}
	return a, nil
}

// ask returns the answer to one request, without the newline at its end. Over TCP that is the first line. With an HTTP status from 400 on it returns both the answer and
// an error.
func (a *asker) ask(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	if strings.HasPrefix(a.target.Scheme, "http") {
		return a.askHTTP(ctx)
	}
	c, err := a.dialer.DialContext(ctx, a.target.Scheme, a.target.Host)
	if err != nil {
		return "", err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	var answer []byte
	if a.target.Scheme == "udp" {
		if _, err := c.Write([]byte("who answers?\n")); err != nil {
			return "", err
		}
		buf := make([]byte, 2048)
		n, err := c.Read(buf)
		if err != nil {
			return "", err
		}
		answer = buf[:n]
	} else if answer, err = bufio.NewReader(io.LimitReader(c, maxAnswer)).ReadBytes('\n'); err != nil && len(answer) == 0 {
		return "", err
	}
	return strings.TrimSuffix(string(answer), "\n"), nil
}

func (a *asker) askHTTP(ctx context.Context) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, a.target.String(), nil)
	if err != nil {
		return "", err
	}
	response, err := a.client.Do(r)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return "", err
	}
	answer := strings.TrimSuffix(string(body), "\n")
	if response.StatusCode >= http.StatusBadRequest {
		return answer, &statusError{response.StatusCode}
	}
	return answer, nil
}

// statusError is an HTTP status that says that a request failed.
type statusError struct{ code int }

func (e *statusError) Error() string { return fmt.Sprintf("status %d", e.code) }

// reason says in a few words why there was no answer.
func reason(err error) string {
	var status *statusError
	var name *net.DNSError
	var timeout net.Error
	switch {
	case errors.As(err, &status):
		return status.Error()
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET):
		return "reset"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "unreachable"
	case errors.As(err, &name) && name.IsNotFound:
		return "unknown host"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "timed out"
	case errors.Is(err, context.Canceled):
		return "stopped"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "closed without an answer"
	}
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err
	}
	return err.Error()
}

// responder is who gave an answer: what the line of a server begins with, or else the first line.
func responder(answer string) string {
	line, _, _ := strings.Cut(answer, "\n")
	name, _, _ := strings.Cut(line, " answers ")
	return name
}
