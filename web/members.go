package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/portreeve/portreeve/lease"
)

// Fault is one thing that is wrong with the body of a request.
type Fault struct {
	Member string `json:"member"` // its name in the JSON; "" for the body as a whole
	Text   string `json:"text"`   // what is wrong and what is allowed, for people
}

// faults collects everything that is wrong with a body, so that whoever wrote it learns of all at once.
type faults []Fault

func (f *faults) add(member, format string, args ...any) {
	*f = append(*f, Fault{member, fmt.Sprintf(format, args...)})
}

// has tells whether something is wrong with a member. There is no use in looking at it any further then.
func (f *faults) has(member string) bool {
	return slices.ContainsFunc(*f, func(fault Fault) bool { return fault.Member == member })
}

// problem returns the answer that tells of the faults, nil if there are none.
func (f *faults) problem() error {
	if len(*f) == 0 {
		return nil
	}
	var texts []string
	for _, fault := range *f {
		texts = append(texts, strings.TrimSpace(fault.Member+" "+fault.Text))
	}
	p := problem(CodeInvalid, "%s", strings.Join(texts, "; "))
	p.Faults = *f
	return p
}

// readMembers reads a body that is one object into the struct that into points at, and collects what is wrong with its
// members. What is absent or null stays as it is. The error is that of a body that is no object at all.
func readMembers(r *http.Request, into any) (faults, error) {
	if !hasMediaType(r, "application/json") {
		return nil, problem(CodeMediaType, "the body must be application/json")
	}
	var members map[string]json.RawMessage
	d := json.NewDecoder(r.Body)
	err := d.Decode(&members)
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("more than one value")
		}
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, tooLarge
	}
	if err == nil && members == nil {
		err = errors.New("null is no object")
	}
	if err != nil {
		return nil, problem(CodeInvalid, "the body is not one JSON object: %v", err)
	}
	return setMembers(members, into), nil
}

func setMembers(members map[string]json.RawMessage, into any) (f faults) {
	fields, names := map[string]reflect.Value{}, []string{}
	v := reflect.ValueOf(into).Elem()
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		fields[name], names = v.Field(i), append(names, name)
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		field, known := fields[name]
		switch {
		case !known:
			f.add(lease.CleanText(name, 64), "is not known here, allowed are %s", strings.Join(names, ", "))
		case string(members[name]) == "null":
		default:
			value := reflect.New(field.Type())
			if err := json.Unmarshal(members[name], value.Interface()); err != nil {
				f.add(name, "is %s, allowed is %s", lease.CleanText(string(members[name]), 64), kindOf(field.Type()))
				continue
			}
			field.Set(value.Elem())
		}
	}
	return f
}

// kindOf names what a member of a type may be.
func kindOf(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Pointer:
		return kindOf(t.Elem())
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a text in quotes"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Slice {
			return "a list of objects"
		}
		return "a list of texts in quotes"
	case reflect.Uint16:
		return "a number from 0 to 65535"
	default:
		return "a number from 0 on"
	}
}
