package cronwrap_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/jobguard/jobguard/guard/cronwrap"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func TestEveryIsAlignedToTheEpochInAllReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := guardtest.NewStore(), new(log)
		for range 3 { // each starts at a phase of its own
			time.Sleep(1300 * time.Millisecond)
			r := newReplica(t, store, l)
			r.add(t, "@every 7s", "report", nil)
			r.cron.Start()
		}
		time.Sleep(10 * time.Minute)
		l.everyTickOnce(t, 7*time.Second, 85)
		for _, tick := range l.runs() {
			if tick.Unix()%7 != 0 || tick.Nanosecond() != 0 {
				t.Errorf("tick %v is no multiple of 7 s since 1970", tick)
			}
		}
	})
}

// New York set its clocks forward on 2 April 2000 and back on 29 October.
func TestDST(t *testing.T) {
	zone, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	spring := time.Date(2000, 4, 1, 12, 0, 0, 0, zone)
	autumn := time.Date(2000, 10, 28, 12, 0, 0, 0, zone)
	const clock = "2 15:04 MST"
	for name, c := range map[string]struct {
		from, spec string
		dst        cronwrap.DSTPolicy
		want       []string
	}{
		"a skipped time does not run": {
			"spring", "0 30 2 * * *", cronwrap.AsCron, []string{"3 02:30 EDT"},
		},
		"nor with Once": {
			"spring", "0 30 2 * * *", cronwrap.Once, []string{"3 02:30 EDT"},
		},
		"a repeated time runs twice": {
			"autumn", "0 30 1 * * *", cronwrap.AsCron, []string{"29 01:30 EDT", "29 01:30 EST", "30 01:30 EST"},
		},
		"with Once it runs once": {
			"autumn", "0 30 1 * * *", cronwrap.Once, []string{"29 01:30 EDT", "30 01:30 EST"},
		},
		"with Once a repeated hour is left out": {
			"autumn", "0 0,30 0-2 * * *", cronwrap.Once,
			[]string{
				"29 00:00 EDT", "29 00:30 EDT", "29 01:00 EDT", "29 01:30 EDT", "29 02:00 EST", "29 02:30 EST",
				"30 00:00 EST", "30 00:30 EST", "30 01:00 EST", "30 01:30 EST", "30 02:00 EST", "30 02:30 EST",
			},
		},
		"Once heeds the zone of the spec": {
			"autumn", "CRON_TZ=UTC 0 30 6 * * *", cronwrap.Once, []string{"29 01:30 EST", "30 01:30 EST"},
		},
		"and is nothing to @every": {
			"autumn", "@every 8h", cronwrap.Once,
			[]string{"28 12:00 EDT", "28 20:00 EDT", "29 03:00 EST", "29 11:00 EST", "29 19:00 EST", "30 03:00 EST"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				from := spring
				if c.from == "autumn" {
					from = autumn
				}
				time.Sleep(time.Until(from) - time.Second)
				store, l := guardtest.NewStore(), new(log)
				for range 2 {
					r := newReplicaIn(t, zone, store, l)
					r.add(t, c.spec, "report", nil, cronwrap.DST(c.dst))
					r.cron.Start()
				}
				time.Sleep(48 * time.Hour)
				var got []string
				for _, tick := range l.runs() {
					got = append(got, tick.Format(clock))
				}
				if !slices.Equal(got, c.want) {
					t.Errorf("ran at %q, want %q", got, c.want)
				}
			})
		})
	}
}

// A parser of one's own is cron's business, and keeps being so.
func TestSpecIsParsedByCronsOwnParser(t *testing.T) {
	for _, c := range []*cron.Cron{cron.New(), cron.New(cron.WithSeconds())} {
		_, five := c.AddFunc("1 2 3 4 5", func() {})
		r := cronwrap.New(c, mustGuard(t))
		if _, err := r.Add("1 2 3 4 5", "report", nothing); (err == nil) != (five == nil) {
			t.Errorf("cron says %v, the Runner %v", five, err)
		}
	}
}
