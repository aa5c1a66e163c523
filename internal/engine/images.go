package engine

import (
	"path/filepath"

	"nau/internal/engine/image"
)

func (e *Engine) imageConfig() image.Config {
	return image.Config{DB: filepath.Join(e.cfg.DataDir, "images.db"), Content: e.Content, Layers: e.Layers, Registries: e.cfg.Registries, Creds: e.cfg.Creds, InUse: e.inUse, Log: e.cfg.Log}
}
