package storage

import (
	storagev1 "k8s.io/api/storage/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"nau/internal/api"
)

// volumeAttachment declares the resource volumeattachments.
func volumeAttachment() *api.Resource {
	return &api.Resource{
		Group: "storage.k8s.io",
		Kind:  "VolumeAttachment", Plural: "volumeattachments", Singular: "volumeattachment",
		Versions: []api.Version{{Name: "v1", New: api.New[storagev1.VolumeAttachment](), NewList: api.New[storagev1.VolumeAttachmentList]()}},
		Storage:  "v1",
		Prefix:   "volumeattachments",
		Verbs:    api.AllVerbs,
		Strategy: api.Strategy{
			Name:           apivalidation.NameIsDNSSubdomain,
			Validate:       api.Check(validateAttachment),
			ValidateUpdate: api.CheckChange(validateAttachmentUpdate),
			PrepareCreate: api.Each(func(n *storagev1.VolumeAttachment) {
				n.Status = storagev1.VolumeAttachmentStatus{}
			}),
			PrepareUpdate: api.Change(func(n, o *storagev1.VolumeAttachment) {
				n.Status = o.Status
			}),
			ResetFields: [][]string{{"status"}},
		},
		Subresources: []api.Subresource{
			{Name: "status", Kind: "VolumeAttachment", Verbs: api.StatusVerbs, New: api.New[storagev1.VolumeAttachment](),
				PrepareUpdate: api.Change(func(n, o *storagev1.VolumeAttachment) { n.Spec = o.Spec }),
				ResetFields:   [][]string{{"spec"}}},
		},
		Columns: attachmentColumns(),
	}
}
