package settings

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"
	"sigs.k8s.io/yaml"
)

// file answers for flags from a YAML file.
type file struct {
	path   string
	values map[string]any
}

func readFile(path string) (*file, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--config: %w", err)
	}
	f := file{path: path}
	if err := yaml.UnmarshalStrict(text, &f.values); err != nil {
		return nil, fmt.Errorf("--config %q: %w", path, err)
	}
	return &f, nil
}

// key is a flag's name in the file.
func key(flag string) string {
	words := strings.Split(strings.ReplaceAll(flag, ".", "-"), "-")
	for i := 1; i < len(words); i++ {
		words[i] = strings.ToUpper(words[i][:1]) + words[i][1:]
	}
	return strings.Join(words, "")
}

// notInFile are flags that mean nothing there.
var notInFile = []string{"help", "version", "config"}

// Validate refuses keys that no flag has, and values that no flag takes: all at once.
func (f *file) Validate(app *kong.Application) error {
	known := map[string]bool{}
	for _, flag := range app.Flags {
		known[key(flag.Name)] = !slices.Contains(notInFile, flag.Name)
	}
	var errs []error
	for _, k := range slices.Sorted(maps.Keys(f.values)) {
		if !known[k] {
			names := slices.Sorted(maps.Keys(known))
			names = slices.DeleteFunc(names, func(name string) bool { return !known[name] })
			errs = append(errs, fmt.Errorf("--config %q: no setting has the name %q: want one of %s", f.path, k, strings.Join(names, ", ")))
			continue
		}
		if _, err := texts(f.values[k]); err != nil {
			errs = append(errs, fmt.Errorf("--config %q: %s: %w", f.path, k, err))
		}
	}
	return errors.Join(errs...)
}

// Resolve gives the file's value, unless the environment has one.
func (f *file) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, name := range flag.Envs {
		if _, ok := os.LookupEnv(name); ok {
			return nil, nil
		}
	}
	value, ok := f.values[key(flag.Name)]
	if !ok {
		return nil, nil
	}
	list, err := texts(value)
	if err != nil {
		return nil, nil // Validate, which comes after this, tells it with all the others
	}
	if flag.IsSlice() {
		return list, nil
	}
	if len(list) != 1 {
		return nil, fmt.Errorf("in %q: want one value, not a list", f.path)
	}
	return list[0], nil
}

// texts writes a value, or each of a list, as a flag would be given.
func texts(value any) ([]any, error) {
	switch v := value.(type) {
	case string:
		return []any{v}, nil
	case bool:
		// YAML reads a bare on or off as a truth value.
		if v {
			return []any{On}, nil
		}
		return []any{Off}, nil
	case float64:
		return []any{strconv.FormatFloat(v, 'f', -1, 64)}, nil
	case []any:
		var all []any
		for _, entry := range v {
			if _, nested := entry.([]any); nested {
				return nil, errors.New("want a value or a list of values")
			}
			one, err := texts(entry)
			if err != nil {
				return nil, err
			}
			all = append(all, one...)
		}
		return all, nil
	}
	return nil, errors.New("want a value or a list of values")
}
