package registry

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/klkube/kl/cluster/statefile"
)

// upload serves blobs that are sent: in one request, in two, or piece by piece.
func (h handler) upload(w http.ResponseWriter, r *http.Request, name, id string) error {
	if id == "" {
		if r.Method != http.MethodPost {
			return notAllowed(r)
		}
		return h.begin(w, r, name)
	}
	l, err := h.resume(id)
	if err != nil {
		return err
	}
	defer l.Unlock() // keeping or removing it has done so
	switch r.Method {
	case http.MethodGet:
		return accepted(w, l, name, id, http.StatusNoContent)
	case http.MethodPatch:
		if err := h.receive(w, r, l); err != nil {
			return err
		}
		return accepted(w, l, name, id, http.StatusAccepted)
	case http.MethodPut:
		d, err := parseDigest(r.URL.Query().Get("digest"))
		if err != nil {
			return err
		}
		if err := h.receive(w, r, l); err != nil {
			return err
		}
		return h.finish(w, l, name, d)
	case http.MethodDelete:
		l.Remove()
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return notAllowed(r)
}

// begin starts an upload, or finishes it if all of it is there.
func (h handler) begin(w http.ResponseWriter, r *http.Request, name string) error {
	query := r.URL.Query()
	if mount, err := digest.Parse(query.Get("mount")); err == nil {
		if err := h.refresh(r.Context(), mount); err == nil { // else it is uploaded
			return created(w, name, "blobs", mount)
		}
	}
	if err := statefile.MkdirAll(h.path("uploads"), 0o700); err != nil {
		return err
	}
	id := rand.Text()
	l, err := statefile.TryLock(h.path("uploads", id))
	if err != nil {
		return err
	}
	defer l.Unlock()
	if !query.Has("digest") {
		return accepted(w, l, name, id, http.StatusAccepted)
	}
	d, err := parseDigest(query.Get("digest"))
	if err == nil {
		err = h.receive(w, r, l)
	}
	if err != nil {
		l.Remove() // no client knows its ID
		return err
	}
	return h.finish(w, l, name, d)
}

// resume locks an upload that has begun.
func (h handler) resume(id string) (*statefile.Lock, error) {
	file := h.path("uploads", id)
	if len(id) != len(rand.Text()) || strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" {
		return nil, refuse(http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "there is no upload %q", id)
	}
	if _, err := os.Lstat(file); errors.Is(err, fs.ErrNotExist) {
		return nil, refuse(http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "there is no upload %s: it is complete, or was given up", id)
	}
	l, err := statefile.TryLock(file)
	if errors.Is(err, statefile.ErrLocked) {
		return nil, refuse(http.StatusConflict, "BLOB_UPLOAD_INVALID", "another request is sending upload %s", id)
	}
	return l, err
}

// receive appends a request's body to an upload. What came before a client was cut off is kept, for it to go on from there; without
// space it is removed.
func (h handler) receive(w http.ResponseWriter, r *http.Request, l *statefile.Lock) error {
	size, err := l.File().Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if at := r.Header.Get("Content-Range"); at != "" {
		var start, end int64
		if _, err := fmt.Sscanf(strings.TrimPrefix(at, "bytes "), "%d-%d", &start, &end); err != nil || start != size {
			w.Header().Set("Range", received(size))
			return refuse(http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID", "range %s does not follow the %d bytes that are there", at, size)
		}
	}
	_, err = io.Copy(l.File(), r.Body)
	if full(err) {
		l.Remove()
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return refuse(http.StatusBadRequest, "SIZE_INVALID", "the request was cut off")
	}
	return err
}

// finish makes a complete upload a blob, or removes it if it is not what it should be.
func (h handler) finish(w http.ResponseWriter, l *statefile.Lock, name string, want digest.Digest) error {
	got, err := sum(l.File(), want.Algorithm())
	if err != nil {
		return err
	}
	if got != want {
		l.Remove()
		return refuse(http.StatusBadRequest, "DIGEST_INVALID", "the content has digest %s, not %s", got, want)
	}
	if err := h.keep(l, want); err != nil {
		return err
	}
	return created(w, name, "blobs", want)
}

// sum is the digest of a file.
func sum(f *os.File, algorithm digest.Algorithm) (digest.Digest, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	return algorithm.FromReader(f)
}

// received is how much of an upload is there, as the header Range says it.
func received(size int64) string { return fmt.Sprintf("0-%d", max(size-1, 0)) }

// accepted says where to send what comes next.
func accepted(w http.ResponseWriter, l *statefile.Lock, name, id string, status int) error {
	info, err := l.File().Stat()
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/v2/"+name+"/blobs/uploads/"+id)
	w.Header().Set("Docker-Upload-Uuid", id)
	w.Header().Set("Range", received(info.Size()))
	w.WriteHeader(status)
	return nil
}

// created says where something is.
func created(w http.ResponseWriter, name, kind string, d digest.Digest) error {
	w.Header().Set("Location", "/v2/"+name+"/"+kind+"/"+d.String())
	w.Header().Set("Docker-Content-Digest", d.String())
	w.WriteHeader(http.StatusCreated)
	return nil
}

// locked runs f while no other process changes what manifests name.
func (s *Store) locked(ctx context.Context, f func() error) error {
	l, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer l.Unlock()
	return f()
}
