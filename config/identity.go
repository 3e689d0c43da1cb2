package config

// The fields of identity: who asks, and where that is read from.

func (i *Identity) fields() []field {
	return []field{
		source("user", &i.User, []string{"x-user-id"}, nil, false, "user"),
		source("tenant", &i.Tenant, []string{"x-tenant-id"}, nil, false, "tenant"),
		source("key", &i.Key, []string{"authorization", "x-api-key", "api-key", "x-goog-api-key", "x-litellm-api-key", "ocp-apim-subscription-key"}, []string{"key"}, true, "API key"),
		{name: "groups", doc: docOf("Who shares the limits that are per group, by the groups' names: lists of keys and users, each in one group at most. The group of a request's " +
			"key counts, else that of its user; who is in none has the group that missing says."), value: groups{&i.Groups}},
		str("missing", &i.Missing, "anonymous", someText,
			"The subject of a request that lacks one: this name, shared by all of them, or reject (status 401, where a limit depends on it)."),
		enum("probes", &i.Probes, ProbesPass, []Probes{ProbesPass, ProbesReject},
			"Where missing is reject: whether a GET or HEAD without a body of the models (/v1/models) or of a server's health (/health, /healthz, "+
				"/ready, /livez, /ping, /version, /metrics and the like) is let pass without an identity, or refused as others are."),
	}
}

// source describes one part of a caller's identity.
func source(name string, s *Source, headers, query []string, hash bool, what string) field {
	return object(name, &sourceSection{Source: s, headers: headers, query: query, hash: hash, what: what}, "Where the "+what+" is read from.")
}

// sourceSection is a Source with the defaults of its part.
type sourceSection struct {
	*Source
	headers, query           []string
	hash                     bool
	what                     string
	headersGiven, queryGiven bool
}

func (s *sourceSection) fields() []field {
	fields := s.Place.within(s.headers, s.query, s.what)
	for i := range fields {
		switch fields[i].name {
		case "headers":
			fields[i].value = noted{fields[i].value, &s.headersGiven}
		case "query":
			fields[i].value = noted{fields[i].value, &s.queryGiven}
		}
	}
	return append(fields,
		objects("sources", &s.Sources, "", nil, "Where the "+s.what+" is looked for before all of these, in an order of your own, such as first in a token, and else in "+
			"a cookie: the first place that has one counts."),
		boolean("hash", &s.Hash, s.hash, "Use a hash, so that the value itself is never shown or stored."))
}

// finish leaves out the headers and parameters that nobody asked for where another place is named: whoever says that users are told by
// their tokens doesn't want them to be told by a header that anybody can send.
func (s *sourceSection) finish(r *reader, path string) {
	if len(s.Property)+len(s.Cookie)+len(s.Sources) > 0 {
		if !s.headersGiven {
			s.Headers = nil
		}
		if !s.queryGiven {
			s.Query = nil
		}
	}
	s.Place.check(r, path)
}

func (p *Place) fields() []field { return p.within(nil, nil, "identity") }

func (p *Place) within(headers, query []string, what string) []field {
	otherwise := ""
	if headers != nil {
		otherwise = " Default: none where property, cookie or sources is given."
	}
	return []field{
		strs("headers", &p.Headers, headers, headerNames, "Headers with the "+what+"; the first one present counts. Where limits, priority "+
			"rules or fairness depend on it, one that is repeated or holds a list outside quotes is refused (status 400), and so are two API keys that differ."+otherwise),
		strs("property", &p.Property, nil, someValue, "The path of an attribute of Envoy's with the "+what+", which no client can set: of a verified token "+
			"[metadata, filter_metadata, envoy.filters.http.jwt_authn, payload, sub], of a certificate [connection, uri_san_peer_certificate], or [source, address], "+
			"without its port, and of IPv6 the network (/64). Looked at after the headers."),
		strs("query", &p.Query, query, queryNames, "Parameters of the path's query with the "+what+", looked at after these."+otherwise),
		strs("cookie", &p.Cookie, nil, cookieNames, "Cookies with the "+what+", looked at last. One that is sent twice, or can be read in two ways, is refused as a repeated header is."),
	}
}

// attributes are those of Envoy's that can tell who asks, by the first parts of their paths.
var attributes = []string{"metadata", "filter_state", "connection", "source", "request", "xds"}

func (p *Place) finish(r *reader, path string) {
	if len(p.Headers)+len(p.Property)+len(p.Query)+len(p.Cookie) == 0 {
		r.problem(path, "", "names no place; want headers, property, query or cookie")
	}
	p.check(r, path)
}

// check finds the path that Envoy would have no attribute for, whatever the request: everybody would be nobody then.
func (p *Place) check(r *reader, path string) {
	if len(p.Property) == 0 {
		return
	}
	for _, first := range attributes {
		if p.Property[0] == first {
			if len(p.Property) == 1 {
				r.problem(join(path, "property"), quote(first), "holds many attributes; want the path of one, each of its parts an entry of its own")
			}
			return
		}
	}
	r.problem(index(join(path, "property"), 0), quote(p.Property[0]), "no attribute of Envoy's; want "+oneOf(attributes)+", and each part of the path an entry of its own")
}

// noted is a value that notes whether it was given.
type noted struct {
	value
	given *bool
}

func (n noted) read(r *reader, path string, v *jsonValue) {
	*n.given = v != nil
	n.value.read(r, path, v)
}
