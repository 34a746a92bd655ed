package guard_test

import (
	"fmt"
	"strings"

	"github.com/jobguard/jobguard/guard"
)

func ExampleKey() {
	fmt.Println(guard.Key("order", "42"))
	fmt.Println(guard.Key("a:b", "c"), guard.Key("a", "b:c")) // different parts, different keys
	fmt.Printf("%q\n", guard.Key("order", ""))                // refused as ErrInvalidKey
	fmt.Println(len(guard.Key("file", strings.Repeat("x", 1000))))
	// Output:
	// order:42
	// a%3Ab:c a:b%3Ac
	// ""
	// 192
}
