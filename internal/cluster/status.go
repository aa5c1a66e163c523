package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"nau/internal/cluster/host"
)

// Status is what `nau status` shows.
type Status struct {
	Running    bool
	Pid        int
	Memory     int64 // bytes of proportional set size, nau and its monitor
	Server     string
	Kubeconfig string
	Docker     string   // its socket; "" where pods run on another runtime
	Nodes      []string // "NAME Ready"
	Pods       map[corev1.PodPhase]int
	Problem    string // why the API does not answer
}

// DockerSocket is where an instance serves the Docker API, "" where it does not; usual tells that Docker's clients find it unasked.
func DockerSocket(c *Config) (path string, usual bool) {
	path = filepath.Join(c.RunDir, "docker.sock")
	ours, err := os.Stat(path)
	if err != nil {
		return "", false
	}
	theirs, err := os.Stat(dockerSocket)
	return path, err == nil && os.SameFile(ours, theirs)
}

// Look asks a running instance how it is.
func Look(ctx context.Context, c *Config) (*Status, error) {
	recall(c)
	status := &Status{Kubeconfig: c.KubeconfigPath()}
	status.Pid, status.Running = host.Running(c.RunDir)
	if !status.Running {
		return status, nil
	}
	status.Memory = pss(status.Pid)
	socket, usual := DockerSocket(c)
	if status.Docker = socket; usual {
		status.Docker += ", which is " + dockerSocket
	}
	rest, err := clientcmd.BuildConfigFromFlags("", status.Kubeconfig)
	if err != nil {
		status.Problem = err.Error()
		return status, nil
	}
	rest.Timeout = 5 * time.Second
	status.Server = rest.Host
	client, err := kubernetes.NewForConfig(rest)
	if err != nil {
		return nil, err
	}
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		status.Problem = err.Error()
		return status, nil
	}
	for i := range nodes.Items {
		status.Nodes = append(status.Nodes, nodes.Items[i].Name+" "+readiness(&nodes.Items[i]))
	}
	pods, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		status.Problem = err.Error()
		return status, nil
	}
	status.Pods = map[corev1.PodPhase]int{}
	for i := range pods.Items {
		status.Pods[pods.Items[i].Status.Phase]++
	}
	return status, nil
}

func readiness(node *corev1.Node) string {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
			return "Ready"
		}
	}
	return "NotReady"
}

// pss is the process's share of memory in bytes, 0 where it cannot be read.
func pss(pid int) int64 {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "smaps_rollup"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			kib, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kib << 10
		}
	}
	return 0
}

// Rows are label and text, line by line.
func (s *Status) Rows() [][2]string {
	if !s.Running {
		return [][2]string{{"Nau", "not running"}}
	}
	rows := [][2]string{{"Nau", fmt.Sprintf("running, pid %d, %.1f MiB", s.Pid, float64(s.Memory)/(1<<20))}, {"Kubeconfig", s.Kubeconfig}}
	if s.Docker != "" {
		rows = append(rows, [2]string{"Docker", s.Docker})
	}
	if s.Problem != "" {
		return append(rows, [2]string{"API", "does not answer: " + s.Problem})
	}
	rows = append(rows, [2]string{"API", s.Server}, [2]string{"Nodes", strings.Join(s.Nodes, ", ")})
	var pods []string
	for _, phase := range []corev1.PodPhase{corev1.PodRunning, corev1.PodPending, corev1.PodSucceeded, corev1.PodFailed, corev1.PodUnknown} {
		if n := s.Pods[phase]; n > 0 {
			pods = append(pods, fmt.Sprintf("%d %s", n, phase))
		}
	}
	if len(pods) == 0 {
		pods = []string{"none"}
	}
	return append(rows, [2]string{"Pods", strings.Join(pods, ", ")})
}
