// Package sqlfence lets an SQL database refuse the writes of a run whose time is over.
package sqlfence
