package sqltest

import (
	"sync/atomic"
	"testing"
)

// running is set while Main runs tests, after which it stops the shared servers.
var running atomic.Bool

// Main runs the tests of m and then stops the servers that they shared. Use it in
// TestMain, by itself or with goleak:
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(sqltest.Main(m)) }
func Main(m *testing.M) interface{ Run() int } { return tests{m} }

type tests struct{ *testing.M }

func (m tests) Run() int {
	running.Store(true)
	defer func() {
		running.Store(false)
		for _, k := range []*kind{postgres, mariadb} {
			k.shared.Lock()
			if k.shared.server != nil {
				k.shared.server.stop()
				k.shared.server = nil
			}
			k.shared.Unlock()
		}
	}()
	return m.M.Run()
}
