package payload

import (
	"bytes"
	"strings"
	"testing"
)

// restored writes what an archive has of a file in pieces of a size, as Unpack does.
func restored(t *testing.T, archived []byte, code Span, piece int) []byte {
	t.Helper()
	var b bytes.Buffer
	w := &codeWriter{w: &b, code: code}
	for len(archived) > 0 {
		n := min(piece, len(archived))
		if got, err := w.Write(archived[:n]); err != nil || got != n {
			t.Fatalf("Write = %d, %v, want %d", got, err, n)
		}
		archived = archived[n:]
	}
	return b.Bytes()
}

// FuzzCode checks that every file comes out of an archive as it went in, wherever its code is and however it is read.
func FuzzCode(f *testing.F) {
	call := "\xe8\x10\x00\x00\x00"
	load := "\x48\x8d\x05\x10\x00\x00\x00"
	f.Add([]byte(strings.Repeat(call+load, 20)), uint16(3), uint16(200), uint8(7))
	f.Add([]byte(strings.Repeat("\x48\xe8\x83\x3d\x0f\x10\x05", 20)), uint16(0), uint16(140), uint8(1))
	f.Add([]byte(strings.Repeat("\x0f\xe8\x05\x48\x8d\x0d\xe8\xe8", 9)), uint16(1), uint16(17), uint8(16))
	f.Add([]byte(call), uint16(0), uint16(5), uint8(2))
	f.Fuzz(func(t *testing.T, file []byte, offset, length uint16, piece uint8) {
		code := Span{Offset: min(int64(offset), int64(len(file)))}
		code.Length = min(int64(length), int64(len(file))-code.Offset)
		archived := bytes.Clone(file)
		Absolute(archived[code.Offset : code.Offset+code.Length])
		if got := restored(t, archived, code, int(piece)+1); !bytes.Equal(got, file) {
			t.Errorf("code at %+v, read by %d bytes:\n%x became\n%x", code, int(piece)+1, file, got)
		}
	})
}

// Two calls of a function, from different places, are the same in an archive.
func TestAbsolute(t *testing.T) {
	code := []byte("\x90\xe8\x1a\x00\x00\x00\x90\x90\xe8\x13\x00\x00\x00" + strings.Repeat("\x90", longest))
	Absolute(code)
	if want := []byte("\xe8\x00\x00\x00\x20"); !bytes.Equal(code[1:6], want) || !bytes.Equal(code[8:13], want) {
		t.Errorf("code is % x, want twice % x", code, want)
	}
}
