//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"nau/test/e2e/harness"
)

// One name, several platforms: how they come, show, and go.
func TestDockerPlatforms(t *testing.T) {
	needDocker(t)
	m := harness.New(t)
	plugin(t, m)
	m.Registry()
	m.Up()
	m.Must("docker", "pull", "-q", "busybox")
	own := strings.TrimSpace(m.Must("docker", "version", "-f", "{{.Server.Arch}}"))
	other := map[string]string{"amd64": "arm64", "arm64": "amd64"}[own]
	if other == "" {
		other = "amd64"
	}
	all := "linux/" + own + ",linux/" + other + ",linux/s390x"
	folder := files(t, m, "many", map[string]string{own: own, other: other, "s390x": "s390x",
		"Dockerfile": "FROM scratch\nARG TARGETARCH\nLABEL arch=$TARGETARCH\nCOPY $TARGETARCH /arch\nCMD [\"/arch\"]\n"})
	const name = "127.0.0.1:5000/many:1"
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(m.RunDir, "docker.sock"))
	}}}
	get := func(t *testing.T, path string, into any) int {
		t.Helper()
		resp, err := client.Get("http://docker/v1.56" + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode
	}
	type manifest struct {
		ID        string
		Available bool
		Kind      string
		Size      struct{ Content, Total int64 }
		ImageData *struct {
			Platform   struct{ Architecture string }
			Containers []string
		}
		AttestationData *struct{ For string }
	}
	// here tells which of a name's platforms are here, and how much is said about them.
	here := func(t *testing.T, ref string) string {
		t.Helper()
		var doc struct{ Manifests []manifest }
		if code := get(t, "/images/"+ref+"/json?manifests=1", &doc); code != http.StatusOK {
			return "nothing"
		}
		var out []string
		said := 0
		for _, x := range doc.Manifests {
			switch {
			case x.AttestationData != nil && x.Available:
				said++
			case x.ImageData != nil && x.Available:
				out = append(out, x.ImageData.Platform.Architecture)
				if x.Size.Content == 0 || x.Size.Total <= x.Size.Content {
					t.Errorf("%s has sizes %+v", x.ID, x.Size)
				}
			}
		}
		return fmt.Sprintf("%s +%d", strings.Join(out, " "), said)
	}
	want := func(t *testing.T, ref, what string) {
		t.Helper()
		if got := here(t, ref); got != what {
			t.Errorf("of %s there is %s, want %s", ref, got, what)
		}
	}
	platform := func(arch string) string { return "%7B%22os%22:%22linux%22,%22architecture%22:%22" + arch + "%22%7D" }

	t.Run("build", func(t *testing.T) {
		run(t, m.In(t), []line{
			{args: "buildx build --progress plain --platform " + all + " --provenance=mode=max --load -t " + name + " " + folder},
			{args: "images -q 127.0.0.1:5000/many", out: ""},
			{args: "push " + name, out: "1: digest: sha256:"},
			{args: "buildx imagetools inspect " + name, out: "linux/s390x"},
		})
		want(t, name, own+" "+other+" s390x +3")
		var list []struct{ RepoTags []string }
		if get(t, "/images/json?all=0&filters=%7B%22reference%22:%5B%22127.0.0.1:5000/many%22%5D%7D", &list); len(list) != 1 {
			t.Errorf("it is %d images", len(list))
		}
		var raw struct{ Digest string }
		if err := json.Unmarshal([]byte(m.Must("docker", "buildx", "imagetools", "inspect", "--format", "{{json .Manifest}}", name)), &raw); err != nil {
			t.Fatal(err)
		}
		var doc struct{ Descriptor struct{ Digest string } }
		if get(t, "/images/"+name+"/json", &doc); doc.Descriptor.Digest != raw.Digest || raw.Digest == "" {
			t.Errorf("the name stands for %q here and for %q at the registry", doc.Descriptor.Digest, raw.Digest)
		}
	})
	t.Run("views", func(t *testing.T) {
		run(t, m.In(t), []line{
			{args: "images --tree", out: "linux/s390x"},
			{args: "image inspect -f {{.Architecture}} " + name, out: own + "\n"},
			{args: "image inspect --platform linux/" + other + " -f {{.Architecture}} " + name, out: other + "\n"},
			{args: "image inspect --platform linux/ppc64le " + name, code: 1, err: "image with reference " + name + " was found but does not provide the specified platform (linux/ppc64le)"},
			{args: "history --no-trunc --platform linux/s390x " + name, out: "LABEL arch=s390x"},
			{args: "history --platform linux/ppc64le " + name, code: 1, err: "does not provide the specified platform (linux/ppc64le)"},
		})
		var said []struct {
			PredicateType string
			Statement     *struct {
				Subject []struct{ Digest map[string]string }
			}
		}
		var doc struct{ Descriptor struct{ Digest string } }
		get(t, "/images/"+name+"/json?platform="+platform("s390x"), &doc)
		if code := get(t, "/images/"+name+"/attestations?statement=1&platform="+platform("s390x"), &said); code != 200 || len(said) != 1 || !strings.HasPrefix(said[0].PredicateType, "https://slsa.dev/provenance/") ||
			said[0].Statement == nil || "sha256:"+said[0].Statement.Subject[0].Digest["sha256"] != doc.Descriptor.Digest {
			t.Errorf("what is said about s390x: %d %+v, its manifest is %s", code, said, doc.Descriptor.Digest)
		}
		if code := get(t, "/images/"+name+"/attestations?type=https://spdx.dev/Document", &said); code != 200 || len(said) != 0 {
			t.Errorf("of another type: %d %+v", code, said)
		}
		var refused struct{ Message string }
		if code := get(t, "/images/"+name+"/attestations?platform="+platform("ppc64le"), &refused); code != 404 || !strings.Contains(refused.Message, "no manifest for platform linux/ppc64le") {
			t.Errorf("about what is not there: %d %s", code, refused.Message)
		}
		if code := get(t, "/images/"+name+"/json?manifests=1&platform="+platform(own), &refused); code != 400 || !strings.Contains(refused.Message, "manifests and platform options cannot both be set") {
			t.Errorf("both at once: %d %s", code, refused.Message)
		}
	})
	t.Run("containers", func(t *testing.T) {
		run(t, m.In(t), []line{
			{args: "create --name foreign --platform linux/" + other + " " + name, out: ""},
			{args: "cp foreign:/arch foreign.arch"},
			{args: "create --name native " + name},
			{args: "cp native:/arch native.arch"},
			{args: "create --name none --pull never --platform linux/ppc64le " + name, code: 1, err: "does not provide the specified platform (linux/ppc64le)"},
			{args: "ps -a --filter name=foreign --format {{.Image}}", out: name + "\n"},
			{args: "rmi -f --platform linux/" + other + " " + name, code: 1, err: "conflict: unable to delete platform linux/" + other},
			{args: "rmi " + name, code: 1, err: "conflict: unable to remove repository reference"},
		})
		if a, b := m.Must("cat", "foreign.arch"), m.Must("cat", "native.arch"); a != other || b != own {
			t.Errorf("the containers have %q and %q", a, b)
		}
		users := map[string]int{}
		var doc struct{ Manifests []manifest }
		get(t, "/images/"+name+"/json?manifests=1", &doc)
		for _, x := range doc.Manifests {
			if x.ImageData != nil {
				users[x.ImageData.Platform.Architecture] = len(x.ImageData.Containers)
			}
		}
		if users[own] != 1 || users[other] != 1 || users["s390x"] != 0 {
			t.Errorf("users are %v", users)
		}
		m.Must("docker", "rm", "foreign", "native")
	})
	t.Run("archives", func(t *testing.T) {
		m := m.In(t)
		run(t, m, []line{
			{args: "save -o all.tar " + name},
			{args: "save --platform linux/s390x -o one.tar " + name},
			{args: "save --platform linux/ppc64le -o none.tar " + name, code: 1, err: "no suitable export target found: image with reference " + name + " was found but does not provide the specified platform (linux/ppc64le)"},
			{args: "rmi " + name, out: "Untagged: " + name},
		})
		want(t, name, "nothing")
		run(t, m, []line{{args: "load -i one.tar", out: "Loaded image: " + name}})
		want(t, name, "s390x +0")
		run(t, m, []line{{args: "load --platform linux/" + own + " -i one.tar", code: 1, err: "linux/" + own}, {args: "rmi " + name}, {args: "load --platform linux/" + other + " -i all.tar", out: "Loaded image: " + name}})
		want(t, name, other+" +1")
		run(t, m, []line{{args: "load -i all.tar", out: "Loaded image: " + name}})
		want(t, name, own+" "+other+" s390x +3")
		for _, kind := range []string{"docker-archive:all.tar", "oci-archive:all.tar"} {
			if r := m.Do("", "skopeo", "inspect", kind); r.Code != 0 || !strings.Contains(r.Stdout, `"Architecture": "`+own+`"`) {
				t.Errorf("skopeo of %s: %s%s", kind, r.Stdout, r.Stderr)
			}
		}
	})
	t.Run("pull, push and remove", func(t *testing.T) {
		m := m.In(t)
		run(t, m, []line{
			{args: "rmi " + name},
			{args: "builder prune -af"}, // or the layers are here all the same
			{args: "pull --platform linux/" + other + " " + name, out: "Status: Downloaded newer image for " + name},
		})
		want(t, name, other+" +1")
		run(t, m, []line{
			{args: "image inspect -f {{.Architecture}} " + name, out: other + "\n"},
			{args: "pull " + name, out: "Pull complete"},
			{args: "image inspect -f {{.Architecture}} " + name, out: own + "\n"},
			{args: "pull --platform linux/" + other + " " + name, out: "Status: Image is up to date for " + name},
			{args: "pull --platform linux/ppc64le " + name, code: 1, err: "no matching manifest for linux/ppc64le in the manifest list entries"},
			{args: "pull --platform foobar " + name, code: 1, err: "unknown operating system or architecture"},
		})
		want(t, name, own+" "+other+" +2")
		m.Must("docker", "tag", name, "127.0.0.1:5000/part:1")
		run(t, m, []line{
			{args: "push 127.0.0.1:5000/part:1", out: "Not all multiplatform-content is present and only the available single-platform image was pushed"},
			{args: "buildx imagetools inspect 127.0.0.1:5000/part:1", out: "MediaType: application/vnd.oci.image.manifest.v1+json"},
			{args: "push --platform linux/" + other + " 127.0.0.1:5000/part:1", out: "1: digest: sha256:"},
			{args: "push --platform linux/s390x 127.0.0.1:5000/part:1", code: 1, err: "does not provide the specified platform (linux/s390x)"},
			{args: "rmi 127.0.0.1:5000/part:1", out: "Untagged: 127.0.0.1:5000/part:1"},
			{args: "pull 127.0.0.1:5000/part:1", out: "Status: Downloaded newer image"},
			{args: "image inspect -f {{.Architecture}} 127.0.0.1:5000/part:1", out: other + "\n"},
			{args: "rmi 127.0.0.1:5000/part:1", out: "Untagged: 127.0.0.1:5000/part:1"},
			{args: "rmi --platform linux/" + other + " " + name, code: 1, err: "Use —-force to force delete."},
			{args: "rmi -f --platform linux/" + other + " " + name, out: "Deleted: sha256:"},
		})
		want(t, name, own+" +1")
		run(t, m, []line{
			{args: "pull --platform linux/" + other + " " + name},
			{args: "pull --platform linux/s390x " + name},
			{args: "push " + name, out: "1: digest: sha256:"},
		})
		before := m.Must("docker", "images", "-aq")
		want(t, name, own+" "+other+" s390x +3")
		run(t, m, []line{{args: "image prune -f"}, {args: "rmi " + name, out: "Untagged: " + name}})
		if after := m.Must("docker", "images", "-aq"); strings.Count(before, "\n") != strings.Count(after, "\n")+1 {
			t.Errorf("images before the removal of one: %s, after it: %s", before, after)
		}
	})
	t.Run("pods take this node's", func(t *testing.T) {
		m := m.In(t)
		run(t, m, []line{{args: "pull --platform linux/s390x " + name}})
		want(t, name, "s390x +1")
		m.Must("kubectl", "run", "native", "--image", name, "--image-pull-policy", "IfNotPresent", "--restart", "Never")
		m.Must("kubectl", "wait", "pod/native", "--for", "jsonpath={.status.containerStatuses[0].imageID}", "--timeout", "60s")
		if got := here(t, name); !strings.HasPrefix(got, own+" s390x") {
			t.Errorf("after a pod there is %s", got)
		}
		m.Must("kubectl", "delete", "pod", "native", "--now")
	})
}
