package redisstore

import "time"

// TagOf is the tag in the names of the companions of a lease key.
func TagOf(lease string) string { return tags()[slotOf(lease)] }

// AlwaysTryFirst has s send first tries also of callers that are no engine's.
func AlwaysTryFirst(s *Store) { s.alwaysFirst = true }

// WaitForCompany has s send what it sends later with the next request only.
func WaitForCompany(s *Store) {
	b := s.router.laterTo()
	b.mu.Lock()
	b.later.most = time.Hour
	b.mu.Unlock()
}

// InboxOwners is how many owners the inbox of s keeps.
func InboxOwners(s *Store) int {
	s.inbox.mu.Lock()
	defer s.inbox.mu.Unlock()
	return len(s.inbox.owners)
}
