package main

import (
	"context"
	"fmt"
	"os"
)

// sabotage takes one thing away from the guarded sale, so that the program can
// be seen to fail: INVENTORY_SABOTAGE=guard, fence or stall. An alarm that was
// never heard proves nothing.
type sabotage string

const (
	nothing      sabotage = ""
	withoutGuard sabotage = "guard" // the replicas sell without guard.Do
	withoutFence sabotage = "fence" // the fence forgets the tokens that it has seen
	withoutStall sabotage = "stall" // no replica is stopped
)

func sabotageFromEnv() (sabotage, error) {
	s := sabotage(os.Getenv("INVENTORY_SABOTAGE"))
	switch s {
	case nothing, withoutGuard, withoutFence, withoutStall:
		return s, nil
	default:
		return nothing, fmt.Errorf("INVENTORY_SABOTAGE=%s: must be guard, fence or stall", string(s))
	}
}

// shop does what there is to be done to the database.
func (s sabotage) shop(ctx context.Context, shop *shop, guarded bool) error {
	if s != withoutFence || !guarded {
		return nil
	}
	for _, event := range []string{"INSERT", "UPDATE"} {
		_, err := shop.db.ExecContext(ctx, `CREATE TRIGGER forget_`+event+` AFTER `+event+` ON fences
			WHEN new.token > 0 BEGIN UPDATE fences SET token = 0; END`)
		if err != nil {
			return err
		}
	}
	return nil
}
