package core

import corev1 "k8s.io/api/core/v1"

func defaultSecret(s *corev1.Secret) { orString(&s.Type, corev1.SecretTypeOpaque) }
