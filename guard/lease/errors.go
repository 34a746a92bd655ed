package lease

import "errors"

// ErrRefused marks an error of a [Store] that a retry does not change: the server
// understood the request, did nothing, and will answer the same again (out of memory,
// no permission, wrong type). Stores wrap it together with the cause; test with
// errors.Is.
var ErrRefused = errors.New("refused by the store")
