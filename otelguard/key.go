package otelguard

// appendKey adds what the user wants to be told of keys.
func (o *Observer) appendKey(kvs []kv, keys ...string) []kv {
	if o.key == nil {
		return kvs
	}
	var told []string
	for _, key := range keys {
		if text := ask(func() string { return o.key(key) }, ""); text != "" {
			told = append(told, valid(text))
		}
	}
	switch {
	case len(told) == 0:
		return kvs
	case len(keys) == 1:
		return append(kvs, keyKey.String(told[0]))
	}
	return append(kvs, keysKey.StringSlice(told))
}
