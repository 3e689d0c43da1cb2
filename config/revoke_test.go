package config

import "testing"

func TestRevoke(t *testing.T) {
	const trusted, here = `"priority":{"trust":[]},`, "upstreams[0].queue.revoke: true: "
	if c := mustParse(t, `{`+trusted+`"upstreams":[{"name":"u","concurrency":{"max":"auto"},"queue":{"revoke":true}}]}`); !c.Upstreams[0].Queue.Revoke {
		t.Errorf("%+v", c.Upstreams[0].Queue)
	}
	mustParse(t, `{"priority":{"header":""},"upstreams":[{"name":"u","concurrency":{"max":5},"queue":{"revoke":true}}]}`)
	checkErrors(t, []errorCase{
		{`{"upstreams":[{"name":"u","concurrency":{"max":5},"queue":{"revoke":true}}]}`, []string{here + "lets every client end others' streams"}},
		{`{"priority":{"header":"","objectives":{"a":"urgent"}},"upstreams":[{"name":"u","concurrency":{"max":5},"queue":{"revoke":true}}]}`, []string{here + "lets every client"}},
		{`{` + trusted + `"upstreams":[{"name":"u","queue":{"revoke":true}}]}`, []string{here + "frees slots of no limit"}},
		{`{` + trusted + `"upstreams":[{"name":"u","concurrency":{"max":5},"queue":{"revoke":true,"max":0}}]}`, []string{here + "frees slots for what waits"}},
	})
}
