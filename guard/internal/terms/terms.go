// Package terms tells packages of this module what a Guard was configured with.
package terms

import "time"

// Terms are what a Guard's runs go on under.
type Terms struct {
	TTL       time.Duration
	Exclusive bool // neither Limit nor Shared
}

// Of returns the terms of a *guard.Guard. Package guard sets it.
var Of func(guard any) Terms

// NoReplace is a guard.Option that undoes guard.Replace. Package guard sets it.
var NoReplace any
