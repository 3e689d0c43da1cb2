package config

// doc is what a key means. The filter asks nobody for it, and the text would take a fortieth of the module: there it is dropped.
type doc struct{}

func docOf(string) doc { return doc{} }

func (doc) text() string { return "" }
