package config

// What the configuration can say and this build can't do yet. An entry goes when its code comes.
var (
	adminInBuild = false
)

// NotInBuild returns the paths of what is configured but does nothing in this build, for the filter to report when it
// starts. It is nil when everything configured works.
func (c *Config) NotInBuild() []string {
	var paths []string
	add := func(missing bool, path string) {
		if missing {
			paths = append(paths, path)
		}
	}
	add(c.Admin.Path != "" && !adminInBuild, "admin.path")
	return paths
}
