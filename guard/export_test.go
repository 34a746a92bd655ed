package guard

// ResetDefault undoes SetDefault, so that the test of it can run again.
func ResetDefault() { defaultGuard.Store(nil) }
