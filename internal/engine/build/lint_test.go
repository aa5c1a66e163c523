package build

import (
	"slices"
	"testing"
)

func TestLint(t *testing.T) {
	for _, c := range []struct {
		file   string
		want   []string
		strict bool
	}{
		{"FROM a\nCMD [\"x\"]\n", nil, false},
		{"FROM a\nCMD x\n", []string{"JSONArgsRecommended"}, false},
		{"FROM a\nSHELL [\"/bin/bash\"]\nCMD x\n", nil, false},
		{"FROM a AS Big\nfrom a as big\n", []string{"ConsistentInstructionCasing", "DuplicateStageName", "StageNameCasing"}, false},
		{"FROM a AS b\nFROM a AS b\n", []string{"DuplicateStageName"}, false},
		{"FROM a\nMAINTAINER me\n", []string{"MaintainerDeprecated"}, false},
		{"FROM a\nENV API_KEY=1 PUBLIC_KEY=2\nARG TOKEN\n", []string{"SecretsUsedInArgOrEnv", "SecretsUsedInArgOrEnv"}, false},
		{"FROM a\nWORKDIR b\nWORKDIR c\n", []string{"WorkdirRelativePath"}, false},
		{"FROM --platform=linux/amd64 a\n", []string{"FromPlatformFlagConstDisallowed"}, false},
		{"FROM --platform=linux/amd64 a AS named\n", []string{"FromPlatformFlagConstDisallowed"}, false},
		{"FROM a\nENV k v\nLABEL a=b\n", []string{"LegacyKeyValueFormat"}, false},
		{"FROM a\nEXPOSE 80/TCP 127.0.0.1:8:9 10/udp\n", []string{"ExposeInvalidFormat", "ExposeProtoCasing"}, false},
		{"ARG X\nFROM $X\n", []string{"InvalidDefaultArgInFrom"}, false},
		{"ARG X=a\nFROM $X$TARGETARCH\n", nil, false},
		{"FROM a$Y\n", []string{"UndefinedArgInFrom"}, false},
		{"FROM a AS b\nCOPY kept left /\nCOPY --from=x left /\nADD ./left /\n", []string{"CopyIgnoredFile", "CopyIgnoredFile"}, false},
		{"FROM --platform=$TARGETPLATFORM a\n", []string{"RedundantTargetPlatform"}, false},
		{"FROM a\nCMD [\"x\"]\nCMD [\"y\"]\n", []string{"MultipleInstructionsDisallowed"}, false},
		{"# check=skip=JSONArgsRecommended;error=true\nFROM a\nCMD x\n", nil, true},
	} {
		found, strict, err := Lint([]byte(c.file), "", "left\n")
		if err != nil {
			t.Errorf("%q: %v", c.file, err)
			continue
		}
		var got []string
		for _, f := range found {
			if f.From == 0 || f.Text == "" {
				t.Errorf("%q: %+v says not where or what", c.file, f)
			}
			got = append(got, f.Rule)
		}
		if slices.Sort(got); !slices.Equal(got, c.want) || strict != c.strict {
			t.Errorf("%q: %v, strict %v; want %v, strict %v", c.file, got, strict, c.want, c.strict)
		}
	}
}
