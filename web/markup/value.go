package markup

import (
	"fmt"
	"reflect"
)

// fields follows names into structs.
func fields(v reflect.Value, names []string) (reflect.Value, error) {
	for _, name := range names {
		for v.Kind() == reflect.Pointer && !v.IsNil() {
			v = v.Elem()
		}
		if v.Kind() != reflect.Struct {
			return v, fmt.Errorf("no field %s in %s", name, kind(v))
		}
		field, ok := v.Type().FieldByName(name)
		if !ok || !field.IsExported() {
			return v, fmt.Errorf("no field %s in %s; methods cannot be called", name, v.Type())
		}
		inner, err := v.FieldByIndexErr(field.Index)
		if err != nil {
			return v, err
		}
		v = whole(inner)
	}
	return v, nil
}

// whole returns what is in an interface.
func whole(v reflect.Value) reflect.Value {
	if v.Kind() == reflect.Interface {
		return v.Elem()
	}
	return v
}

// plain returns the value as it is printed; nothing is an empty text.
func plain(v reflect.Value) any {
	if !v.IsValid() {
		return ""
	}
	return v.Interface()
}

// truth tells whether a value counts as true: it is not empty and not zero. A struct always does.
func truth(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Invalid:
		return false
	case reflect.Struct:
		return true
	case reflect.Slice, reflect.Map:
		return v.Len() > 0
	default:
		return !v.IsZero()
	}
}

// equal compares as == does, and also texts and whole numbers of different types.
func equal(a, b reflect.Value) (bool, error) {
	if a.Kind() == reflect.String && b.Kind() == reflect.String {
		return a.String() == b.String(), nil
	}
	m, ok1 := integer(a)
	n, ok2 := integer(b)
	if ok1 && ok2 {
		return m == n, nil
	}
	if a.IsValid() && b.IsValid() && a.Type() == b.Type() && a.Comparable() {
		return a.Equal(b), nil
	}
	return false, fmt.Errorf("%s and %s cannot be compared", kind(a), kind(b))
}

// integer returns a whole number, and whether the value is one that can be told.
func integer(v reflect.Value) (int64, bool) {
	switch {
	case v.IsValid() && v.CanInt():
		return v.Int(), true
	case v.IsValid() && v.CanUint():
		return int64(v.Uint()), int64(v.Uint()) >= 0
	default:
		return 0, false
	}
}

// kind names the type of a value in errors.
func kind(v reflect.Value) string {
	if !v.IsValid() {
		return "nothing"
	}
	return v.Type().String()
}
