package core

import corev1 "k8s.io/api/core/v1"

func defaultConfigMap(c *corev1.ConfigMap) {
	if c.Data == nil {
		c.Data = map[string]string{}
	}
}
