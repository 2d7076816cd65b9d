package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"net/http"
	"path"
	"strings"
)

// files is everything that a browser loads, written by us.
//
//go:embed static template locale
var files embed.FS

// assets serves the static files under names that contain a hash of their content, so that a browser may keep
// them for ever and still gets the new ones after an update.
type assets struct {
	hashed map[string]string // "app.css": "/assets/app.1234abcd.css"
	served map[string]asset  // "/app.1234abcd.css"
}

type asset struct {
	mediaType string
	body      []byte
}

func newAssets() (*assets, error) {
	// Not mime.TypeByExtension: what that says depends on files of the system.
	mediaTypes := map[string]string{
		".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
	}
	entries, err := files.ReadDir("static")
	if err != nil {
		return nil, err
	}
	a := &assets{hashed: make(map[string]string), served: make(map[string]asset)}
	for _, entry := range entries {
		name := entry.Name()
		body, err := files.ReadFile(path.Join("static", name))
		if err != nil {
			return nil, err
		}
		extension := path.Ext(name)
		mediaType, ok := mediaTypes[extension]
		if !ok {
			return nil, fmt.Errorf("asset %s has an unknown type", name)
		}
		sum := sha256.Sum256(body)
		served := "/" + strings.TrimSuffix(name, extension) + "." + hex.EncodeToString(sum[:6]) + extension
		a.hashed[name] = "/assets" + served
		a.served[served] = asset{mediaType, body}
	}
	return a, nil
}

// path returns where an asset is served; an unknown name is an error of the template that asks.
func (a *assets) path(name string) (string, error) {
	p, ok := a.hashed[name]
	if !ok {
		return "", fmt.Errorf("no asset %q", name)
	}
	return p, nil
}

// serve looks the name up in a map and nowhere else: there is no path that could lead out of it.
func (a *assets) serve(w http.ResponseWriter, r *http.Request) error {
	found, ok := a.served[r.PathValue("name")]
	if !ok {
		return problem(CodeNotFound, "there is nothing at this address")
	}
	w.Header().Set("Content-Type", found.mediaType)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	_, _ = w.Write(found.body) // fails only if the other end has gone
	return nil
}
