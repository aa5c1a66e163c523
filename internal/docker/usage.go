package docker

import (
	"net/http"
	"slices"

	db "github.com/moby/moby/api/types/build"
	dc "github.com/moby/moby/api/types/container"
	di "github.com/moby/moby/api/types/image"
	ds "github.com/moby/moby/api/types/system"
	dv "github.com/moby/moby/api/types/volume"

	"nau/internal/engine/container"
	"nau/internal/engine/diskuse"
)

// getDiskUsage answers GET /system/df.
func (s *Server) getDiskUsage(c *call) error {
	kinds := c.query["type"]
	wants := func(k string) bool {
		if len(kinds) == 0 {
			return true
		}
		return slices.Contains(kinds, k)
	}
	for _, v := range kinds {
		if !slices.Contains([]string{"image", "container", "volume", "build-cache"}, v) {
			return badRequest("unknown object type: %s", v)
		}
	}
	images, containers, volumes := &di.DiskUsage{Items: []di.Summary{}}, &dc.DiskUsage{Items: []dc.Summary{}}, &dv.DiskUsage{Items: []dv.Volume{}}
	if wants("image") {
		use, err := s.e.Images.Usage(c.ctx())
		if err != nil {
			return err
		}
		users := map[string]int64{}
		for _, r := range s.e.Containers.List() {
			users[r.Image.String()]++
		}
		shared := map[string]int64{}
		for _, u := range use.Images {
			shared[u.ID.String()] = u.Shared
		}
		images.TotalSize, images.Reclaimable = use.LayersSize+use.BlobsSize, use.Reclaimable
		all := s.e.Images.List()
		parents := map[string]bool{}
		for _, img := range all {
			parents[img.Parent.String()] = true
		}
		for _, img := range all {
			if len(img.RepoTags)+len(img.RepoDigests) == 0 && parents[img.ID.String()] {
				continue // a step on the way to another image: its layers are that image's too
			}
			sum := s.summaryOf(img, users)
			sum.SharedSize = shared[sum.ID]
			images.Items = append(images.Items, sum)
			images.TotalCount++
			if sum.Containers > 0 {
				images.ActiveCount++
			}
		}
	}
	if wants("container") {
		for _, r := range s.e.Containers.List() {
			sum := s.summary(r, load(r))
			if c.atLeast("1.52") {
				sum.Health = s.healthSummary(r)
			}
			sum.SizeRw, sum.SizeRootFs = s.sizes(c.ctx(), r)
			kept := s.keptBy(r)
			sum.SizeRw, sum.SizeRootFs = sum.SizeRw+kept, sum.SizeRootFs+kept
			containers.Items = append(containers.Items, sum)
			containers.TotalCount++
			containers.TotalSize += sum.SizeRw
			if running(r) {
				containers.ActiveCount++
			} else {
				containers.Reclaimable += sum.SizeRw
			}
		}
	}
	if wants("volume") {
		for _, v := range s.volumes.List() {
			doc := s.volumeDoc(v)
			n := int64(len(s.volumeUsers(v.Name)))
			doc.UsageData = &dv.UsageData{RefCount: n, Size: s.volumes.Size(v.Name)}
			volumes.Items = append(volumes.Items, doc)
			volumes.TotalCount++
			volumes.TotalSize += doc.UsageData.Size
			if n > 0 {
				volumes.ActiveCount++
			} else {
				volumes.Reclaimable += doc.UsageData.Size
			}
		}
	}
	cache := &db.DiskUsage{Items: []db.CacheRecord{}}
	if wants("build-cache") {
		var err error
		if cache, err = s.cacheUsage(c.ctx()); err != nil {
			return err
		}
	}
	old := oldUsage{LayersSize: images.TotalSize, Images: images.Items, Containers: containers.Items, Volumes: volumes.Items, BuildCache: cache.Items}
	if !c.atLeast("1.52") {
		return c.shaped(http.StatusOK, old, usageShapes(cache.TotalSize))
	}
	if !c.flag("verbose") { // old has kept them
		images.Items, containers.Items, volumes.Items, cache.Items = nil, nil, nil, nil
	}
	doc := ds.DiskUsage{}
	if wants("image") {
		doc.ImageUsage = images
	}
	if wants("container") {
		doc.ContainerUsage = containers
	}
	if wants("volume") {
		doc.VolumeUsage = volumes
	}
	if wants("build-cache") {
		doc.BuildCacheUsage = cache
	}
	if !c.flag("verbose") { // without it the engine tells in both forms, as Docker does
		return c.json(http.StatusOK, struct {
			ds.DiskUsage
			oldUsage
		}{doc, old})
	}
	return c.json(http.StatusOK, doc)
}

// oldUsage is how much of the disk is taken, as versions up to 1.52 tell it.
type oldUsage struct {
	LayersSize int64
	Images     []di.Summary
	Containers []dc.Summary
	Volumes    []dv.Volume
	BuildCache []db.CacheRecord
}

// keptBy are the bytes of disk that a container takes beside what it wrote: its logs.
func (s *Server) keptBy(r *container.Record) int64 {
	n, _, err := diskuse.Of(s.e.Containers.Folder(r.ID))
	if err != nil {
		return 0 // it is being removed
	}
	return n
}
