package httpmw_test

import (
	"bytes"
	"mime/multipart"
	"net/http"
	"path/filepath"
	"testing"
)

func TestFilesOfAMultipartFormAreRemoved(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	files := func() int {
		names, err := filepath.Glob(filepath.Join(dir, "multipart-*"))
		if err != nil {
			t.Error(err)
		}
		return len(names)
	}
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		if err := r.ParseMultipartForm(1); err != nil || files() == 0 {
			t.Errorf("%d files, %v", files(), err)
		}
		ok(rw, r)
	})
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	file, err := form.CreateFormFile("file", "name")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = file.Write(make([]byte, 100_000))
	_ = form.Close()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.URL+path, &body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", form.FormDataContentType())
	if a := w.do(r); !a.whole() {
		t.Errorf("got %+v", a)
	}
	w.eventually("the files are gone", func() bool { return files() == 0 })
}
