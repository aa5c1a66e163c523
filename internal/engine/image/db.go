package image

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"
)

// The names database, drawn once (bbolt):
//
//	images/<config digest>   JSON imageRecord
//	names/<full reference>   JSON nameRecord; "docker.io/library/nginx:1.25" or "docker.io/library/nginx@sha256:…"
//	meta/version             "1"
//
// Records only ever gain fields. All of it is in memory too; the file is written, never read, after Open.
var (
	bucketImages = []byte("images")
	bucketNames  = []byte("names")
	bucketMeta   = []byte("meta")
)

type imageRecord struct {
	ID       digest.Digest        `json:"id"`
	Manifest ocispec.Descriptor   `json:"manifest"`        // of this platform
	Target   ocispec.Descriptor   `json:"target,omitzero"` // the index that it came by last
	Layers   []ocispec.Descriptor `json:"layers"`
	DiffIDs  []digest.Digest      `json:"diffIDs"`
	Sizes    []int64              `json:"sizes"` // unpacked, one per layer
	Parent   digest.Digest        `json:"parent,omitempty"`
	Created  time.Time            `json:"created"`
	Tagged   time.Time            `json:"tagged,omitzero"`
	Used     time.Time            `json:"used,omitzero"`
	Pinned   bool                 `json:"pinned,omitempty"` // see Image
	Step     bool                 `json:"step,omitempty"`   // see steps.go
	Wanted   bool                 `json:"wanted,omitempty"` // a step that is an image of its own as well
}

type nameRecord struct {
	ID     digest.Digest      `json:"id"`     // of what is shown where no platform is asked for
	Target ocispec.Descriptor `json:"target"` // what the name means at its registry: an index or a manifest
}

// change is one transaction: nil values delete.
type change struct {
	images map[digest.Digest]*imageRecord
	names  map[string]*nameRecord
}

func openDB(path string) (*bolt.DB, error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: 2 * time.Second, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return nil, fmt.Errorf("open image database %s: %w", path, err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, b := range [][]byte{bucketImages, bucketNames, bucketMeta} {
			if _, err := tx.CreateBucketIfNotExists(b); err != nil {
				return err
			}
		}
		return tx.Bucket(bucketMeta).Put([]byte("version"), []byte("1"))
	})
	if err != nil {
		db.Close()
		return nil, fmt.Errorf("open image database %s: %w", path, err)
	}
	return db, nil
}

func readDB(db *bolt.DB) (map[digest.Digest]*imageRecord, map[string]*nameRecord, error) {
	images, names := map[digest.Digest]*imageRecord{}, map[string]*nameRecord{}
	err := db.View(func(tx *bolt.Tx) error {
		err := tx.Bucket(bucketImages).ForEach(func(k, v []byte) error {
			r := &imageRecord{}
			if err := json.Unmarshal(v, r); err != nil {
				return fmt.Errorf("read record of image %s: %w", k, err)
			}
			images[digest.Digest(k)] = r
			return nil
		})
		if err != nil {
			return err
		}
		return tx.Bucket(bucketNames).ForEach(func(k, v []byte) error {
			r := &nameRecord{}
			if err := json.Unmarshal(v, r); err != nil {
				return fmt.Errorf("read record of name %s: %w", k, err)
			}
			names[string(k)] = r
			return nil
		})
	})
	return images, names, err
}

func writeDB(db *bolt.DB, c change) error {
	return db.Update(func(tx *bolt.Tx) error {
		for id, r := range c.images {
			if err := put(tx.Bucket(bucketImages), string(id), r, r == nil); err != nil {
				return err
			}
		}
		for n, r := range c.names {
			if err := put(tx.Bucket(bucketNames), n, r, r == nil); err != nil {
				return err
			}
		}
		return nil
	})
}

func put(b *bolt.Bucket, key string, v any, gone bool) error {
	if gone {
		return b.Delete([]byte(key))
	}
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return b.Put([]byte(key), data)
}
