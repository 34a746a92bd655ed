package otelguard

import (
	"runtime/debug"
	"testing"
)

func TestVersionIsThatOfTheModule(t *testing.T) {
	other := &debug.Module{Path: "example.com/other", Version: "v9.9.9"}
	for name, c := range map[string]struct {
		info debug.BuildInfo
		want string
	}{
		"of a dependency": {debug.BuildInfo{Main: *other, Deps: []*debug.Module{other, {Path: scope, Version: "v1.2.3"}}}, "v1.2.3"},
		"of a fork": {debug.BuildInfo{Main: *other, Deps: []*debug.Module{
			{Path: scope, Version: "v1.2.3", Replace: &debug.Module{Path: "example.com/fork", Version: "v1.2.4"}},
		}}, "v1.2.4"},
		"of a working copy": {debug.BuildInfo{Main: debug.Module{Path: scope, Version: "(devel)"}}, ""},
		"absent":            {debug.BuildInfo{Main: *other}, ""},
	} {
		if got := versionIn(&c.info); got != c.want {
			t.Errorf("version %s is %q, want %q", name, got, c.want)
		}
	}
}
