package build

import (
	"errors"
	"strings"
	"testing"
)

// Whatever names the Dockerfile language is read by the one that is built in; what names another says what to do.
func TestSyntaxLine(t *testing.T) {
	sum := "@sha256:" + strings.Repeat("a1", 32)
	for _, c := range []struct {
		line string
		want error
	}{
		{"# syntax=docker/dockerfile:1", nil},
		{"# syntax=docker/dockerfile", nil},
		{"#syntax=docker/dockerfile:1.7-labs", nil},
		{"# SYNTAX = docker/dockerfile:1" + sum, nil},
		{"# syntax=docker/dockerfile" + sum, nil},
		{"# syntax=docker.io/docker/dockerfile-upstream:master", nil},
		{"# syntax=mirror.example.org:5000/hub/docker/dockerfile:1", nil},
		{"# syntax=docker/dockerfile:1 # why", nil},
		{"#!/usr/bin/env x\n# syntax=docker/dockerfile:1", nil},
		{"// syntax=docker/dockerfile:1", nil},
		{"# syntax=example.org/mine:1", ErrUnsupported},
		{"# escape=`\n# syntax=example.org/mine:1", ErrUnsupported},
		{"# syntax=docker/dockerfile-x", ErrUnsupported},
		{"# syntax=mydocker/dockerfile", ErrUnsupported},
		{"# syntax=docker/dockerfile:", ErrDockerfile},
		{"# a comment\n# syntax=example.org/mine", nil},
		{"FROM scratch\n# syntax=example.org/mine", nil},
	} {
		if err := SyntaxLine([]byte(c.line + "\nFROM scratch\n")); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%q: %v, want %v", c.line, err, c.want)
		}
	}
	if err := CheckSyntax("example.org/mine", AskedSyntax); err == nil || !strings.Contains(err.Error(), "remove the build argument BUILDKIT_SYNTAX, or name docker/dockerfile:1 there") {
		t.Errorf("it does not say what to do: %v", err)
	}
}
