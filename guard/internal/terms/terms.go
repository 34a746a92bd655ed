// Package terms tells packages of this module what a Guard was configured with.
package terms

import "time"

// Terms are what a Guard's runs go on under.
type Terms struct {
	Name      string // guard.Name
	TTL       time.Duration
	Exclusive bool // neither Limit nor Shared
}

// Of returns the terms of a *guard.Guard. Package guard sets it.
var Of func(guard any) Terms

// Begin counts a call of a *guard.Guard that Shutdown waits for, until end is called.
// Package guard sets it.
var Begin func(guard any) (end func())

// Closed reports whether Shutdown of a *guard.Guard has begun. Package guard sets it.
var Closed func(guard any) bool

// NoReplace is a guard.Option that undoes guard.Replace. Package guard sets it.
var NoReplace any
