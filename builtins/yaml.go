package builtins

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"go.starlark.net/starlark"
	"gopkg.in/yaml.v3"
)

// The bounds of a YAML document. An alias counts as often as it is used.
const (
	maxYAMLDepth = 100
	maxYAMLNodes = 100_000
)

func yamlDecode(c *call) (starlark.Value, error) {
	text := c.str(0)
	if c.wrong > 0 || c.args[0] == nil {
		return starlark.None, nil
	}
	v, err := decodeYAML(text)
	if err != nil {
		c.bad(0, nil, "bad-yaml", "%s", Visible(strings.TrimPrefix(err.Error(), "yaml: ")))
		return starlark.None, nil
	}
	return v, nil
}

func decodeYAML(text string) (starlark.Value, error) {
	var doc, more yaml.Node
	decoder := yaml.NewDecoder(strings.NewReader(text))
	switch err := decoder.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return starlark.None, nil
	case err != nil:
		return nil, err
	}
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more than one document")
	}
	d := yamlDecoder{left: maxYAMLNodes}
	return d.value(&doc, 0)
}

// A yamlDecoder turns nodes into values, a bounded number of them.
type yamlDecoder struct{ left int }

func (d *yamlDecoder) value(n *yaml.Node, depth int) (starlark.Value, error) {
	d.left--
	if d.left < 0 || depth > maxYAMLDepth {
		return nil, fmt.Errorf("the document has more than %d values, or nests more than %d deep", maxYAMLNodes, maxYAMLDepth)
	}
	switch n.Kind {
	case yaml.DocumentNode:
		return d.value(n.Content[0], depth)
	case yaml.AliasNode:
		return d.value(n.Alias, depth+1)
	case yaml.SequenceNode:
		list := make([]starlark.Value, len(n.Content))
		for i, m := range n.Content {
			v, err := d.value(m, depth+1)
			if err != nil {
				return nil, err
			}
			list[i] = v
		}
		return starlark.NewList(list), nil
	case yaml.MappingNode:
		dict := starlark.NewDict(len(n.Content) / 2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Tag == "!!merge" {
				return nil, fmt.Errorf("line %d: merge keys (<<) are not supported", n.Content[i].Line)
			}
			k, err := d.value(n.Content[i], depth+1)
			if err != nil {
				return nil, err
			}
			v, err := d.value(n.Content[i+1], depth+1)
			if err != nil {
				return nil, err
			}
			if _, twice, err := dict.Get(k); err != nil {
				return nil, fmt.Errorf("line %d: %w", n.Content[i].Line, err)
			} else if twice {
				return nil, fmt.Errorf("line %d: the key %s stands twice", n.Content[i].Line, k)
			}
			if err := dict.SetKey(k, v); err != nil {
				return nil, err
			}
		}
		return dict, nil
	}
	return scalar(n)
}

func scalar(n *yaml.Node) (starlark.Value, error) {
	switch n.ShortTag() {
	case "!!null":
		return starlark.None, nil
	case "!!bool":
		var b bool
		err := n.Decode(&b)
		return starlark.Bool(b), err
	case "!!int":
		text := strings.ReplaceAll(n.Value, "_", "")
		if i, err := strconv.ParseInt(text, 0, 64); err == nil {
			return starlark.MakeInt64(i), nil
		}
		if u, err := strconv.ParseUint(text, 0, 64); err == nil {
			return starlark.MakeUint64(u), nil
		}
		return nil, fmt.Errorf("line %d: the number %s is too large", n.Line, n.Value)
	case "!!float":
		var f float64
		err := n.Decode(&f)
		return starlark.Float(f), err
	case "!!str", "!!timestamp":
		return starlark.String(n.Value), nil
	}
	return nil, fmt.Errorf("line %d: the tag %s is not supported", n.Line, n.Tag)
}

func yamlEncode(c *call) (starlark.Value, error) {
	if c.args[0] == nil {
		return starlark.String(""), nil
	}
	n, err := c.encodeYAML(c.args[0], 0)
	if err != nil {
		c.bad(0, nil, "bad-value", "%v", err)
		return starlark.String(""), nil
	}
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := errors.Join(encoder.Encode(n), encoder.Close()); err != nil {
		return nil, fmt.Errorf("encode YAML: %w", err)
	}
	return starlark.String(out.String()), nil
}

func (c *call) encodeYAML(v starlark.Value, depth int) (*yaml.Node, error) {
	if depth > maxYAMLDepth {
		return nil, fmt.Errorf("the value nests more than %d deep", maxYAMLDepth)
	}
	plain := func(tag, text string) (*yaml.Node, error) {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: text}, nil
	}
	switch v := v.(type) {
	case starlark.NoneType:
		return plain("!!null", "null")
	case starlark.Bool:
		return plain("!!bool", strings.ToLower(v.String()))
	case starlark.Int:
		return plain("!!int", v.String())
	case starlark.Float:
		if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, fmt.Errorf("%s cannot be written", v)
		}
		return plain("!!float", v.String())
	case starlark.String:
		if text, err := c.ev.unmark(string(v)); err != nil {
			return nil, fmt.Errorf("a string %w", err)
		} else if text.parts != nil {
			return nil, errors.New("a secret or an output is known only when the build runs")
		}
		// Only Encode knows what YAML 1.1 took for a bool or a number, such as
		// "on" and "12:30:45"; only SetString what is a string whatever it says.
		var old, n yaml.Node
		err := old.Encode(string(v))
		n.SetString(string(v))
		n.Style |= old.Style
		return &n, err
	case *starlark.Dict:
		n := &yaml.Node{Kind: yaml.MappingNode}
		for key, value := range v.Entries() {
			k, err := c.encodeYAML(key, depth+1)
			if err != nil {
				return nil, err
			}
			m, err := c.encodeYAML(value, depth+1)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, k, m)
		}
		return n, nil
	}
	list, ok := elements(v)
	if !ok {
		return nil, fmt.Errorf("%s cannot be written as YAML", typeName(v))
	}
	n := &yaml.Node{Kind: yaml.SequenceNode}
	for _, m := range members(list) {
		item, err := c.encodeYAML(m, depth+1)
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, item)
	}
	return n, nil
}
