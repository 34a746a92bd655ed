package redisstore

import "testing"

func TestTokensOfAMessage(t *testing.T) {
	for text, want := range map[string]message{
		"17":    {grant: true, fence: 17, tokens: 1},
		"17+3":  {grant: true, fence: 17, tokens: 3},
		"0":     {grant: true, fence: 0, tokens: 1}, // of one that is not exclusive
		"":      {},
		"+":     {},
		"17+":   {},
		"17+0":  {},
		"17+-1": {},
		"+3":    {},
		"x+3":   {},
		"17+x":  {},
	} {
		m := readMessage("2000,0,0;o\n5\n" + text + "\nguard:k")
		if m.grant != want.grant || m.fence != want.fence || m.tokens != want.tokens {
			t.Errorf("%q: grant %v, %d tokens from %d; want %v, %d from %d", text, m.grant, m.tokens, m.fence, want.grant, want.tokens, want.fence)
		}
	}
}
