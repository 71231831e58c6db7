package forward

import "github.com/fsnotify/fsnotify"

// fileWatch signals changes of one file that is replaced as a whole. The zero value never does.
type fileWatch struct {
	path    string
	watcher *fsnotify.Watcher
	changed <-chan fsnotify.Event
	errors  <-chan error
}

// watchFile may fail on a busy machine: by default the kernel allows a user 128 watchers.
func watchFile(path string) (fileWatch, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fileWatch{}, err
	}
	return fileWatch{path, w, w.Events, w.Errors}, nil
}

// arm renews the watch, which stays with a file that was replaced. It is called before the file is read, and errors are left
// to the reader: they mean that the file does not exist.
func (w fileWatch) arm() {
	if w.watcher == nil {
		return
	}
	_ = w.watcher.Remove(w.path)
	_ = w.watcher.Add(w.path)
}

func (w fileWatch) close() {
	if w.watcher != nil {
		_ = w.watcher.Close()
	}
}
