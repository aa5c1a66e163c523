package core

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"nau/internal/api"
	"nau/internal/api/column"
)

func defaultEndpoints(e *corev1.Endpoints) {
	for i := range e.Subsets {
		for j := range e.Subsets[i].Ports {
			orString(&e.Subsets[i].Ports[j].Protocol, corev1.ProtocolTCP)
		}
	}
}

func endpointsColumns() []api.Column {
	return []api.Column{
		column.Name(),
		column.Text("Endpoints", corev1.Endpoints{}.SwaggerDoc()["subsets"], endpointsCell),
		column.Age(),
	}
}

// endpointsCell lists the first three ready addresses and counts the rest.
func endpointsCell(e *corev1.Endpoints) string {
	const most = 3
	var list []string
	count := 0
	for _, s := range e.Subsets {
		if len(s.Ports) == 0 {
			for _, a := range s.Addresses {
				count++
				list = append(list, a.IP)
			}
			continue
		}
		for _, p := range s.Ports {
			for _, a := range s.Addresses {
				count++
				list = append(list, net.JoinHostPort(a.IP, strconv.Itoa(int(p.Port))))
			}
		}
	}
	switch {
	case count == 0:
		return column.None
	case count > most:
		return fmt.Sprintf("%s + %d more...", strings.Join(list[:most], ","), count-most)
	}
	return strings.Join(list, ",")
}
