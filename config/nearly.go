package config

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// reserved are the headers that nearly can't set: those by which proxies and servers tell messages apart, find their way, and know who asks.
var reserved = []string{"host", "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "expect", "content-length",
	"content-encoding", "content-type", "accept", "accept-encoding", "authorization", "proxy-authorization", "cookie"}

var reservedPrefixes = []string{"x-envoy-", "x-forwarded-", "x-spillway-", "x-gateway-inference-"}

// finish wants the share where there is anything to be done at it.
func (n *Nearly) finish(r *reader, path string) {
	if n.At == 0 && (len(n.RequestHeader) > 0 || n.ResponseHeader) {
		r.problem(join(path, "at"), "", "missing; want the share of the limit from which it holds, such as 0.8")
	}
}

// finishNearly checks that no header of nearly's is one by which requests are told apart: it is taken out of what clients send.
func (c *Config) finishNearly(r *reader, path string) {
	for i := range c.Limits {
		headers := c.Limits[i].Nearly.RequestHeader
		here := join(join(index(join(path, "limits"), i), "nearly"), "requestHeader")
		for _, name := range slices.Sorted(maps.Keys(headers)) {
			switch by := c.readBy(name); {
			case isReserved(name):
				r.problem(join(here, name), "", "is the proxy's or the server's own; want a header of your own, such as x-budget")
			case by != "":
				r.problem(join(here, name), "", "is read by "+by+", and would be taken out of what clients send; want another header")
			}
		}
	}
}

func isReserved(name string) bool {
	return slices.Contains(reserved, name) || slices.ContainsFunc(reservedPrefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// readBy names what reads a header of requests; "": nothing does.
func (c *Config) readBy(name string) string {
	for _, of := range [...]struct {
		name   string
		source *Source
	}{{"user", &c.Identity.User}, {"tenant", &c.Identity.Tenant}, {"key", &c.Identity.Key}} {
		for _, place := range of.source.Places() {
			if slices.Contains(place.Headers, name) {
				return "identity." + of.name
			}
		}
	}
	if name == c.Priority.Header {
		return "priority.header"
	}
	for i := range c.Limits {
		l := &c.Limits[i]
		if _, matched := l.Match.Headers[name]; matched || slices.Contains(l.Per, PerHeader+name) {
			return "limits[" + strconv.Itoa(i) + "]"
		}
	}
	for i := range c.Upstreams {
		u := &c.Upstreams[i]
		if _, falls := u.Breaker.Fallback.RouteHeader[name]; falls || name == u.Latency.TTFTHeader || name == u.Latency.ITLHeader {
			return "upstreams[" + strconv.Itoa(i) + "]"
		}
	}
	return ""
}
