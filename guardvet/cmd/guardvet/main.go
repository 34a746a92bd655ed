// Command guardvet finds mistakes that void the promise of guard.Do; see package
// github.com/jobguard/jobguard/guardvet. It is a tool of go vet:
//
//	go vet -vettool=$(which guardvet) ./...
package main

import (
	"golang.org/x/tools/go/analysis/unitchecker"

	"github.com/jobguard/jobguard/guardvet"
)

func main() { unitchecker.Main(guardvet.Analyzer) }
