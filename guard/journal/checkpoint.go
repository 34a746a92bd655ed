package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/journal/record"
)

type runKey struct{}

// ID returns the id of the innermost run that ctx comes from, which is Record.ID in its
// handler: a name under which other services can remember what the run asked of them, so
// that the handler finds it. "" outside of a run, and in a handler.
//
// It names the run and not the work: whoever does the same again, such as an asynq task
// that is delivered again although it was done, has a new id. Ask services that must act
// once per order under the order's id, and look first whether it is done: the example
// Journal of package asynqmw shows it.
func ID(ctx context.Context) string {
	if r, _ := ctx.Value(runKey{}).(*run); r != nil {
		return r.ID
	}
	return ""
}

// Checkpoint stores data with the record of the innermost run that ctx comes from, in
// place of the last one: how far fn has come, for the handler. The error is
// [ErrTooLarge], [ErrNoRun], guard.ErrLost if the compensation of the run has begun, or
// the log's; after the latter, data may be stored.
//
// With sqllog on SQLite it returns an error while the run's own transaction, the one
// given to sqllog.Done, is open: it would wait for that for ever.
func Checkpoint(ctx context.Context, data []byte) error {
	r, _ := ctx.Value(runKey{}).(*run)
	if r == nil {
		return ErrNoRun
	}
	if size := len(r.Payload) + len(data); size > record.Most {
		return fmt.Errorf("%w: %d bytes", ErrTooLarge, size)
	}
	r.mu.Lock()
	if r.over {
		r.mu.Unlock()
		return ErrNoRun
	}
	r.checkpoint = slices.Clone(data)
	r.checkpoints++
	n := r.checkpoints
	r.mu.Unlock()
	err := r.Log.Checkpoint(ctx, r.Ref(), n, data)
	switch {
	case errors.Is(err, record.ErrNotFound):
		return fmt.Errorf("journal: checkpoint: %w: the run counts as over", guard.ErrLost)
	case err != nil:
		return fmt.Errorf("journal: checkpoint: %w", err)
	}
	return nil
}

// cut shortens s to what is kept of an error, in valid UTF-8.
func cut(s string) string {
	if len(s) > mostErr {
		s = s[:mostErr]
	}
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "�")
}
