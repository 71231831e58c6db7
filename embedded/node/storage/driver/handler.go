//go:build linux

package driver

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/klkube/kl/embedded/node/storage"
)

// maxBody is more bytes than a Volume or a Snapshot has as JSON.
const maxBody = 1 << 16

// Handler serves the requests of storage.Agent.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+storage.StatePath, func(w http.ResponseWriter, r *http.Request) {
		disks, err := s.Disks.List()
		state := storage.State{Pools: map[storage.Kind]storage.Pool{}, Disks: disks}
		for kind, store := range s.stores() {
			state.Pools[kind] = store.Pool()
		}
		s.answer(w, r, state, err)
	})
	mux.HandleFunc("PUT "+storage.VolumePath, func(w http.ResponseWriter, r *http.Request) {
		var v storage.Volume
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&v); err != nil {
			s.answer(w, r, nil, fmt.Errorf("%w: %w", storage.ErrInvalid, err))
			return
		}
		v.ID = r.PathValue("id")
		store, err := s.store(r.PathValue("kind"))
		var from *Store
		if err == nil && v.Source != nil {
			from, err = s.store(string(v.Source.Kind))
		}
		if err == nil {
			v, err = store.Put(r.Context(), v, from)
		}
		s.answer(w, r, v, err)
	})
	mux.HandleFunc("DELETE "+storage.VolumePath, func(w http.ResponseWriter, r *http.Request) {
		store, err := s.store(r.PathValue("kind"))
		if err == nil {
			err = store.Delete(r.Context(), r.PathValue("id"))
		}
		s.answer(w, r, nil, err)
	})
	mux.HandleFunc("DELETE "+storage.FilesPath, func(w http.ResponseWriter, r *http.Request) {
		s.answer(w, r, nil, s.Disks.Clean(r.Context(), r.PathValue("name")))
	})
	s.handleSnapshots(mux)
	return mux
}

func (s *Server) handleSnapshots(mux *http.ServeMux) {
	mux.HandleFunc("PUT "+storage.SnapshotPath, func(w http.ResponseWriter, r *http.Request) {
		var snapshot storage.Snapshot
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&snapshot); err != nil {
			s.answer(w, r, nil, fmt.Errorf("%w: %w", storage.ErrInvalid, err))
			return
		}
		store, err := s.store(r.PathValue("kind"))
		if err == nil {
			snapshot, err = store.PutSnapshot(r.Context(), r.PathValue("id"), snapshot.Volume)
		}
		s.answer(w, r, snapshot, err)
	})
	mux.HandleFunc("DELETE "+storage.SnapshotPath, func(w http.ResponseWriter, r *http.Request) {
		store, err := s.store(r.PathValue("kind"))
		if err == nil {
			err = store.DeleteSnapshot(r.Context(), r.PathValue("id"))
		}
		s.answer(w, r, nil, err)
	})
	mux.HandleFunc("GET "+storage.SnapshotsPath, func(w http.ResponseWriter, r *http.Request) {
		var list []storage.Snapshot
		store, err := s.store(r.PathValue("kind"))
		if err == nil {
			list, err = store.Snapshots()
		}
		s.answer(w, r, list, err)
	})
}

func (s *Server) stores() map[storage.Kind]*Store {
	return map[storage.Kind]*Store{storage.NodeLocal: s.Local, storage.Shared: s.Shared}
}

func (s *Server) store(kind string) (*Store, error) {
	store, ok := s.stores()[storage.Kind(kind)]
	if !ok {
		return nil, fmt.Errorf("%w: kind %q", storage.ErrInvalid, kind)
	}
	return store, nil
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request, value any, err error) {
	if err != nil {
		s.Logger.WarnContext(r.Context(), "request of the control plane failed", "method", r.Method, "path", r.URL.Path, "err", err)
		http.Error(w, err.Error(), storage.Status(err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value) // fails only if the client has gone
}
