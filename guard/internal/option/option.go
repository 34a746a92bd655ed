// Package option applies the options of a package.
package option

import "errors"

// Option sets something of an O. It is sealed:
//
//	type Option = option.Option[options]
type Option[O any] interface{ apply(*O) error }

// Func is an Option that returns why it is out of bounds.
type Func[O any] func(*O) error

func (f Func[O]) apply(o *O) error { return f(o) }

// Apply applies opts to the defaults, until one is wrong. A nil one is called by its kind.
func Apply[O any](defaults O, kind string, opts []Option[O]) (O, error) {
	for _, opt := range opts {
		if opt == nil {
			return defaults, errors.New(kind + " is nil")
		}
		if err := opt.apply(&defaults); err != nil {
			return defaults, err
		}
	}
	return defaults, nil
}
