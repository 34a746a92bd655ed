package journal

import (
	"context"
	"iter"
)

// Dead returns the dead records, in the order of their death, read in pages of 100: each
// record that is dead from before the first page to after the last is in it once. An
// error of the log ends it.
func (j *Journal) Dead(ctx context.Context) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		const page = 100
		for cursor := ""; ; {
			records, next, err := j.log.Dead(ctx, cursor, page)
			if err != nil {
				yield(Record{}, err)
				return
			}
			for _, r := range records {
				if !yield(r, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			cursor = next
		}
	}
}

// Requeue makes a dead record open again, due now, its Attempt counting from 1.
// [ErrNotFound] if no record with this id is dead.
func (j *Journal) Requeue(ctx context.Context, id string) error { return j.log.Requeue(ctx, id) }

// Drop deletes a dead record. [ErrNotFound] if no record with this id is dead.
func (j *Journal) Drop(ctx context.Context, id string) error { return j.log.Drop(ctx, id) }

// Stats counts the records of the log, of all kinds and processes.
func (j *Journal) Stats(ctx context.Context) (Stats, error) { return j.log.Stats(ctx) }
