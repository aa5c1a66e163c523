package discovery

import (
	"fmt"
	"strings"

	discoveryv1 "k8s.io/api/discovery/v1"

	"nau/internal/api"
	"nau/internal/api/column"
)

func sliceColumns() []api.Column {
	doc := discoveryv1.EndpointSlice{}.SwaggerDoc()
	return []api.Column{
		column.Name(),
		column.Text("AddressType", doc["addressType"], func(s *discoveryv1.EndpointSlice) string { return string(s.AddressType) }),
		column.Text("Ports", doc["ports"], func(s *discoveryv1.EndpointSlice) string {
			if len(s.Ports) == 0 {
				return column.Unset
			}
			var out []string
			for i, p := range s.Ports {
				if i == 3 {
					return fmt.Sprintf("%s + %d more...", strings.Join(out, ","), len(s.Ports)-3)
				}
				switch {
				case p.Port != nil:
					out = append(out, fmt.Sprint(*p.Port))
				case p.Name != nil && *p.Name != "":
					out = append(out, *p.Name)
				default:
					out = append(out, "*")
				}
			}
			return strings.Join(out, ",")
		}),
		column.Text("Endpoints", doc["endpoints"], func(s *discoveryv1.EndpointSlice) string {
			var all []string
			for _, e := range s.Endpoints {
				all = append(all, e.Addresses...)
			}
			if len(all) == 0 {
				return column.Unset
			}
			return column.Some(all, 3)
		}),
		column.Age(),
	}
}
