//go:build mesh

package gatewaytest

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
	"github.com/spillway-proxy/spillway/e2e/test/mesh/cluster"
)

// pod is a network namespace, and what its container would have mounted.
type pod struct {
	*cluster.Pod
	files string // a folder, whose folders are mounted at the root
}

// newPod makes a pod that has a Secret at /certs, and other files.
func newPod(name, ip, secret string, files map[string]string) (*pod, error) {
	inner, err := kube.NewPod(name, ip)
	if err != nil {
		return nil, err
	}
	text, err := kube.Kubectl("get", "secret", secret, "-n", system, "-o", "json")
	if err != nil {
		return nil, err
	}
	var object struct{ Data map[string][]byte }
	if err := json.Unmarshal([]byte(text), &object); err != nil {
		return nil, err
	}
	all := map[string]string{"data/README": "ratelimit's working folder\n"}
	maps.Copy(all, files)
	for key, value := range object.Data {
		all["certs/"+key] = string(value)
	}
	p := &pod{inner, filepath.Join(kube.Dir, name+".files")}
	for path, text := range all {
		path = filepath.Join(p.files, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, err
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// inRoot runs a command in a root folder that has all of the machine's, and the pod's files beside them: paths like /certs are
// written into the programs.
const inRoot = `
files=$1; shift
mount -t tmpfs tmpfs /mnt
for folder in /*; do
	if [ "$folder" = /mnt ]; then continue; fi
	if [ -L "$folder" ]; then cp -a "$folder" /mnt/; elif [ -d "$folder" ]; then mkdir "/mnt$folder"; mount --rbind "$folder" "/mnt$folder"; fi
done
for folder in "$files"/*; do
	at=/mnt/${folder##*/}; mkdir -p "$at"; mount --bind "$folder" "$at"
done
exec chroot /mnt "$@"`

func (p *pod) start(name string, env []string, command ...string) (*envoyproc.Process, error) {
	sh := exec.Command("sh", append([]string{"-euc", inRoot, "sh", p.files}, command...)...)
	sh.Env = env
	return p.Run(name, sh)
}

// container is a part of a Deployment.
type container struct {
	Name, Image   string
	Command, Args []string
	Env           []struct {
		Name, Value string
		ValueFrom   struct{ FieldRef struct{ FieldPath string } }
	}
}

type deployment struct {
	Spec struct {
		Template struct {
			Spec struct {
				Containers []container
				Volumes    []struct {
					ConfigMap struct{ Name string }
				}
			}
		}
	}
}

// deployed waits for the Deployment that Envoy Gateway makes, and returns its main container, and its ConfigMaps' files, which
// are mounted at /sds.
func deployed(selector ...string) (c container, files map[string]string, err error) {
	var list struct{ Items []deployment }
	err = kube.Await(nil, "Envoy Gateway makes a Deployment "+strings.Join(selector, " "), func() error {
		text, err := kube.Kubectl(append([]string{"get", "deployment", "-n", system, "-o", "json"}, selector...)...)
		if err == nil {
			err = json.Unmarshal([]byte(text), &list)
		}
		if err == nil && len(list.Items) != 1 {
			err = fmt.Errorf("there are %d", len(list.Items))
		}
		return err
	})
	if err != nil {
		return c, nil, fmt.Errorf("%w\n%s", err, kube.LogTail("envoy-gateway.envoy-gateway"))
	}
	spec := list.Items[0].Spec.Template.Spec
	files = map[string]string{}
	for _, volume := range spec.Volumes {
		if volume.ConfigMap.Name == "" {
			continue
		}
		text, err := kube.Kubectl("get", "configmap", volume.ConfigMap.Name, "-n", system, "-o", "json")
		if err != nil {
			return c, nil, err
		}
		var object struct{ Data map[string]string }
		if err := json.Unmarshal([]byte(text), &object); err != nil {
			return c, nil, err
		}
		for key, value := range object.Data {
			files["sds/"+key] = value
		}
	}
	return spec.Containers[0], files, nil
}

// environment is the container's, in a pod of that name.
func (c *container) environment(pod string) []string {
	env := []string{"PATH=" + os.Getenv("PATH")}
	for _, e := range c.Env {
		value := e.Value
		switch e.ValueFrom.FieldRef.FieldPath {
		case "metadata.name":
			value = pod
		case "metadata.namespace":
			value = system
		}
		env = append(env, e.Name+"="+value)
	}
	return env
}

var variable = regexp.MustCompile(`\$\((\w+)\)`)

// arguments are the container's, with the variables of its environment replaced, as Kubernetes does.
func (c *container) arguments(env []string) []string {
	var args []string
	for _, arg := range c.Args {
		args = append(args, variable.ReplaceAllStringFunc(arg, func(name string) string {
			at := slices.IndexFunc(env, func(e string) bool { return strings.HasPrefix(e, name[2:len(name)-1]+"=") })
			if at < 0 {
				return name
			}
			return strings.SplitN(env[at], "=", 2)[1]
		}))
	}
	return args
}
