package redistest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jobguard/jobguard/internal/redistest"
)

// proxied starts a server behind a proxy. through goes through the proxy, gives
// up after a second and tries nothing twice; direct goes directly.
func proxied(t *testing.T) (p *redistest.Proxy, through, direct *redis.Client) {
	t.Helper()
	s := redistest.Start(t)
	p = redistest.NewProxy(t, s.Addr())
	return p, clientOf(t, p, time.Second), s.Client(t)
}

func clientOf(t *testing.T, p *redistest.Proxy, timeout time.Duration) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{
		Addr:          p.Addr(),
		ReadTimeout:   timeout,
		MaxRetries:    -1,
		DialerRetries: 1,
	})
	t.Cleanup(func() { _ = c.Close() })
	if err := c.Ping(within(t)).Err(); err != nil { // connect before anything breaks
		t.Fatal(err)
	}
	return c
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

func TestProxyPassesEverythingOn(t *testing.T) {
	p, _, direct := proxied(t)
	through := clientOf(t, p, 20*time.Second)
	if p.Target() != direct.Options().Addr {
		t.Errorf("target %s", p.Target())
	}
	big := strings.Repeat("ä\r\n", 1<<18)
	if err := through.Set(within(t), "big", big, 0).Err(); err != nil {
		t.Fatal(err)
	}
	if got := through.Get(within(t), "big").Val(); got != big {
		t.Errorf("a value of %d bytes comes back with %d", len(big), len(got))
	}

	pipe := through.Pipeline()
	for i := range 1000 {
		pipe.RPush(within(t), "list", i)
	}
	pipe.LRange(within(t), "list", 0, -1)
	cmds, err := pipe.Exec(within(t))
	if err != nil {
		t.Fatal(err)
	}
	for i, got := range cmds[1000].(*redis.StringSliceCmd).Val() {
		if got != fmt.Sprint(i) {
			t.Fatalf("element %d is %q", i, got)
		}
	}

	if v, err := through.Eval(within(t), "return {1,{'a',{'b'}},false,redis.status_reply('x')}", nil).Result(); err != nil ||
		fmt.Sprint(v) != "[1 [a [b]] <nil> x]" {
		t.Errorf("a nested reply comes back as %v, %v", v, err)
	}
	var answer redis.Error
	if err := through.Eval(within(t), "return redis.error_reply('MY fault')", nil).Err(); !errors.As(err, &answer) {
		t.Errorf("an error reply comes back as %v", err)
	}
}

func TestProxyPassesPubSubOn(t *testing.T) {
	for _, protocol := range []int{2, 3} {
		t.Run(fmt.Sprint("RESP", protocol), func(t *testing.T) {
			p, _, direct := proxied(t)
			c := redis.NewClient(&redis.Options{Addr: p.Addr(), Protocol: protocol})
			t.Cleanup(func() { _ = c.Close() })
			sub := c.Subscribe(within(t), "a", "b")
			defer func() { _ = sub.Close() }()
			for range 2 {
				if _, err := sub.Receive(within(t)); err != nil {
					t.Fatal(err)
				}
			}
			if err := direct.Publish(within(t), "b", "hello").Err(); err != nil {
				t.Fatal(err)
			}
			m, err := sub.ReceiveMessage(within(t))
			if err != nil || m.Payload != "hello" {
				t.Errorf("received %v, %v", m, err)
			}
		})
	}
}

func TestDelayCostsEachWayOnceAndKeepsThroughputAndOrder(t *testing.T) {
	t.Parallel()
	p, _, _ := proxied(t)
	c := clientOf(t, p, 20*time.Second)
	const delay = 200 * time.Millisecond
	// fastest of some tries: the machine may be busy during the others
	fastest := func(fn func()) time.Duration {
		best := time.Hour
		for range 5 {
			start := time.Now()
			fn()
			best = min(best, time.Since(start))
		}
		return best
	}
	roundTrip := func() { c.Incr(within(t), "n") }
	hundred := func() {
		pipe := c.Pipeline()
		for range 100 {
			pipe.Incr(within(t), "n")
		}
		_, _ = pipe.Exec(within(t)) // n shows whether they were executed
	}
	conn := dial(t, p)
	overlapping := func() { // each request sent before the last one's reply is in
		for i := range 20 {
			fmt.Fprintf(conn, "ECHO %d\r\n", i)
			time.Sleep(time.Millisecond)
		}
		for i := range 20 {
			if got := readLines(t, conn, 2); got != fmt.Sprintf("$%d\r\n%d\r\n", len(fmt.Sprint(i)), i) {
				t.Fatalf("reply %d is %q", i, got)
			}
		}
	}

	p.Delay(delay)
	for name, fn := range map[string]func(){
		"a round trip":                roundTrip,
		"a pipeline":                  hundred,
		"twenty overlapping requests": overlapping,
	} {
		if d := fastest(fn); d < 2*delay || d > 3*delay {
			t.Errorf("%s took %v with a delay of %v", name, d, delay)
		}
	}
	if got := c.Get(within(t), "n").Val(); got != "505" {
		t.Errorf("n = %s", got)
	}
	p.Heal()
	if d := fastest(roundTrip); d < 2*delay {
		t.Errorf("Heal took the delay away: %v", d)
	}
	p.Delay(0)
	if d := fastest(roundTrip); d > delay {
		t.Errorf("without delay a round trip took %v", d)
	}
}

// dial opens a raw connection through the proxy.
func dial(t *testing.T, p *redistest.Proxy) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// readLines reads n lines, byte by byte so as to take nothing that follows.
func readLines(t *testing.T, conn net.Conn, n int) string {
	t.Helper()
	var text strings.Builder
	for one := make([]byte, 1); n > 0; {
		if _, err := io.ReadFull(conn, one); err != nil {
			t.Fatalf("after %q: %v", text.String(), err)
		}
		text.Write(one)
		if one[0] == '\n' {
			n--
		}
	}
	return text.String()
}

func TestBlackholeHoldsRequestsAndHealDeliversThem(t *testing.T) {
	t.Parallel()
	p, through, direct := proxied(t)
	p.Blackhole(redistest.ToServer)
	if err := through.Incr(within(t), "n").Err(); !isTimeout(err) {
		t.Errorf("through a black hole: %v", err)
	}
	if n := direct.Exists(within(t), "n").Val(); n != 0 {
		t.Error("the request got through")
	}
	p.Heal() // its client has closed the connection long ago
	eventually(t, "the late request is executed", func() bool {
		return direct.Get(within(t), "n").Val() == "1"
	})
	if err := through.Incr(within(t), "n").Err(); err != nil {
		t.Errorf("after Heal: %v", err)
	}
}

func TestBlackholeHoldsRepliesAndHealDeliversThem(t *testing.T) {
	t.Parallel()
	p, through, direct := proxied(t)
	patient := clientOf(t, p, 20*time.Second)
	p.Blackhole(redistest.ToClient)
	late := make(chan int64, 1)
	go func() { late <- patient.Incr(context.Background(), "n").Val() }()
	eventually(t, "the request is executed", func() bool {
		return direct.Get(within(t), "n").Val() == "1"
	})
	if err := through.Incr(within(t), "n").Err(); !isTimeout(err) {
		t.Errorf("a reply got through: %v", err)
	}
	select {
	case n := <-late:
		t.Fatalf("the reply %d got through", n)
	default:
	}
	p.Heal()
	if n := <-late; n != 1 {
		t.Errorf("the late reply is %d", n)
	}
}

func TestConnectionsCanBeMadeThroughABlackhole(t *testing.T) {
	t.Parallel()
	p, _, _ := proxied(t)
	p.Blackhole(redistest.Both)
	conn := dial(t, p)
	fmt.Fprint(conn, "PING\r\n")
	time.Sleep(50 * time.Millisecond)
	p.Heal()
	if got := readLines(t, conn, 1); got != "+PONG\r\n" {
		t.Errorf("answered %q", got)
	}
}

func TestLostBytesNeverArriveAndTheirConnectionsEnd(t *testing.T) {
	t.Parallel()
	for _, way := range []redistest.Direction{redistest.ToServer, redistest.ToClient} {
		p, through, direct := proxied(t)
		conn := dial(t, p)
		fmt.Fprint(conn, "PING\r\n")
		readLines(t, conn, 1)
		untouched := dial(t, p)
		fmt.Fprint(untouched, "PING\r\n")
		readLines(t, untouched, 1)

		p.Lose(way)
		fmt.Fprint(conn, "INCR n\r\n")
		if err := through.Incr(within(t), "n").Err(); !isTimeout(err) {
			t.Errorf("way %v: while bytes are lost: %v", way, err)
		}
		p.Heal()
		if got, err := io.ReadAll(conn); len(got) > 0 || err != nil {
			t.Errorf("way %v: a connection that lost bytes goes on with %q, %v", way, got, err)
		}
		fmt.Fprint(untouched, "PING\r\n")
		readLines(t, untouched, 1)
		want := map[redistest.Direction]string{redistest.ToServer: "", redistest.ToClient: "2"}[way]
		if got := direct.Get(within(t), "n").Val(); got != want {
			t.Errorf("way %v: n = %q", way, got)
		}
		if err := through.Ping(within(t)).Err(); err != nil {
			t.Errorf("way %v: after Heal: %v", way, err)
		}
	}
}

func TestCutClosesConnectionsAndRefusesNewOnesUntilHeal(t *testing.T) {
	p, through, _ := proxied(t)
	conn := dial(t, p)
	fmt.Fprint(conn, "PING\r\n")
	readLines(t, conn, 1)
	for range 2 { // again and again
		p.Cut()
		p.Cut()
		if _, err := net.Dial("tcp", p.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a new connection: %v", err)
		}
		if err := through.Ping(within(t)).Err(); err == nil {
			t.Error("a cut line answers")
		}
		p.Heal()
		if err := through.Ping(within(t)).Err(); err != nil {
			t.Errorf("after Heal: %v", err)
		}
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("an old connection: %v", err)
	}
}

func TestCutDropsWhatIsHeld(t *testing.T) {
	t.Parallel()
	p, through, direct := proxied(t)
	p.Blackhole(redistest.ToServer)
	if err := through.Incr(within(t), "n").Err(); !isTimeout(err) {
		t.Fatal(err)
	}
	p.Cut()
	p.Heal()
	if err := through.Set(within(t), "done", "", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if n := direct.Exists(within(t), "n").Val(); n != 0 {
		t.Error("a request survived its connection")
	}
}

func TestProxyShowsThatTheServerHasGone(t *testing.T) {
	s := redistest.Start(t)
	p := redistest.NewProxy(t, s.Addr())
	c := clientOf(t, p, time.Second)
	conn := dial(t, p)
	fmt.Fprint(conn, "PING\r\n")
	readLines(t, conn, 1)
	s.Kill()
	if _, err := io.ReadAll(conn); err != nil {
		t.Errorf("an idle connection: %v", err)
	}
	if err := c.Ping(within(t)).Err(); err == nil {
		t.Error("a dead server answers")
	}
	s.Restart()
	if err := c.Ping(within(t)).Err(); err != nil {
		t.Errorf("after Restart: %v", err)
	}
}

func TestLostReplyMeansExecutedAndConnectionClosed(t *testing.T) {
	p, through, direct := proxied(t)
	trap := p.LoseNextReply()
	if err := through.Incr(within(t), "n").Err(); !errors.Is(err, io.EOF) {
		t.Errorf("the client saw %v", err)
	}
	trap.Wait(t)
	if got := direct.Get(within(t), "n").Val(); got != "1" {
		t.Errorf("n = %q", got)
	}
	if n := through.Incr(within(t), "n").Val(); n != 2 {
		t.Errorf("the next reply is %d", n)
	}
}

func TestTrapLooksForItsWords(t *testing.T) {
	p, through, _ := proxied(t)
	trap := p.LoseNextReply("incr", "THE-key")
	for _, err := range []error{
		through.Incr(within(t), "another").Err(),
		through.Set(within(t), "some-the-key", 1, 0).Err(),
	} {
		if err != nil {
			t.Errorf("sprung too early: %v", err)
		}
	}
	select {
	case <-trap.Sprung():
		t.Error("sprung too early")
	default:
	}
	if err := through.IncrBy(within(t), "some-the-key", 1).Err(); err == nil {
		t.Error("not sprung")
	}
	trap.Wait(t)
}

func TestTrapInAPipelineLeavesEarlierRepliesAlone(t *testing.T) {
	p, _, direct := proxied(t)
	p.LoseNextReply("k3")
	conn := dial(t, p)
	fmt.Fprint(conn, "INCR k0\r\nINCR k1\r\nINCR k2\r\nINCR k3\r\nINCR k4\r\n")
	if got, err := io.ReadAll(conn); string(got) != ":1\r\n:1\r\n:1\r\n" || err != nil {
		t.Errorf("replies %q, %v", got, err)
	}
	if n := direct.Exists(within(t), "k3").Val(); n != 1 {
		t.Error("the command whose reply was lost was not executed")
	}
}

func TestTwoTrapsSpringInOnePipeline(t *testing.T) {
	p, _, _ := proxied(t)
	held, lost := p.HoldNextReply("k1"), p.LoseNextReply("k2")
	conn := dial(t, p)
	fmt.Fprint(conn, "INCR k1\r\nINCR k2\r\n")
	held.Wait(t)
	lost.Wait(t)
	held.Release()
	if got, err := io.ReadAll(conn); string(got) != ":1\r\n" || err != nil {
		t.Errorf("replies %q, %v", got, err)
	}
}

func TestLostRequestIsNeverExecuted(t *testing.T) {
	p, through, direct := proxied(t)
	trap := p.LoseNextRequest("incr")
	if err := through.Incr(within(t), "n").Err(); !errors.Is(err, io.EOF) {
		t.Errorf("the client saw %v", err)
	}
	trap.Wait(t)
	if n := through.Incr(within(t), "m").Val(); n != 1 {
		t.Errorf("the next reply is %d", n)
	}
	if n := direct.Exists(within(t), "n").Val(); n != 0 {
		t.Error("a lost request was executed")
	}
}

func TestHeldRequestIsExecutedLateWhileOthersPassIt(t *testing.T) {
	t.Parallel()
	p, through, direct := proxied(t)
	trap := p.HoldNextRequest("set", "k")
	if err := through.Set(within(t), "k", "buried", 0).Err(); !isTimeout(err) {
		t.Errorf("the client saw %v", err)
	}
	trap.Wait(t)
	if err := through.Set(within(t), "k", "on time", 0).Err(); err != nil {
		t.Errorf("a request on another connection: %v", err)
	}
	if got := direct.Get(within(t), "k").Val(); got != "on time" {
		t.Errorf("k = %q", got)
	}
	trap.Deliver(t)
	if got := direct.Get(within(t), "k").Val(); got != "buried" {
		t.Errorf("k = %q when the server has answered the buried request", got)
	}
}

func TestHeldReplyComesLate(t *testing.T) {
	t.Parallel()
	for _, release := range []string{"Release", "Heal"} {
		p, _, direct := proxied(t)
		patient := clientOf(t, p, 20*time.Second)
		trap := p.HoldNextReply("incr")
		late := make(chan int64, 1)
		go func() { late <- patient.Incr(context.Background(), "n").Val() }()
		trap.Wait(t)
		if got := direct.Get(within(t), "n").Val(); got != "1" {
			t.Errorf("n = %q", got)
		}
		select {
		case <-late:
			t.Fatal("the reply was not held")
		case <-time.After(50 * time.Millisecond):
		}
		if release == "Heal" {
			p.Heal()
		} else {
			trap.Release()
		}
		if n := <-late; n != 1 {
			t.Errorf("%s: the late reply is %d", release, n)
		}
	}
}

func TestHealDisarmsTraps(t *testing.T) {
	p, through, _ := proxied(t)
	p.LoseNextReply()
	p.LoseNextRequest()
	p.HoldNextReply()
	p.Heal()
	for range 4 {
		if err := through.Incr(within(t), "n").Err(); err != nil {
			t.Errorf("after Heal: %v", err)
		}
	}
}

func TestAnswerErrKeepsCommandsFromTheServer(t *testing.T) {
	p, through, direct := proxied(t)
	p.AnswerErr("LOADING Redis is loading the dataset in memory")
	fresh := redis.NewClient(&redis.Options{Addr: p.Addr(), MaxRetries: -1})
	defer func() { _ = fresh.Close() }()
	for _, c := range []*redis.Client{through, fresh} {
		if err := c.Incr(within(t), "n").Err(); !redis.IsLoadingError(err) {
			t.Errorf("answered %v", err)
		}
	}
	pipe := through.Pipeline()
	for range 10 {
		pipe.Incr(within(t), "n")
	}
	cmds, _ := pipe.Exec(within(t)) // each has its own error
	for _, cmd := range cmds {
		if !redis.IsLoadingError(cmd.Err()) {
			t.Errorf("in a pipeline: %v", cmd.Err())
		}
	}
	p.Heal()
	if n := through.Incr(within(t), "n").Val(); n != 1 {
		t.Errorf("after Heal n = %d", n)
	}
	if n := direct.Exists(within(t), "n").Val(); n != 1 {
		t.Error("after Heal the server gets nothing")
	}
}

func TestAnswerErrLooksForItsWordsAndCanChange(t *testing.T) {
	p, through, _ := proxied(t)
	p.AnswerErr("-OOM command not allowed", "incr", "n")
	if err := through.Set(within(t), "n", 1, 0).Err(); err != nil {
		t.Errorf("another command: %v", err)
	}
	if err := through.Incr(within(t), "n").Err(); err == nil || err.Error() != "OOM command not allowed" {
		t.Errorf("answered %v", err)
	}
	p.AnswerErr("READONLY You can't write against a read only replica.")
	if err := through.Get(within(t), "n").Err(); !redis.IsReadOnlyError(err) {
		t.Errorf("answered %v", err)
	}
}

func TestConnectionsAreSetUpWhileAnswerErrAndTrapsWait(t *testing.T) {
	p, _, _ := proxied(t)
	p.AnswerErr("LOADING Redis is loading the dataset in memory")
	trap := p.LoseNextReply()
	conn := dial(t, p)
	fmt.Fprint(conn, "SELECT 0\r\nSUBSCRIBE c\r\n")
	if got := readLines(t, conn, 7); got != "+OK\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n" {
		t.Errorf("replies %q", got)
	}
	select {
	case <-trap.Sprung():
		t.Error("the trap was meant for a command of the test")
	default:
	}
}

func TestPublishedMessagesAreNotTakenForReplies(t *testing.T) {
	p, _, _ := proxied(t)
	trap := p.HoldNextReply("echo")
	conn := dial(t, p)
	fmt.Fprint(conn, "HELLO 3\r\nSUBSCRIBE c\r\n")
	eventually(t, "subscribed", func() bool { return readLines(t, conn, 1) == "c\r\n" })
	readLines(t, conn, 1) // the number of subscriptions
	fmt.Fprint(conn, "PUBLISH c hi\r\nECHO x\r\n")
	trap.Wait(t)
	// ">3 message c hi" and the number of receivers, in either order.
	if got := readLines(t, conn, 8); !strings.Contains(got, "hi\r\n") || !strings.Contains(got, ":1\r\n") {
		t.Errorf("replies %q", got)
	}
	trap.Release()
	if got := readLines(t, conn, 2); got != "$1\r\nx\r\n" {
		t.Errorf("the held reply is %q", got)
	}
}

func TestAnswerErrWaitsForTheServersEarlierReplies(t *testing.T) {
	s := redistest.Start(t)
	p := redistest.NewProxy(t, s.Addr())
	p.AnswerErr("NOPERM not you", "k2")
	conn := dial(t, p)
	s.Pause()
	fmt.Fprint(conn, "INCR k1\r\nINCR k2\r\nINCR k3\r\n")
	time.Sleep(50 * time.Millisecond) // time enough to do it wrong
	s.Resume()
	if got := readLines(t, conn, 3); got != ":1\r\n-NOPERM not you\r\n:1\r\n" {
		t.Errorf("replies %q", got)
	}
}

// TestProxyNeverMixesUpReplies turns the proxy's own answers on and off under
// load: every reply has to be the one to its own request.
func TestProxyNeverMixesUpReplies(t *testing.T) {
	t.Parallel()
	p, _, _ := proxied(t)
	c := clientOf(t, p, 20*time.Second)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				want := fmt.Sprint(worker, ":", i)
				got, err := c.Echo(context.Background(), want).Result()
				if err == nil && got != want {
					t.Errorf("asked for %s, got %s", want, got)
					return
				}
			}
		})
	}
	for range 100 {
		p.AnswerErr("TRYAGAIN")
		time.Sleep(2 * time.Millisecond)
		p.Heal()
		time.Sleep(2 * time.Millisecond)
	}
	close(stop)
	wg.Wait()
}

func TestClosedProxyLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	p, through, _ := proxied(t)
	p.Delay(time.Hour)
	p.Blackhole(redistest.Both)
	p.HoldNextRequest()
	_ = through.Incr(within(t), "n").Err() // stuck in the proxy
	p.Close()
	p.Close()
	if _, err := net.Dial("tcp", p.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a new connection: %v", err)
	}
}

func TestForgottenConnectionsAreSilentAndNewOnesWork(t *testing.T) {
	t.Parallel()
	p, through, direct := proxied(t)
	if n := p.Forget(); n != 1 {
		t.Errorf("%d connections forgotten, want 1", n)
	}
	if err := through.Incr(within(t), "n").Err(); !isTimeout(err) {
		t.Errorf("over the forgotten connection: %v", err)
	}
	if err := through.Ping(within(t)).Err(); err != nil { // go-redis has closed the other
		t.Errorf("over a new one: %v", err)
	}
	p.Heal()
	if got := direct.Exists(within(t), "n").Val(); got != 0 {
		t.Error("the server got what went over the forgotten connection")
	}
}
