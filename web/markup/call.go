package markup

import (
	"errors"
	"fmt"
	"reflect"
	"text/template/parse"
)

// always is the names of the functions that are always there.
func always() map[string]any {
	return map[string]any{
		"and": true, "or": true, "not": true, "eq": true, "ne": true, "len": true, "print": true, "printf": true,
	}
}

// call calls a function with arguments that are still to be evaluated, and others.
func (r *rendering) call(name string, nodes []parse.Node, dot reflect.Value, more []reflect.Value) (reflect.Value, error) {
	if name == "and" || name == "or" {
		return r.choose(name == "or", nodes, dot, more)
	}
	var args []reflect.Value
	for _, n := range nodes {
		v, err := r.value(n, dot)
		if err != nil {
			return v, err
		}
		args = append(args, v)
	}
	args = append(args, more...)
	if f, ok := r.set.functions[name]; ok {
		return callFunction(f, args)
	}
	return builtin(name, args)
}

// choose returns the first argument that is as wanted, true or not, else the last one. Those behind it are not evaluated.
func (r *rendering) choose(want bool, nodes []parse.Node, dot reflect.Value, more []reflect.Value) (v reflect.Value, err error) {
	if len(nodes)+len(more) == 0 {
		return v, errors.New("no arguments")
	}
	for _, n := range nodes {
		if v, err = r.value(n, dot); err != nil || truth(v) == want {
			return v, err
		}
	}
	for _, v = range more {
		if truth(v) == want {
			return v, nil
		}
	}
	return v, nil
}

func callFunction(f reflect.Value, args []reflect.Value) (v reflect.Value, err error) {
	t := f.Type()
	fixed := t.NumIn()
	if t.IsVariadic() {
		fixed--
	}
	if len(args) < fixed || len(args) > fixed && !t.IsVariadic() {
		return v, fmt.Errorf("%d arguments for a function that takes %d", len(args), fixed)
	}
	for i := range args {
		want := t.In(min(i, t.NumIn()-1))
		if i >= fixed {
			want = want.Elem()
		}
		if args[i], err = argument(args[i], want); err != nil {
			return v, fmt.Errorf("argument %d: %w", i+1, err)
		}
	}
	out := f.Call(args)
	if len(out) == 2 && !out[1].IsNil() {
		return v, out[1].Interface().(error)
	}
	return whole(out[0]), nil
}

func argument(v reflect.Value, want reflect.Type) (reflect.Value, error) {
	switch {
	case !v.IsValid() && want.Kind() == reflect.Interface:
		return reflect.Zero(want), nil
	case !v.IsValid() || !v.Type().AssignableTo(want):
		return v, fmt.Errorf("it is %s and must be %s", kind(v), want)
	default:
		return v, nil
	}
}

func builtin(name string, args []reflect.Value) (v reflect.Value, err error) {
	var result any
	switch name {
	case "print":
		return reflect.ValueOf(fmt.Sprint(anys(args)...)), nil
	case "printf":
		if len(args) == 0 || args[0].Kind() != reflect.String {
			return v, errors.New("the first argument must be a text")
		}
		return reflect.ValueOf(fmt.Sprintf(args[0].String(), anys(args[1:])...)), nil
	case "not":
		if len(args) != 1 {
			return v, errors.New("not takes one argument")
		}
		result = !truth(args[0])
	case "len":
		if len(args) != 1 || !measurable(args[0]) {
			return v, errors.New("len takes one list, map or text")
		}
		result = args[0].Len()
	case "eq":
		result, err = among(args)
	case "ne":
		if len(args) != 2 {
			return v, errors.New("ne takes two arguments")
		}
		var same bool
		same, err = equal(args[0], args[1])
		result = !same
	default:
		err = fmt.Errorf("no function %q", name)
	}
	return reflect.ValueOf(result), err
}

// among tells whether the first value is one of the others.
func among(args []reflect.Value) (bool, error) {
	if len(args) < 2 {
		return false, errors.New("eq takes two arguments or more")
	}
	for _, other := range args[1:] {
		if same, err := equal(args[0], other); same || err != nil {
			return same, err
		}
	}
	return false, nil
}

func measurable(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Array, reflect.Map, reflect.String:
		return true
	default:
		return false
	}
}

func anys(values []reflect.Value) []any {
	all := make([]any, len(values))
	for i, v := range values {
		all[i] = plain(v)
	}
	return all
}
