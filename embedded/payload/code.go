package payload

import (
	"encoding/binary"
	"io"
)

// Span is a part of a file.
type Span struct {
	Offset int64 `json:"offset"`
	Length int64 `json:"length"`
}

// longest is how many bytes at the end of code are never changed: more than an instruction has.
const longest = 16

// first are the bytes that the instructions begin with that reference knows. Most bytes of code are none of them.
func first() (known [256]bool) {
	for _, b := range []byte{0xe8, 0x83, 0x48, 0x4c, 0x0f} {
		known[b] = true
	}
	return known
}

// reference looks for one of the frequent amd64 instructions that hold the distance from their end to what they call or use:
// the 4 bytes at b[at:], of an instruction that ends at b[end]. Without one, at is 0. It does not look at a distance itself,
// so that it finds the same in code with distances and in code with addresses; data that looks like an instruction does no harm.
func reference(b *[longest]byte) (at, end int) {
	switch b[0] {
	case 0xe8: // call
		return 1, 5
	case 0x83: // compare, as every write barrier does
		if b[1] == 0x3d {
			return 2, 7
		}
	case 0x48, 0x4c: // load an address, load, store, compare: with an operand at a distance
		if b[2]&0xc7 == 0x05 && (b[1] == 0x8d || b[1] == 0x8b || b[1] == 0x89 || b[1] == 0x39 || b[1] == 0x3b) {
			return 3, 7
		}
	case 0x0f: // move vectors, load bytes and words
		if b[2]&0xc7 == 0x05 && (b[1]&0xf8 == 0x10 || b[1] == 0x28 || b[1] == 0xb6 || b[1] == 0xb7) {
			return 3, 7
		}
	}
	return 0, 0
}

// Absolute replaces the distances in amd64 code by addresses, in place: all calls of a function then look the same, which makes
// Go programs an eighth smaller once they are compressed. Unpack reverses it.
func Absolute(code []byte) {
	known := first()
	for i := 0; i < len(code)-longest; i++ {
		if !known[code[i]] {
			continue
		}
		if at, end := reference((*[longest]byte)(code[i:])); at > 0 {
			distance := code[i+at:]
			binary.BigEndian.PutUint32(distance, binary.LittleEndian.Uint32(distance)+uint32(i+end))
			i += at + 3
		}
	}
}

// relative reverses Absolute for code that begins at an address, but for its end, which takes more code to tell. It returns how
// many bytes it is done with.
func relative(code []byte, address int64) int {
	known := first()
	i := 0
	for ; i < len(code)-longest; i++ {
		if !known[code[i]] {
			continue
		}
		if at, end := reference((*[longest]byte)(code[i:])); at > 0 {
			distance := code[i+at:]
			binary.LittleEndian.PutUint32(distance, binary.BigEndian.Uint32(distance)-uint32(address)-uint32(i+end))
			i += at + 3
		}
	}
	return i
}

// codeWriter writes a file to w whose code has been changed by Absolute, and reverses that.
type codeWriter struct {
	w    io.Writer
	code Span
	pos  int64  // of the next byte that Write gets
	held []byte // code that w has not got yet
}

func (c *codeWriter) Write(b []byte) (int, error) {
	n := 0
	for n < len(b) {
		part := b[n:]
		limit := c.code.Offset
		if c.pos >= limit {
			limit += c.code.Length
		}
		if c.pos >= limit { // behind the code
			m, err := c.w.Write(part)
			c.pos += int64(m)
			return n + m, err
		}
		part = part[:min(int64(len(part)), limit-c.pos)]
		var err error
		if c.pos < c.code.Offset {
			_, err = c.w.Write(part)
		} else {
			err = c.take(part)
		}
		if err != nil {
			return n, err
		}
		c.pos += int64(len(part))
		n += len(part)
	}
	return n, nil
}

// take writes code, and keeps what it needs more code for.
func (c *codeWriter) take(code []byte) error {
	began := c.pos - int64(len(c.held)) - c.code.Offset
	c.held = append(c.held, code...)
	done := relative(c.held, began)
	if c.pos+int64(len(code)) == c.code.Offset+c.code.Length {
		done = len(c.held)
	}
	_, err := c.w.Write(c.held[:done])
	c.held = append(c.held[:0], c.held[done:]...)
	return err
}
