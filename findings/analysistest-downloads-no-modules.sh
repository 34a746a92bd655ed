#!/usr/bin/env bash
# golang.org/x/tools v0.52.0, go/analysis/analysistest, Go 1.26.
#
# Where testdata is a module of its own (it has a go.mod), analysistest.Run loads it with
# GOPROXY=off. The documentation of Run does not say so. The test passes on a machine whose
# module cache happens to have what testdata requires, and fails on a new one, though its go.mod and
# go.sum are complete and the network is there. `go list -deps ./...` in testdata, before,
# mends it.
#
# Output seen:
#   new module cache: FAIL, module lookup disabled by GOPROXY=off
#   after go list -deps in testdata: ok
set -euo pipefail
dir=$(mktemp -d)
trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT
cd "$dir"
export GOFLAGS=-mod=mod GOWORK=off
go mod init finding >/dev/null 2>&1
mkdir -p testdata/a
cat > nothing_test.go <<'GO'
package finding

import (
	"testing"

	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/analysis/analysistest"
)

func TestFindsNothing(t *testing.T) {
	nothing := &analysis.Analyzer{Name: "nothing", Doc: "finds nothing", Run: func(*analysis.Pass) (any, error) { return nil, nil }}
	analysistest.Run(t, analysistest.TestData(), nothing, "./a")
}
GO
cat > testdata/a/a.go <<'GO'
package a

import "github.com/google/uuid"

var ID = uuid.New()
GO
(cd testdata && go mod init example.com/a && go get github.com/google/uuid@v1.6.0) >/dev/null 2>&1
go get golang.org/x/tools@v0.52.0 >/dev/null 2>&1

export GOMODCACHE=$dir/cache
go test -count=1 . > first 2>&1 && { echo "changed: the first run passes"; exit 1; }
grep -q 'module lookup disabled by GOPROXY=off' first || { echo "changed:"; cat first; exit 1; }
echo "new module cache: FAIL, module lookup disabled by GOPROXY=off"
(cd testdata && go list -deps ./... >/dev/null 2>&1)
go test -count=1 . > second 2>&1 || { echo "changed:"; cat second; exit 1; }
echo "after go list -deps in testdata: ok"
