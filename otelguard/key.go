package otelguard

// appendKey adds what WithKeyAttribute's function returns for keys.
func (o *Observer) appendKey(kvs []kv, keys ...string) []kv {
	if o.key == nil {
		return kvs
	}
	var texts []string
	for _, key := range keys {
		if text := ask(func() string { return o.key(key) }, ""); text != "" {
			texts = append(texts, valid(text))
		}
	}
	switch {
	case len(texts) == 0:
		return kvs
	case len(keys) == 1:
		return append(kvs, keyKey.String(texts[0]))
	}
	return append(kvs, keysKey.StringSlice(texts))
}
