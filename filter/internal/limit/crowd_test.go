package limit

import (
	"strconv"
	"testing"
)

// A million users who come again, and so many more names that somebody makes up, each in a debt of days: what becomes of
// the users' balances. The table is looked at through one page of 1,024, by the same hash that spreads all of them.
func TestAMillionUsersAndMillionsOfMadeUpOnes(t *testing.T) {
	for _, test := range []struct {
		name     string
		madeUp   int
		times    int     // that each of them comes
		mostLost float64 // share of the users' balances
	}{
		{"three million made-up users", 3_000_000, 1, 0},
		{"ten million made-up users", 10_000_000, 1, 0},
		{"two million who come twice", 2_000_000, 2, 0.001},
		{"three million who come twice", 3_000_000, 2, 0.20},
	} {
		t.Run(test.name, func(t *testing.T) {
			const users, debt = 1_000_000, 100_000 // tokens: two weeks
			w := newWorld(t, `[{"name":"u","per":["user"],"unit":"completionTokens","quantity":300,"window":"1h"}]`)
			now := start
			honest := w.sample("user-", users)
			come := func(r *Request, used int64) { w.Settle(now, w.admit(t, now, r), "m", Usage{Completion: used}, 200) }
			for _, r := range honest {
				come(r, 100)
				come(r, 100)
			}
			for _, r := range w.sample("made-up-", test.madeUp) {
				now += second / 1000
				for range test.times - 1 {
					come(r, 1)
				}
				come(r, debt)
			}
			lost := 0
			for _, r := range honest {
				if state := w.state(t, start, 0, r); state.Used == 0 {
					lost++
				}
			}
			share := float64(lost) / float64(len(honest))
			_, bytes := w.store.Size()
			t.Logf("%d of %d users' balances are lost (%.2f %%); %d bytes", lost, len(honest), 100*share, bytes)
			if share > test.mostLost {
				t.Errorf("%.2f %% of the users' balances are lost, want %.2f %% at most", 100*share, 100*test.mostLost)
			}
		})
	}
}

// sample gives requests of those of so many users whose bucket lies in one page of 1,024.
func (w *world) sample(prefix string, users int) (sampled []*Request) {
	const oneOf = 1024
	r := request("")
	for user := range users {
		r.Caller.User = prefix + strconv.Itoa(user)
		clear(w.hashed)
		if w.hash(&w.limits[0], r).Page()%oneOf == 0 {
			sampled = append(sampled, request(r.Caller.User))
		}
	}
	return sampled
}
