package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
)

type object = map[string]any

// absent stands for a member that is not there.
type absent struct{}

// mismatch says where and how an observation differs from what is expected; empty if it matches.
func mismatch(path string, expected, seen any) string {
	wrong := func() string { return fmt.Sprintf("%s is %s, expected %s", path, shown(seen), shown(expected)) }
	switch expected := expected.(type) {
	case object:
		if len(expected) == 1 {
			for condition, operand := range expected {
				if strings.HasPrefix(condition, "$") {
					if !holds(condition, operand, seen) {
						return wrong()
					}
					return ""
				}
			}
		}
		members, ok := seen.(object)
		if !ok {
			return wrong()
		}
		for name, value := range expected {
			var member any = absent{}
			if found, there := members[name]; there {
				member = found
			}
			if fault := mismatch(path+"."+name, value, member); fault != "" {
				return fault
			}
		}
	case []any:
		items, ok := seen.([]any)
		if !ok || len(items) != len(expected) {
			return wrong()
		}
		for index, item := range expected {
			if fault := mismatch(fmt.Sprintf("%s[%d]", path, index), item, items[index]); fault != "" {
				return fault
			}
		}
	default:
		if !reflect.DeepEqual(expected, seen) {
			return wrong()
		}
	}
	return ""
}

func holds(condition string, operand, seen any) bool {
	text, isText := seen.(string)
	switch condition {
	case "$absent":
		_, missing := seen.(absent)
		return missing
	case "$present":
		_, missing := seen.(absent)
		return !missing && seen != nil && seen != ""
	case "$contains":
		return isText && strings.Contains(text, operand.(string))
	case "$bytes":
		return isText && float64(len(text)) <= operand.(float64)
	case "$between":
		number, ok := seen.(float64)
		between := operand.([]any)
		return ok && between[0].(float64) <= number && number <= between[1].(float64)
	}
	panic("a vector names " + condition)
}

func shown(value any) string {
	if _, missing := value.(absent); missing {
		return "absent"
	}
	text, _ := json.Marshal(value)
	if len(text) > 400 {
		return string(text[:400]) + "…"
	}
	return string(text)
}
