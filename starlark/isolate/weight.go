package isolate

import "reflect"

// maxWeight is how many bytes of memory a parent takes for a result. It is room
// for a plan of 20,000 plain steps.
const maxWeight = 12 << 20

// swells reports whether JSON may take far more memory than text: a value in
// it can be three bytes there and three hundred here.
func swells(text []byte) bool {
	const most = 4 << 20
	size, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			quoted = !quoted
		case quoted && c == '\\':
			i++
		case quoted:
		case c == '{':
			size += 384
		case c == '[' || c == ',':
			size += 32
		}
	}
	return size > most
}

// weigh returns how much memory v, a pointer, takes with all that it points to.
func weigh(v any) int { return weighValue(reflect.ValueOf(v)) }

func weighValue(v reflect.Value) int {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return 0
		}
		return int(v.Elem().Type().Size()) + weighValue(v.Elem())
	case reflect.String:
		return (v.Len() + 15) &^ 15
	case reflect.Slice:
		size := v.Len() * int(v.Type().Elem().Size())
		for i := range v.Len() {
			size += weighValue(v.Index(i))
		}
		return size
	case reflect.Map:
		size := 0
		for each := v.MapRange(); each.Next(); {
			size += 2*int(v.Type().Key().Size()+v.Type().Elem().Size()) + weighValue(each.Key()) + weighValue(each.Value())
		}
		return size
	case reflect.Struct:
		size := 0
		for i := range v.NumField() {
			size += weighValue(v.Field(i))
		}
		return size
	}
	return 0
}
