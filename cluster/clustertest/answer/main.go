// Command answer sends back what it receives on a port, as a program in a node that tests can talk to:
//
//	answer tcp 80
//	answer udp 53
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "answer:", run(os.Args[1:]))
	os.Exit(1)
}

// run answers until it fails.
func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "tcp":
		return answerTCP(":" + args[1])
	case len(args) == 2 && args[0] == "udp":
		return answerUDP(":" + args[1])
	}
	return errors.New("usage: answer tcp|udp PORT")
}

func answerTCP(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			_, _ = io.Copy(c, c) // a client that is gone wants no answer
		}()
	}
}

func answerUDP(address string) error {
	c, err := net.ListenPacket("udp", address)
	if err != nil {
		return err
	}
	packet := make([]byte, 64<<10)
	for {
		n, client, err := c.ReadFrom(packet)
		if err != nil {
			return err
		}
		if _, err := c.WriteTo(packet[:n], client); err != nil {
			return err
		}
	}
}
