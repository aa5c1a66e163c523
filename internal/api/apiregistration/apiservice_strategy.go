package apiregistration

import (
	"fmt"

	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/helper"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration/validation"

	"nau/internal/api"
	"nau/internal/api/column"
)

// prepare: what this server serves itself is available from the start.
func prepare(s *apiregistrationv1.APIService) {
	s.Status = apiregistrationv1.APIServiceStatus{}
	if s.Spec.Service == nil {
		helper.SetAPIServiceCondition(s, apiregistrationv1.APIServiceCondition{
			Type: apiregistrationv1.Available, Status: apiregistrationv1.ConditionTrue,
			Reason: "Local", Message: "Local APIServices are always available", LastTransitionTime: s.CreationTimestamp,
		})
	}
}

func internal(s *apiregistrationv1.APIService) (*apiregistration.APIService, error) {
	out := &apiregistration.APIService{}
	if err := apiregistrationv1.Convert_v1_APIService_To_apiregistration_APIService(s.DeepCopy(), out, nil); err != nil {
		return nil, fmt.Errorf("convert API service %s: %w", s.Name, err)
	}
	return out, nil
}

func validate(s *apiregistrationv1.APIService) field.ErrorList {
	in, err := internal(s)
	if err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	return validation.ValidateAPIService(in)
}

func validateStatus(new, _ *apiregistrationv1.APIService) field.ErrorList {
	in, err := internal(new)
	if err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	return validation.ValidateAPIServiceStatus(&in.Status, field.NewPath("status"))
}

func columns() []api.Column {
	return []api.Column{
		column.Name(),
		column.Text("Service", "The reference to the service that hosts this API endpoint.", func(s *apiregistrationv1.APIService) string {
			if s.Spec.Service == nil {
				return "Local"
			}
			return s.Spec.Service.Namespace + "/" + s.Spec.Service.Name
		}),
		column.Text("Available", "Whether this service is available.", func(s *apiregistrationv1.APIService) string {
			c := helper.GetAPIServiceConditionByType(s, apiregistrationv1.Available)
			switch {
			case c == nil:
				return "Unknown"
			case c.Status == apiregistrationv1.ConditionTrue || c.Reason == "":
				return string(c.Status)
			}
			return fmt.Sprintf("%s (%s)", c.Status, c.Reason)
		}),
		column.Age(),
	}
}
