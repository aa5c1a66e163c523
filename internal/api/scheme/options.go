package scheme

import (
	"fmt"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
)

// registerOptions lets ParameterCodec read the options of the connecting subresources.
func registerOptions(s *runtime.Scheme) error {
	for _, into := range []any{
		&corev1.PodLogOptions{}, &corev1.PodExecOptions{}, &corev1.PodAttachOptions{}, &corev1.PodPortForwardOptions{},
		&corev1.PodProxyOptions{}, &corev1.ServiceProxyOptions{}, &corev1.NodeProxyOptions{},
	} {
		err := s.AddConversionFunc((*url.Values)(nil), into, func(a, b any, _ conversion.Scope) error {
			return decodeQuery(*a.(*url.Values), b)
		})
		if err != nil {
			return fmt.Errorf("register options %T: %w", into, err)
		}
	}
	return nil
}

// decodeQuery sets the fields of the struct that into points to from query parameters of their JSON
// names. Unknown parameters are ignored, as upstream does; a value that does not parse is an error.
func decodeQuery(query url.Values, into any) error {
	v := reflect.ValueOf(into).Elem()
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		values, present := query[name]
		if name == "" || !present || len(values) == 0 {
			continue
		}
		if err := setField(v.Field(i), values); err != nil {
			return fmt.Errorf("parameter %s: %w", name, err)
		}
	}
	return nil
}

func setField(f reflect.Value, values []string) error {
	switch target := f.Addr().Interface().(type) {
	case *[]string:
		*target = values
		return nil
	case **metav1.Time:
		t, err := time.Parse(time.RFC3339, values[0])
		if err != nil {
			return fmt.Errorf("read time %q: want RFC 3339", values[0])
		}
		*target = &metav1.Time{Time: t}
		return nil
	}
	switch f.Kind() {
	case reflect.Pointer:
		p := reflect.New(f.Type().Elem())
		if err := setField(p.Elem(), values); err != nil {
			return err
		}
		f.Set(p)
	case reflect.String:
		f.SetString(values[0])
	case reflect.Bool:
		// Upstream's reading: an empty value means true, and so does all but "false" and "0".
		f.SetBool(!strings.EqualFold(values[0], "false") && values[0] != "0")
	case reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(values[0], 10, f.Type().Bits())
		if err != nil {
			return fmt.Errorf("read number %q: want a decimal integer", values[0])
		}
		f.SetInt(n)
	case reflect.Slice: // []int32
		out := reflect.MakeSlice(f.Type(), 0, len(values))
		for _, value := range values {
			e := reflect.New(f.Type().Elem()).Elem()
			if err := setField(e, []string{value}); err != nil {
				return err
			}
			out = reflect.Append(out, e)
		}
		f.Set(out)
	default:
		return fmt.Errorf("read a %s: no form as a parameter", f.Type())
	}
	return nil
}
