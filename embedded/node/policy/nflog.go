package policy

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/klkube/kl/cluster/policy"
)

// logKind is why a packet was logged.
type logKind byte

const (
	logAllowed logKind = 'A' // id is the hash of the policy that allowed it
	logDenied  logKind = 'D' // id is the group whose policies did not allow it
	logUnknown logKind = 'U' // the pod was not programmed yet
	logSpoofed logKind = 'S' // the source address is not that of the pod that sent it
)

// logPrefix is the text that rules attach to logged packets; it tells the agent the decision.
type logPrefix struct {
	kind      logKind
	direction policy.Direction
	id        string
}

func (p logPrefix) String() string {
	return "kl:" + string(p.kind) + ":" + short(p.direction) + ":" + p.id
}

func parseLogPrefix(s string) (logPrefix, bool) {
	f := strings.Split(strings.TrimRight(s, "\x00"), ":")
	if len(f) != 4 || f[0] != "kl" || len(f[1]) != 1 {
		return logPrefix{}, false
	}
	d := policy.Ingress
	if f[2] == "e" {
		d = policy.Egress
	}
	return logPrefix{logKind(f[1][0]), d, f[3]}, true
}

// packet is a logged packet: the first of a connection, or one of a connection that is no longer allowed.
type packet struct {
	prefix   logPrefix
	from, to netip.Addr
	fromPort uint16
	port     uint16
	protocol corev1.Protocol
	link     uint32 // index of the interface that a spoofed packet arrived on
}

// Numbers of the nfnetlink_log protocol: linux/netfilter/nfnetlink_log.h.
const (
	ulogPacket    = unix.NFNL_SUBSYS_ULOG << 8
	ulogConfig    = unix.NFNL_SUBSYS_ULOG<<8 | 1
	ulogInDevice  = 4
	ulogPayload   = 9
	ulogPrefix    = 10
	ulogCfgCmd    = 1
	ulogCfgMode   = 2
	ulogCfgTime   = 4
	ulogCfgThresh = 5
	ulogBind      = 1
	ulogCopy      = 2
	ulogSnap      = 128 // bytes: IPv4 header with options, and the ports
)

// listenLog binds to an nflog group of the network namespace. It fails if the kernel has no nfnetlink_log or another
// program holds the group.
func listenLog(group uint16) (*netlink.Conn, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("open netfilter socket: %w", err)
	}
	_ = c.SetReadBuffer(1 << 20) // with a smaller buffer, messages are lost earlier
	for _, attrs := range [][]netlink.Attribute{
		{{Type: ulogCfgCmd, Data: []byte{ulogBind}}},
		{{Type: ulogCfgMode, Data: []byte{0, 0, 0, ulogSnap, ulogCopy, 0}}},
		{ // deliver after 32 messages or a tenth of a second
			{Type: ulogCfgTime, Data: binary.BigEndian.AppendUint32(nil, 10)},
			{Type: ulogCfgThresh, Data: binary.BigEndian.AppendUint32(nil, 32)},
		},
	} {
		if err := configureLog(c, group, attrs); err != nil {
			return nil, errors.Join(fmt.Errorf("bind to nflog group %d: %w", group, err), c.Close())
		}
	}
	return c, nil
}

func configureLog(c *netlink.Conn, group uint16, attrs []netlink.Attribute) error {
	body, err := netlink.MarshalAttributes(attrs)
	if err != nil {
		return err
	}
	header := binary.BigEndian.AppendUint16([]byte{unix.AF_UNSPEC, unix.NFNETLINK_V0}, group)
	_, err = c.Execute(netlink.Message{
		Header: netlink.Header{Type: ulogConfig, Flags: netlink.Request | netlink.Acknowledge},
		Data:   append(header, body...),
	})
	return err
}

// readLog passes logged packets to visit until ctx is done or the socket fails, and closes the socket. lost is called when the
// kernel reports that it has dropped messages.
func readLog(ctx context.Context, c *netlink.Conn, visit func(packet), lost func()) error {
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer func() {
		if stop() {
			c.Close()
		}
	}()
	for {
		msgs, err := c.Receive()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, unix.ENOBUFS):
			lost()
			continue
		case err != nil:
			return fmt.Errorf("read nflog: %w", err)
		}
		for _, m := range msgs {
			if p, ok := parseLog(m); ok {
				visit(p)
			}
		}
	}
}

func parseLog(m netlink.Message) (packet, bool) {
	if m.Header.Type != ulogPacket || len(m.Data) < 4 {
		return packet{}, false
	}
	d, err := netlink.NewAttributeDecoder(m.Data[4:])
	if err != nil {
		return packet{}, false
	}
	var payload []byte
	var prefix string
	var link uint32
	for d.Next() {
		switch d.Type() {
		case ulogInDevice:
			if b := d.Bytes(); len(b) == 4 {
				link = binary.BigEndian.Uint32(b)
			}
		case ulogPayload:
			payload = d.Bytes()
		case ulogPrefix:
			prefix = d.String()
		}
	}
	pre, ok := parseLogPrefix(prefix)
	if !ok || d.Err() != nil {
		return packet{}, false
	}
	p, ok := parseIPv4(payload)
	if !ok && pre.kind == logSpoofed {
		if p, ok = parseIPv6(payload); !ok {
			p, ok = parseARP(payload)
		}
	}
	if pre.kind == logSpoofed {
		p.link = link
	}
	p.prefix = pre
	return p, ok
}

// parseIPv6 parses the addresses, and the ports if they follow the header; false if it is too short or not IPv6.
func parseIPv6(b []byte) (packet, bool) {
	if len(b) < 40 || b[0]>>4 != 6 {
		return packet{}, false
	}
	p := packet{
		from: netip.AddrFrom16([16]byte(b[8:24])), to: netip.AddrFrom16([16]byte(b[24:40])), protocol: protocolName(b[6]),
	}
	switch b[6] {
	case unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP:
		if len(b) >= 44 {
			p.port = binary.BigEndian.Uint16(b[42:])
		}
	}
	return p, true
}

// parseARP parses the addresses of a packet about IPv4 on Ethernet: false if it is another one.
func parseARP(b []byte) (packet, bool) {
	if len(b) < 28 || !bytes.HasPrefix(b, []byte{0, 1, 8, 0, 6, 4}) {
		return packet{}, false
	}
	return packet{from: netip.AddrFrom4([4]byte(b[14:18])), to: netip.AddrFrom4([4]byte(b[24:28])), protocol: "ARP"}, true
}

// parseIPv4 parses the addresses and ports of a packet; false if it is too short or not IPv4.
func parseIPv4(b []byte) (packet, bool) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return packet{}, false
	}
	p := packet{
		from: netip.AddrFrom4([4]byte(b[12:16])), to: netip.AddrFrom4([4]byte(b[16:20])),
		protocol: protocolName(b[9]),
	}
	head := int(b[0]&0xf) * 4
	switch b[9] {
	case unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP:
		if head >= 20 && len(b) >= head+4 {
			p.fromPort = binary.BigEndian.Uint16(b[head:])
			p.port = binary.BigEndian.Uint16(b[head+2:])
		}
	}
	return p, true
}

func protocolName(n byte) corev1.Protocol {
	switch n {
	case unix.IPPROTO_TCP:
		return corev1.ProtocolTCP
	case unix.IPPROTO_UDP:
		return corev1.ProtocolUDP
	case unix.IPPROTO_SCTP:
		return corev1.ProtocolSCTP
	case unix.IPPROTO_ICMP:
		return "ICMP"
	}
	return corev1.Protocol(fmt.Sprintf("IP-%d", n))
}
