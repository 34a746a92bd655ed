package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// machine is where the figures come from.
type machine struct {
	cpu      string
	system   string
	redis    string
	load     string // before the run
	versions map[string]string
	date     string
}

func thisMachine() machine {
	m := machine{
		cpu:      fmt.Sprintf("%s, %d cores", cpuModel(), runtime.NumCPU()),
		system:   strings.TrimSpace(fmt.Sprintf("%s/%s %s", runtime.GOOS, runtime.GOARCH, contents("/proc/sys/kernel/osrelease"))),
		redis:    redisVersion(),
		load:     firstField(contents("/proc/loadavg")),
		versions: map[string]string{"go": runtime.Version()},
		date:     time.Now().UTC().Format(time.DateOnly),
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			m.versions[d.Path] = d.Version
			if d.Replace != nil || d.Version == "(devel)" {
				m.versions[d.Path] = "this checkout"
			}
		}
	}
	return m
}

// version of a module, as it was built in.
func (m machine) version(module string) string {
	if v, ok := m.versions[module]; ok {
		return v
	}
	return "version unknown"
}

func cpuModel() string {
	for line := range strings.Lines(contents("/proc/cpuinfo")) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}

// redisVersion is the server's own word: "Redis server v=7.0.15 sha=…".
func redisVersion() string {
	out, err := exec.Command("redis-server", "--version").Output()
	if err != nil {
		return "unknown"
	}
	for word := range strings.FieldsSeq(string(out)) {
		if v, ok := strings.CutPrefix(word, "v="); ok {
			return v
		}
	}
	return "unknown"
}

// contents of a file that only some systems have.
func contents(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

func firstField(s string) string {
	for word := range strings.FieldsSeq(s) {
		return word
	}
	return "unknown"
}
