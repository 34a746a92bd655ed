package otelguard

import (
	"runtime/debug"
	"slices"
	"sync"
)

// version is that of this module in the program; "" where it is built from a working copy.
var version = sync.OnceValue(func() string {
	info, there := debug.ReadBuildInfo()
	if !there {
		return ""
	}
	return versionIn(info)
})

func versionIn(info *debug.BuildInfo) string {
	for _, m := range slices.Concat(info.Deps, []*debug.Module{&info.Main}) {
		if m.Path != scope {
			continue
		}
		if m.Replace != nil {
			m = m.Replace
		}
		if m.Version != "(devel)" {
			return m.Version
		}
	}
	return ""
}
