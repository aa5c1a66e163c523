package core

import corev1 "k8s.io/api/core/v1"

// prepareSecret turns stringData, which is write-only, into data.
func prepareSecret(s *corev1.Secret) {
	if len(s.StringData) == 0 {
		return
	}
	if s.Data == nil {
		s.Data = map[string][]byte{}
	}
	for k, v := range s.StringData {
		s.Data[k] = []byte(v)
	}
	s.StringData = nil
}

func prepareSecretUpdate(new, old *corev1.Secret) {
	prepareSecret(new)
	if new.Type == "" {
		new.Type = old.Type
	}
}
