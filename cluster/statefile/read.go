package statefile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"unicode/utf8"
)

// MaxSize is the size in bytes of the largest file that Read reads. State and configuration are far smaller.
const MaxSize = 16 << 20

// Read reads a regular file of at most MaxSize bytes. It returns ErrNotRegular for anything else, instead of waiting for the
// writer of a pipe or reading a device. The error names the path.
func Read(path string) ([]byte, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err == nil && len(data) > MaxSize {
		err = fmt.Errorf("is larger than %d MB", MaxSize>>20)
	}
	if err != nil {
		return nil, named("read", path, err)
	}
	return data, nil
}

// ReadJSON reads a file that holds one JSON document, as Read does. What is wrong with the content is said in plain words.
func ReadJSON(path string, into any) error {
	data, err := Read(path)
	if err != nil {
		return err
	}
	return named("read", path, DecodeJSON(data, into))
}

// DecodeJSON is json.Unmarshal whose errors are made for people: no types of Go.
func DecodeJSON(data []byte, into any) error {
	if strings.TrimSpace(string(data)) == "" {
		return errors.New("is empty")
	}
	return Plain(json.Unmarshal(data, into))
}

// Plain says in one line of plain words what encoding/json and sigs.k8s.io/yaml say in Go's; other errors it returns as they are.
func Plain(err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &syntax) && strings.Contains(syntax.Error(), "unexpected end"), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("ends in the middle of a value")
	case errors.As(err, &syntax):
		return fmt.Errorf("is not JSON: %w, at byte %d", syntax, syntax.Offset)
	case errors.As(err, &kind) && kind.Field == "":
		return fmt.Errorf("is of the wrong type: %s", kind.Value)
	case errors.As(err, &kind):
		return fmt.Errorf("%s is of the wrong type: %s", kind.Field, kind.Value)
	}
	text := err.Error()
	// sigs.k8s.io/json, and what wraps it as text, has errors of its own.
	typed := regexp.MustCompile(`(couldn't get version/kind; json parse error: )?json: cannot unmarshal (\w+) into Go (struct field \w*\.?(\S+)|value) of type [^\n]*`)
	own := typed.MatchString(text)
	text = strings.ReplaceAll(typed.ReplaceAllString(text, "$4 is of the wrong type: $2"), ":  is of", ": is of")
	for _, prefix := range []string{"error unmarshaling JSON: ", "while decoding JSON: ", "json: ", "error converting YAML to JSON: ", "yaml: ", "unmarshal errors:\n"} {
		if cut, found := strings.CutPrefix(text, prefix); found {
			text, own = cut, true
		}
	}
	if !own {
		return err
	}
	return errors.New(Shorten(strings.Join(strings.Fields(text), " "), maxText))
}

// maxText is how many bytes of a decoder's complaint are shown: it may quote what it complains of.
const maxText = 200

// Shorten cuts a text that is longer than so many bytes, between two characters, and marks the cut with an ellipsis beyond them.
// Whatever is quoted to people or kept for them and may be of any length goes through it. What is drawn to the width of a
// terminal does not: package ui/kit knows how wide characters are.
func Shorten(text string, size int) string {
	if len(text) <= size {
		return text
	}
	for end := size; end >= 0 && end > size-utf8.UTFMax; end-- {
		if utf8.RuneStart(text[end]) {
			return text[:end] + "…"
		}
	}
	return text[:size] + "…" // this is no text
}

// Open opens a regular file for reading. It returns ErrNotRegular for anything else, and never waits for the writer of a pipe.
func Open(path string) (*os.File, error) { return open("read", path, os.O_RDONLY, 0) }

// OpenWithin opens a regular file below dir for reading, as Open does, and follows no link that leads out of dir: whoever can
// write there must not choose what is read elsewhere.
func OpenWithin(dir, name string) (*os.File, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	info, err := root.Stat(name)
	if err == nil && !info.Mode().IsRegular() { // to open a device may do something
		err = notRegular{info.Mode(), "regular file"}
	}
	if err != nil {
		return nil, named("read", filepath.Join(dir, name), Cause(err))
	}
	return root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

// OpenLog opens a regular file for appending to, and for reading; it is made with that mode if it is missing, and then belongs to
// whom Write would give it. A symbolic link is not followed.
func OpenLog(path string, mode os.FileMode) (*os.File, error) {
	return open("write", path, os.O_RDWR|os.O_CREATE|os.O_APPEND, mode)
}

func open(op, path string, flags int, mode os.FileMode) (*os.File, error) {
	return openAs(op, path, flags, mode, fs.FileMode.IsRegular, "regular file")
}

// openAs opens what right accepts, and calls what it wants by that name in the error for anything else.
func openAs(op, path string, flags int, mode os.FileMode, right func(fs.FileMode) bool, want string) (*os.File, error) {
	refuse := func(info fs.FileInfo) error { return named(op, path, notRegular{info.Mode(), want}) }
	if info, err := os.Stat(path); err == nil && !right(info.Mode()) { // to open a device may do something
		return nil, refuse(info)
	}
	creates := flags&os.O_CREATE != 0
	if creates { // what may be written to is not where a link leads
		flags |= syscall.O_NOFOLLOW
	}
	f, err := os.OpenFile(path, flags|syscall.O_NONBLOCK, mode)
	if errors.Is(err, syscall.ELOOP) && creates {
		err = named(op, path, fmt.Errorf("is a symbolic link: %w", syscall.ELOOP))
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !right(info.Mode()) {
		err = refuse(info)
	}
	if err == nil && creates && info.Size() == 0 { // perhaps a new one
		err = ownAsDir(f, path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
