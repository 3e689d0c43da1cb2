package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// mostUnused bounds what a package exports and no other one uses: a reader takes what is exported for what others depend on. Some of it
// is there for tests of other packages, which don't count as use.
const mostUnused = 12

// core are the packages whose exported names are looked at, and those that can use them.
var core = []string{"./config/...", "./filter/..."}

// listed is a package as go list shows it.
type listed struct {
	ImportPath, Name, Dir, Export string
	GoFiles                       []string
	DepOnly                       bool
}

// checkExports finds packages of the core that export too much. What is exported is what another package can name: at the top of a
// package, a field, a method.
func checkExports(most int) (findings []string, err error) {
	unused, err := unusedExports("wasip1", "wasm", ".", core...)
	if err != nil {
		return nil, err
	}
	for name, names := range unused {
		if len(names) > most && !isForTests(name) {
			findings = append(findings, fmt.Sprintf("%s exports %d names that no other package uses, of %d at most: un-export or delete some of %s",
				name, len(names), most, strings.Join(names, ", ")))
		}
	}
	slices.Sort(findings)
	return findings, nil
}

// unusedExports gives what each package exports that no other one of them uses, tests aside.
func unusedExports(system, machine, dir string, patterns ...string) (map[string][]string, error) {
	packages, err := list(system, machine, dir, patterns)
	if err != nil {
		return nil, err
	}
	u := usage{exported: map[string]types.Object{}, used: map[string]bool{}, own: map[string]bool{}}
	exports := map[string]string{}
	for _, p := range packages {
		exports[p.ImportPath], u.own[p.ImportPath] = p.Export, !p.DepOnly
	}
	files := token.NewFileSet()
	loader := importer.ForCompiler(files, "gc", func(name string) (io.ReadCloser, error) { return os.Open(exports[name]) })
	for _, p := range packages {
		if p.DepOnly {
			continue
		}
		if err := u.read(files, loader, &p); err != nil {
			return nil, err
		}
	}
	u.spread()
	unused := map[string][]string{}
	for key, object := range u.exported {
		name := object.Pkg().Path()
		of, _, isPart := strings.Cut(strings.TrimPrefix(key, name+"."), ".")
		if !u.used[key] && object.Pkg().Name() != "main" && (!isPart || u.used[name+"."+of]) { // a type that isn't used stands for its parts
			unused[name] = append(unused[name], strings.TrimPrefix(key, name+"."))
		}
	}
	for _, names := range unused {
		slices.Sort(names)
	}
	return unused, nil
}

func list(system, machine, dir string, patterns []string) (packages []listed, err error) {
	command := exec.Command("go", append([]string{"list", "-export", "-deps", "-json=ImportPath,Name,Dir,Export,GoFiles,DepOnly"}, patterns...)...)
	command.Env, command.Dir, command.Stderr = append(os.Environ(), "GOOS="+system, "GOARCH="+machine), dir, os.Stderr
	output, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("go list -export: %w", err)
	}
	for decoder := json.NewDecoder(bytes.NewReader(output)); decoder.More(); {
		var p listed
		if err := decoder.Decode(&p); err != nil {
			return nil, err
		}
		packages = append(packages, p)
	}
	return packages, nil
}

// usage collects what is exported, and what is used from outside. Both are known by name (key), since a package is another value for each
// one that imports it.
type usage struct {
	own        map[string]bool // the packages that are looked at
	exported   map[string]types.Object
	used       map[string]bool
	interfaces []*types.Interface // whatever implements one may be called by it
}

// key names what is exported: import path, the type that it is of, name. Without one it can't be named from outside.
func key(object types.Object, of *types.Named) string {
	name := object.Name()
	if of != nil {
		name = of.Obj().Name() + "." + name
	}
	return object.Pkg().Path() + "." + name
}

// read type-checks a package.
func (u *usage) read(files *token.FileSet, loader types.Importer, p *listed) error {
	var parsed []*ast.File
	for _, name := range p.GoFiles {
		file, err := parser.ParseFile(files, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution|parser.ParseComments)
		if err != nil {
			return err
		}
		parsed = append(parsed, file)
	}
	info := types.Info{Uses: map[*ast.Ident]types.Object{}, Types: map[ast.Expr]types.TypeAndValue{}}
	checked, err := (&types.Config{Importer: loader}).Check(p.ImportPath, files, parsed, &info)
	if err != nil {
		return fmt.Errorf("%s: %w", p.ImportPath, err)
	}
	for _, name := range checked.Scope().Names() {
		u.export(checked.Scope().Lookup(name))
	}
	for _, object := range info.Uses {
		if object.Pkg() != nil && object.Pkg() != checked && u.own[object.Pkg().Path()] {
			u.use(object)
		}
	}
	for _, file := range parsed {
		u.calledByHost(file, checked)
		ast.Inspect(file, func(node ast.Node) bool {
			if call, is := node.(*ast.CallExpr); is && len(call.Args) == 1 && info.Types[call.Fun].IsType() {
				u.convert(info.Types[call.Fun].Type, info.Types[call.Args[0]].Type)
			}
			return true
		})
	}
	return nil
}

// calledByHost takes note of the functions that the host calls.
func (u *usage) calledByHost(file *ast.File, of *types.Package) {
	for _, declaration := range file.Decls {
		function, is := declaration.(*ast.FuncDecl)
		if !is || function.Doc == nil {
			continue
		}
		for _, line := range function.Doc.List {
			if strings.HasPrefix(line.Text, "//go:wasmexport ") {
				u.used[key(of.Scope().Lookup(function.Name.Name), nil)] = true
			}
		}
	}
}

// convert takes note of a conversion. One between structs uses all fields of both.
func (u *usage) convert(types ...types.Type) {
	for _, t := range types {
		named := namedOf(t)
		if named == nil || named.Obj().Pkg() == nil || !u.own[named.Obj().Pkg().Path()] {
			continue
		}
		for _, field := range fieldsOf(named) {
			u.used[key(field, named)] = true
		}
	}
}

// export takes note of an object at the top of a package, and of what its type has.
func (u *usage) export(object types.Object) {
	named, isType := object.Type().(*types.Named)
	isType = isType && named.Obj() == object
	if isType {
		if i, is := named.Underlying().(*types.Interface); is {
			u.interfaces = append(u.interfaces, i)
		}
	}
	if !object.Exported() {
		return
	}
	u.exported[key(object, nil)] = object
	if !isType {
		return
	}
	for i := range named.NumMethods() {
		if method := named.Method(i); method.Exported() {
			u.exported[key(method, named)] = method
		}
	}
	for _, field := range fieldsOf(named) {
		if field.Exported() && !field.Embedded() {
			u.exported[key(field, named)] = field
		}
	}
}

// fieldsOf gives the fields of a struct; none of any other type.
func fieldsOf(named *types.Named) (fields []*types.Var) {
	if s, is := named.Underlying().(*types.Struct); is {
		for i := range s.NumFields() {
			fields = append(fields, s.Field(i))
		}
	}
	return fields
}

// use takes note of a use from another package.
func (u *usage) use(object types.Object) {
	switch object := object.(type) {
	case *types.Var:
		if object.IsField() {
			u.useField(object)
			return
		}
	case *types.Func:
		if receiver := object.Signature().Recv(); receiver != nil {
			if named := namedOf(receiver.Type()); named != nil {
				u.used[key(object, named)] = true
			}
			return
		}
	}
	u.used[key(object, nil)] = true
}

// useField finds the type that has a field.
func (u *usage) useField(field *types.Var) {
	scope := field.Pkg().Scope()
	for _, name := range scope.Names() {
		named, is := scope.Lookup(name).Type().(*types.Named)
		if !is {
			continue
		}
		for _, f := range fieldsOf(named) {
			if f == field.Origin() {
				u.used[key(field, named)] = true
			}
		}
	}
}

// spread makes used what is used without being named: the types of what is used, types of which a part is, and methods that an interface
// or the standard library calls.
func (u *usage) spread() {
	for changed := true; changed; {
		changed = false
		for name, object := range u.exported {
			if !u.used[name] && u.implied(name, object) {
				u.used[name], changed = true, true
			}
			if u.used[name] {
				changed = u.useTypes(object.Type(), 0) || changed
			}
		}
	}
}

// implied says that an object is used by what else is: a type by a part of it, a constant by another one of its type, since they are a
// closed set, a method by an interface.
func (u *usage) implied(name string, object types.Object) bool {
	switch object := object.(type) {
	case *types.TypeName:
		return u.anyUsed(func(other string) bool { return strings.HasPrefix(other, name+".") })
	case *types.Const:
		named := namedOf(object.Type())
		return named != nil && named.Obj().Pkg() == object.Pkg() && u.anyUsed(func(other string) bool {
			c, is := u.exported[other].(*types.Const)
			return is && types.Identical(c.Type(), object.Type())
		})
	}
	method, is := object.(*types.Func)
	if !is || method.Signature().Recv() == nil {
		return false
	}
	receiver := namedOf(method.Signature().Recv().Type())
	if !u.used[key(receiver.Obj(), nil)] {
		return false
	}
	if method.Name() == "String" || method.Name() == "Error" {
		return true
	}
	for _, i := range u.interfaces {
		for m := range i.NumMethods() {
			if i.Method(m).Name() == method.Name() && likely(receiver, i) {
				return true
			}
		}
	}
	return false
}

func (u *usage) anyUsed(is func(name string) bool) bool {
	for name := range u.used {
		if is(name) {
			return true
		}
	}
	return false
}

// likely says that a type has all methods of an interface, by name: types of two packages can't be compared.
func likely(named *types.Named, i *types.Interface) bool {
	for m := range i.NumMethods() {
		found := false
		for n := range named.NumMethods() {
			found = found || named.Method(n).Name() == i.Method(m).Name()
		}
		if !found {
			return false
		}
	}
	return true
}

// useTypes makes used the types that a type is made of.
func (u *usage) useTypes(t types.Type, depth int) (changed bool) {
	if depth > 8 {
		return false
	}
	switch t := t.(type) {
	case *types.Named:
		if object := t.Obj(); object.Pkg() != nil && u.own[object.Pkg().Path()] && !u.used[key(object, nil)] {
			u.used[key(object, nil)], changed = true, true
		}
	case *types.Pointer:
		return u.useTypes(t.Elem(), depth+1)
	case *types.Slice:
		return u.useTypes(t.Elem(), depth+1)
	case *types.Array:
		return u.useTypes(t.Elem(), depth+1)
	case *types.Map:
		changed = u.useTypes(t.Key(), depth+1)
		return u.useTypes(t.Elem(), depth+1) || changed
	case *types.Signature:
		for _, tuple := range []*types.Tuple{t.Params(), t.Results()} {
			for v := range tuple.Variables() {
				changed = u.useTypes(v.Type(), depth+1) || changed
			}
		}
	}
	return changed
}

func namedOf(t types.Type) *types.Named {
	if pointer, is := t.(*types.Pointer); is {
		t = pointer.Elem()
	}
	named, _ := t.(*types.Named)
	if named != nil {
		named = named.Origin()
	}
	return named
}
