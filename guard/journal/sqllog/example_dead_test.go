package sqllog_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/journal"
	"github.com/jobguard/jobguard/guard/journal/sqllog"
	"github.com/jobguard/jobguard/guard/sqlfence"
)

// The dead records of a journal in SQL, for an operator: all are listed, one is tried again.
func ExampleLog_dead() {
	var ctx context.Context
	var db *sql.DB
	var g *guard.Guard
	var id string

	records, err := sqllog.New(db, sqlfence.Postgres) // the Dialect and Table of the service
	if err != nil {
		log.Fatal(err)
	}
	j, err := journal.New(g, records) // a guard over the store of the service
	if err != nil {
		log.Fatal(err)
	}
	for r, err := range j.Dead(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(r.ID, r.Kind, r.Key, r.Attempt, r.Started, r.Err)
	}
	if err := j.Requeue(ctx, id); err != nil { // or Drop; journal.ErrNotFound: it is not dead
		log.Fatal(err)
	}
}
