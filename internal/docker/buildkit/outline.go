package buildkit

import "nau/internal/engine/build"

// outline is the answer to frontend.outline, as docker build --call=outline reads it.
type outline struct {
	Name        string      `json:"name,omitempty"`
	Description string      `json:"description,omitempty"`
	Args        []parameter `json:"args,omitempty"`
	Secrets     []parameter `json:"secrets,omitempty"`
	SSH         []parameter `json:"ssh,omitempty"`
	Sources     [][]byte    `json:"sources,omitempty"`
}

type parameter struct {
	Name        string   `json:"name"`
	Description string   `json:"description,omitempty"`
	Value       string   `json:"value,omitempty"`
	Required    bool     `json:"required,omitempty"`
	Location    location `json:"location"`
}

// targets is the answer to frontend.targets.
type targets struct {
	Targets []target `json:"targets"`
	Sources [][]byte `json:"sources"`
}

type target struct {
	Name        string   `json:"name,omitempty"`
	Default     bool     `json:"default,omitempty"`
	Description string   `json:"description,omitempty"`
	Base        string   `json:"base,omitempty"`
	Platform    string   `json:"platform,omitempty"`
	Location    location `json:"location"`
}

func outlineOf(o build.Outline, file []byte) outline {
	return outline{o.Name, o.Description, parametersOf(o.Args), parametersOf(o.Secrets), parametersOf(o.SSH), [][]byte{file}}
}

func parametersOf(list []build.Parameter) (out []parameter) {
	for _, p := range list {
		value := ""
		if p.Value != nil {
			value = *p.Value
		}
		out = append(out, parameter{p.Name, p.Description, value, p.Required, at(p.From, p.To)})
	}
	return out
}

func targetsOf(list []build.Target, file []byte) targets {
	out := targets{Targets: []target{}, Sources: [][]byte{file}}
	for _, t := range list {
		out.Targets = append(out.Targets, target{t.Name, t.Default, t.Description, t.Base, t.Platform, at(t.From, t.To)})
	}
	return out
}
