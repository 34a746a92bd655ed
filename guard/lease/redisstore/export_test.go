package redisstore

// TagOf is the tag in the names of the companions of a lease key.
func TagOf(lease string) string { return tags()[slotOf(lease)] }

// AlwaysTryFirst has s send first tries also of callers that are no engine's.
func AlwaysTryFirst(s *Store) { s.alwaysFirst = true }
