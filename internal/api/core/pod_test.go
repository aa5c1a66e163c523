package core

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
)

func goodPod(change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "d"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "nginx"}}},
	}
	for _, f := range change {
		f(p)
	}
	DefaultPod(p)
	return p
}

// expect compares errors as "type path" words, whatever their order.
func expect(t *testing.T, errs field.ErrorList, want ...string) {
	t.Helper()
	got := map[string]bool{}
	for _, e := range errs {
		got[string(e.Type)+" "+e.Field] = true
	}
	for _, w := range want {
		if !got[w] {
			t.Errorf("missing %q", w)
		}
		delete(got, w)
	}
	for g := range got {
		t.Errorf("unexpected %q in %v", g, errs)
	}
}

func TestDefaultPod(t *testing.T) {
	p := goodPod(func(p *corev1.Pod) {
		c := &p.Spec.Containers[0]
		c.Ports = []corev1.ContainerPort{{ContainerPort: 80}}
		c.LivenessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromInt32(80)}}}
		c.Resources.Limits = corev1.ResourceList{"cpu": resource.MustParse("1500u"), "memory": resource.MustParse("1Gi")}
		p.Spec.HostNetwork = true
		p.Spec.DeprecatedServiceAccount = "sa"
		p.Spec.Volumes = []corev1.Volume{{Name: "a"}, {Name: "s", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "x"}}},
			{Name: "t", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "t"}}}}}}}
	})
	s, c := p.Spec, p.Spec.Containers[0]
	for name, ok := range map[string]bool{
		"grace":          *s.TerminationGracePeriodSeconds == 30,
		"dns":            s.DNSPolicy == corev1.DNSClusterFirst,
		"restart":        s.RestartPolicy == corev1.RestartPolicyAlways,
		"scheduler":      s.SchedulerName == "default-scheduler",
		"security":       s.SecurityContext != nil,
		"links":          *s.EnableServiceLinks,
		"serviceAccount": s.ServiceAccountName == "sa",
		"pull":           c.ImagePullPolicy == corev1.PullAlways,
		"message":        c.TerminationMessagePath == "/dev/termination-log" && c.TerminationMessagePolicy == "File",
		"port":           c.Ports[0].Protocol == "TCP" && c.Ports[0].HostPort == 80,
		"probe":          c.LivenessProbe.PeriodSeconds == 10 && c.LivenessProbe.FailureThreshold == 3 && c.LivenessProbe.HTTPGet.Scheme == "HTTP" && c.LivenessProbe.HTTPGet.Path == "/",
		"requests":       c.Resources.Requests.Cpu().MilliValue() == 2 && c.Resources.Requests.Memory().String() == "1Gi",
		"emptyDir":       s.Volumes[0].EmptyDir != nil,
		"secret mode":    *s.Volumes[1].Secret.DefaultMode == 0o644,
		"token":          *s.Volumes[2].Projected.Sources[0].ServiceAccountToken.ExpirationSeconds == 3600,
	} {
		if !ok {
			t.Errorf("%s is not defaulted", name)
		}
	}
	expect(t, validatePod(p))
}

func TestPullPolicyFollowsTheTag(t *testing.T) {
	for image, want := range map[string]corev1.PullPolicy{
		"nginx": corev1.PullAlways, "nginx:latest": corev1.PullAlways, "nginx:1.2": corev1.PullIfNotPresent,
		"localhost:5001/nginx": corev1.PullAlways, "localhost:5001/nginx:v1": corev1.PullIfNotPresent,
		"nginx@sha256:0000000000000000000000000000000000000000000000000000000000000000": corev1.PullIfNotPresent,
	} {
		if got := pullPolicy(image); got != want {
			t.Errorf("%s: %s, want %s", image, got, want)
		}
	}
}

func TestValidatePodReportsAll(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*corev1.Pod)
		want   []string
	}{
		"good": {func(*corev1.Pod) {}, nil},
		"no containers": {func(p *corev1.Pod) { p.Spec.Containers = nil },
			[]string{"FieldValueRequired spec.containers"}},
		"many mistakes": {func(p *corev1.Pod) {
			p.Spec.RestartPolicy = "Sometimes"
			p.Spec.Containers = []corev1.Container{
				{Name: "Bad_Name", Image: "x"}, {Name: "c"}, {Name: "c", Image: " y"},
				{Name: "d", Image: "z", ImagePullPolicy: "Maybe", VolumeMounts: []corev1.VolumeMount{{Name: "gone", MountPath: "/a"}, {Name: "gone"}}},
			}
		}, []string{"FieldValueNotSupported spec.restartPolicy", "FieldValueInvalid spec.containers[0].name", "FieldValueRequired spec.containers[1].image",
			"FieldValueDuplicate spec.containers[2].name", "FieldValueInvalid spec.containers[2].image", "FieldValueNotSupported spec.containers[3].imagePullPolicy",
			"FieldValueNotFound spec.containers[3].volumeMounts[0].name", "FieldValueNotFound spec.containers[3].volumeMounts[1].name",
			"FieldValueRequired spec.containers[3].volumeMounts[1].mountPath"}},
		"requests above limits": {func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Limits: corev1.ResourceList{"cpu": resource.MustParse("1")}, Requests: corev1.ResourceList{"cpu": resource.MustParse("2"), "cats": resource.MustParse("1")}}
		}, []string{"FieldValueInvalid spec.containers[0].resources.requests", "FieldValueInvalid spec.containers[0].resources.requests[cats]"}},
		"probes": {func(p *corev1.Pod) {
			p.Spec.Containers[0].LivenessProbe = &corev1.Probe{SuccessThreshold: 2}
			p.Spec.Containers[0].ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{}, TCPSocket: &corev1.TCPSocketAction{}}, TerminationGracePeriodSeconds: ptr.To(int64(1))}
		}, []string{"FieldValueRequired spec.containers[0].livenessProbe", "FieldValueInvalid spec.containers[0].livenessProbe.successThreshold",
			"FieldValueRequired spec.containers[0].readinessProbe.exec.command", "FieldValueForbidden spec.containers[0].readinessProbe.tcpSocket",
			"FieldValueInvalid spec.containers[0].readinessProbe.terminationGracePeriodSeconds"}},
		"volumes": {func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{
				{Name: "a", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/a/../b"}, EmptyDir: &corev1.EmptyDirVolumeSource{}}},
				{Name: "b", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{DefaultMode: ptr.To(int32(0o1000))}}},
				{Name: "b", VolumeSource: corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{Server: "s", Path: "rel"}}},
			}
		}, []string{"FieldValueForbidden spec.volumes[0].hostPath", "FieldValueRequired spec.volumes[1].secret.secretName", "FieldValueInvalid spec.volumes[1].secret.defaultMode",
			"FieldValueDuplicate spec.volumes[2].name", "FieldValueInvalid spec.volumes[2].nfs.path"}},
		"init containers": {func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{
				{Name: "c", Image: "x", Lifecycle: &corev1.Lifecycle{}},
				{Name: "s", Image: "x", RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways), ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(1)}}}},
			}
		}, []string{"FieldValueDuplicate spec.initContainers[0].name", "FieldValueForbidden spec.initContainers[0].lifecycle"}},
		"env": {func(p *corev1.Pod) {
			p.Spec.Containers[0].Env = []corev1.EnvVar{{}, {Name: "a=b"}, {Name: "OK", Value: "v", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "spec.hostname"}}},
				{Name: "L", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['x']"}}}}
		}, []string{"FieldValueRequired spec.containers[0].env[0].name", "FieldValueInvalid spec.containers[0].env[1].name", "FieldValueInvalid spec.containers[0].env[2].valueFrom",
			"FieldValueInvalid spec.containers[0].env[2].valueFrom.fieldRef.fieldPath"}},
		"affinity": {func(p *corev1.Pod) {
			p.Spec.Affinity = &corev1.Affinity{
				NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{}},
				PodAffinity:  &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{}}},
			}
			p.Spec.Tolerations = []corev1.Toleration{{Operator: "Equal"}}
		}, []string{"FieldValueRequired spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms",
			"FieldValueRequired spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey",
			"FieldValueInvalid spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey", "FieldValueInvalid spec.tolerations[0].operator"}},
		"faults are said to be where upstream says": {func(p *corev1.Pod) {
			yes, host := true, "h"
			c := &p.Spec.Containers[0]
			p.Spec.HostAliases = []corev1.HostAlias{{IP: "01.2.3.4"}}
			c.EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{}}, {SecretRef: &corev1.SecretEnvSource{}}}
			c.ResizePolicy = []corev1.ContainerResizePolicy{{ResourceName: "cpu", RestartPolicy: corev1.NotRequired}, {ResourceName: "cpu", RestartPolicy: corev1.NotRequired}}
			p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "a"}, {Name: "a"}}
			p.Spec.ShareProcessNamespace, p.Spec.HostPID = &yes, true
			p.Spec.SetHostnameAsFQDN, p.Spec.HostnameOverride = &yes, &host
			p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "both", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{},
				{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "a"}}, Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "a"}}}}}}})
			p.Spec.SecurityContext = &corev1.PodSecurityContext{}
		}, []string{"FieldValueInvalid spec.hostAliases[0].ip", "FieldValueRequired spec.containers[0].envFrom[0].configMapRef.name",
			"FieldValueRequired spec.containers[0].envFrom[1].secretRef.name", "FieldValueDuplicate spec.containers[0].resizePolicy[1]", "FieldValueDuplicate spec.schedulingGates[1]",
			"FieldValueInvalid spec.securityContext.shareProcessNamespace", "FieldValueForbidden spec.hostnameOverride", "FieldValueForbidden spec.volumes[0].projected.sources[1]"}},
		"host ports": {func(p *corev1.Pod) {
			p.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: 8080}, {ContainerPort: 81, HostPort: 8080}, {ContainerPort: 99999}}
		}, []string{"FieldValueDuplicate spec.containers[0].ports[1].hostPort", "FieldValueInvalid spec.containers[0].ports[2].containerPort"}},
	} {
		t.Run(name, func(t *testing.T) { expect(t, validatePod(goodPod(c.change)), c.want...) })
	}
}

func TestValidatePodUpdate(t *testing.T) {
	for name, c := range map[string]struct {
		old, new func(*corev1.Pod)
		want     []string
	}{
		"image":    {func(*corev1.Pod) {}, func(p *corev1.Pod) { p.Spec.Containers[0].Image = "other" }, nil},
		"command":  {func(*corev1.Pod) {}, func(p *corev1.Pod) { p.Spec.Containers[0].Command = []string{"x"} }, []string{"FieldValueForbidden spec"}},
		"grace":    {func(p *corev1.Pod) { p.Spec.TerminationGracePeriodSeconds = ptr.To(int64(-5)) }, func(p *corev1.Pod) { p.Spec.TerminationGracePeriodSeconds = ptr.To(int64(1)) }, nil},
		"longer":   {func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = ptr.To(int64(5)) }, func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = ptr.To(int64(6)) }, []string{"FieldValueInvalid spec.activeDeadlineSeconds"}},
		"tolerate": {func(*corev1.Pod) {}, func(p *corev1.Pod) { p.Spec.Tolerations = []corev1.Toleration{{Key: "a", Operator: "Exists"}} }, nil},
		"intolerant": {func(p *corev1.Pod) { p.Spec.Tolerations = []corev1.Toleration{{Key: "a", Operator: "Exists"}} }, func(*corev1.Pod) {},
			[]string{"FieldValueForbidden spec.tolerations"}},
		"more containers": {func(*corev1.Pod) {}, func(p *corev1.Pod) {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "x", Image: "y"})
		}, []string{"FieldValueForbidden spec.containers"}},
		"gates off": {func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "a"}} }, func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"a": "b"} }, nil},
		"gates on": {func(*corev1.Pod) {}, func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "a"}} },
			[]string{"FieldValueForbidden spec.schedulingGates[0].name"}},
	} {
		t.Run(name, func(t *testing.T) { expect(t, validatePodUpdate(goodPod(c.new), goodPod(c.old)), c.want...) })
	}
	errs := validatePodUpdate(goodPod(func(p *corev1.Pod) { p.Spec.NodeName = "x" }), goodPod())
	if len(errs) != 1 || !strings.Contains(errs[0].Detail, "pod updates may not change fields other than `spec.containers[*].image`") {
		t.Errorf("got %v", errs)
	}
}

func TestPodGrace(t *testing.T) {
	on := func(p *corev1.Pod) { p.Spec.NodeName = "n" }
	for name, c := range map[string]struct {
		pod  *corev1.Pod
		ask  *int64
		want int64
	}{
		"nowhere": {goodPod(), nil, 0}, "default": {goodPod(on), nil, 30}, "asked": {goodPod(on), ptr.To(int64(5)), 5}, "now": {goodPod(on), ptr.To(int64(0)), 0},
		"ended": {goodPod(on, func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }), nil, 0}, "negative": {goodPod(on), ptr.To(int64(-3)), 1},
	} {
		if got, graceful := podGrace(c.pod, c.ask); got != c.want || graceful != (got > 0) {
			t.Errorf("%s: %d %v", name, got, graceful)
		}
	}
}

func TestQOSClass(t *testing.T) {
	half := corev1.ResourceList{"cpu": resource.MustParse("500m"), "memory": resource.MustParse("1Mi")}
	for want, r := range map[corev1.PodQOSClass]corev1.ResourceRequirements{
		corev1.PodQOSBestEffort: {}, corev1.PodQOSGuaranteed: {Limits: half}, corev1.PodQOSBurstable: {Requests: half},
	} {
		p := goodPod(func(p *corev1.Pod) { p.Spec.Containers[0].Resources = r })
		if got := QOSClass(&p.Spec); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestPodStatusCell(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 10, 0, 0, time.UTC)
	ago := metav1.NewTime(now.Add(-3 * time.Minute))
	waiting := func(reason string) corev1.ContainerState {
		return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}
	}
	ended := func(code int32, reason string) corev1.ContainerState {
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason}}
	}
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	for name, c := range map[string]struct {
		change func(*corev1.Pod)
		want   string // ready status restarts
	}{
		"pending": {func(p *corev1.Pod) { p.Status.Phase = "Pending" }, "0/1 Pending 0"},
		"running": {func(p *corev1.Pod) {
			p.Status.Phase = "Running"
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", Ready: true, State: running}}
		}, "1/1 Running 0"},
		"crash loop": {func(p *corev1.Pod) {
			p.Status.Phase = "Running"
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", RestartCount: 4, State: waiting("CrashLoopBackOff"),
				LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{FinishedAt: ago}}}}
		}, "0/1 CrashLoopBackOff 4 (3m ago)"},
		"init": {func(p *corev1.Pod) {
			p.Status.Phase = "Pending"
			p.Spec.InitContainers = []corev1.Container{{Name: "a"}, {Name: "b"}}
			p.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "a", State: ended(0, "Completed")}, {Name: "b", State: running}}
		}, "0/1 Init:1/2 0"},
		"init failed": {func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "a"}}
			p.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "a", State: ended(3, "")}}
		}, "0/1 Init:ExitCode:3 0"},
		"sidecar": {func(p *corev1.Pod) {
			p.Status.Phase = "Running"
			p.Spec.InitContainers = []corev1.Container{{Name: "a", RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways)}}
			p.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "a", Ready: true, Started: ptr.To(true), State: running}}
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", Ready: true, State: running}}
		}, "2/2 Running 0"},
		"completed": {func(p *corev1.Pod) {
			p.Status.Phase = "Succeeded"
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", State: ended(0, "Completed")}}
		}, "0/1 Completed 0"},
		"terminating": {func(p *corev1.Pod) { p.Status.Phase = "Running"; p.DeletionTimestamp = &ago }, "0/1 Terminating 0"},
		"lost": {func(p *corev1.Pod) {
			p.Status.Phase = "Running"
			p.Status.Reason = "NodeLost"
			p.DeletionTimestamp = &ago
		}, "0/1 Unknown 0"},
		"evicted": {func(p *corev1.Pod) { p.Status.Phase = "Failed"; p.Status.Reason = "Evicted" }, "0/1 Evicted 0"},
		"gated": {func(p *corev1.Pod) {
			p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "x"}}
			preparePod(p)
		}, "0/1 SchedulingGated 0"},
	} {
		p := goodPod(c.change)
		var cells []string
		for _, col := range podColumns()[1:4] {
			cells = append(cells, col.Value(p, now).(string))
		}
		if got := strings.Join(cells, " "); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestEphemeralAndResize(t *testing.T) {
	old := goodPod()
	withDebug := func(image string) *corev1.Pod {
		return goodPod(func(p *corev1.Pod) {
			p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug", Image: image}, TargetContainerName: "c"}}
			p.Spec.NodeName = "sneaked in"
		})
	}
	added := withDebug("a")
	prepareEphemeral(added, old)
	if added.Spec.NodeName != "" || added.Generation != old.Generation+1 {
		t.Errorf("node %q generation %d", added.Spec.NodeName, added.Generation)
	}
	expect(t, validateEphemeralUpdate(added, old))
	changed := withDebug("b")
	prepareEphemeral(changed, added)
	expect(t, validateEphemeralUpdate(changed, added), "FieldValueForbidden spec.ephemeralContainers")
	expect(t, validatePod(withDebug("a")), "FieldValueForbidden spec.ephemeralContainers", "FieldValueInvalid spec.nodeName")

	sized := func(cpu string) *corev1.Pod {
		return goodPod(func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{"cpu": resource.MustParse(cpu)}
		})
	}
	expect(t, validateResize(sized("2"), sized("1")))
	expect(t, validateResize(goodPod(), sized("1")), "FieldValueInvalid spec", "FieldValueForbidden spec.containers[0].resources.requests")
}
