package redisstore

// TagOf is the tag in the names of the companions of a lease key.
func TagOf(lease string) string { return tags()[slotOf(lease)] }
