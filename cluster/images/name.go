package images

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/distribution/reference"

	"github.com/klkube/kl/cluster"
)

// Match is an image that a text stands for.
type Match struct {
	cluster.Image
	Named []string // those of its names that the text stands for: all, if it is an ID
}

// hexDigits are of an ID, or its beginning; shorter ones are too likely to be names.
var hexDigits = regexp.MustCompile(`^[0-9a-f]{4,64}$`) //nolint:gochecknoglobals // is not changed

// Find returns the images of a list that a text stands for as people write it: a name (app, app:dev, localhost:5000/app), a name by digest
// with or without a tag, or the ID or digest of an image, or the beginning of one. Names go before IDs. Nodes may have different images
// under one name, so that a list of several nodes has more than one. The error is about a text that can be no name.
func Find(list []cluster.Image, text string) ([]Match, error) {
	if id, ok := strings.CutPrefix(text, "sha256:"); ok && hexDigits.MatchString(id) {
		return findID(list, id)
	}
	named, err := parse(text)
	if err != nil && !hexDigits.MatchString(text) {
		return nil, err
	}
	var found []Match
	for _, image := range list {
		m := Match{Image: image}
		for _, name := range image.Names {
			if err == nil && named.is(image, name) {
				m.Named = append(m.Named, name)
			}
		}
		if m.Named != nil {
			found = append(found, m)
		}
	}
	if found == nil && hexDigits.MatchString(text) {
		return findID(list, text)
	}
	return found, nil
}

// findID returns the images whose ID or digest begins with hexadecimal digits. They must be one.
func findID(list []cluster.Image, digits string) ([]Match, error) {
	var found []Match
	for _, image := range list {
		if !strings.HasPrefix(image.Config, "sha256:"+digits) && !strings.HasPrefix(image.Digest, "sha256:"+digits) {
			continue
		}
		if len(found) > 0 && found[0].ID() != image.ID() {
			return nil, fmt.Errorf("%s is the beginning of the IDs of several images", digits)
		}
		m := Match{Image: image, Named: image.Names}
		if len(m.Named) == 0 {
			m.Named = []string{image.Config} // the CRI plugin's name for it
		}
		found = append(found, m)
	}
	return found, nil
}

// wanted is a name in its parts.
type wanted struct {
	repository string // docker.io/library/app
	tag        string // of a name without digest "latest" if it has none
	digest     string // or its beginning
}

func parse(text string) (wanted, error) {
	name, digits, byDigest := strings.Cut(text, "@")
	bad := func(err error) (wanted, error) {
		return wanted{}, fmt.Errorf("%s is not the name of an image: %w", quoted(text), err)
	}
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return bad(err)
	}
	if !byDigest {
		ref = reference.TagNameOnly(ref)
	} else if !hexDigits.MatchString(strings.TrimPrefix(digits, "sha256:")) || !strings.HasPrefix(digits, "sha256:") {
		return bad(errors.New("want sha256: and hexadecimal digits behind the @"))
	}
	w := wanted{repository: ref.Name(), digest: digits}
	if tagged, ok := ref.(reference.Tagged); ok {
		w.tag = tagged.Tag()
	}
	return w, nil
}

// is reports whether a name of an image is the one that is wanted.
func (w wanted) is(image cluster.Image, name string) bool {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil || ref.Name() != w.repository {
		return false
	}
	if w.digest != "" && !strings.HasPrefix(image.Digest, w.digest) && !strings.HasPrefix(name, ref.Name()+"@"+w.digest) {
		return false
	}
	tagged, ok := ref.(reference.Tagged)
	return w.tag == "" || ok && tagged.Tag() == w.tag
}

// Short returns a name as people write it: app:1 for docker.io/library/app:1, with the beginning of a digest.
func Short(name string) string {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return name
	}
	name = reference.FamiliarString(ref)
	if at := strings.Index(name, "@sha256:"); at >= 0 && len(name) > at+shortDigest {
		name = name[:at+shortDigest]
	}
	return name
}

const shortDigest = len("@sha256:") + 12

// Like returns the tags of a list that have the repository of a text, if it is a name.
func Like(list []cluster.Image, text string) []string {
	w, err := parse(text)
	if err != nil {
		return nil
	}
	w.tag, w.digest = "", ""
	var like []string
	for _, image := range list {
		for _, name := range image.Names {
			if w.is(image, name) && !strings.Contains(name, "@") {
				like = appendNew(like, name)
			}
		}
	}
	slices.Sort(like)
	return like
}

// Same reports whether two names of images are the same one, however they are written.
func Same(a, b string) bool {
	x, errX := parse(a)
	y, errY := parse(b)
	return errX == nil && errY == nil && x == y
}
