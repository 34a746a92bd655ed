package lease

import "errors"

// ErrRefused marks an error of a [Store] that is an answer, not an accident:
// the server understood the request, did nothing, and will say the same again
// (out of memory, no permission, wrong type). It is not worth a retry. Stores
// wrap it together with the cause; test with errors.Is.
var ErrRefused = errors.New("refused by the store")
