package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/plan"
)

// Whatever names and commands are, a drawing is XML with no more elements in it
// than are drawn.
func TestSVGOfHostileNames(t *testing.T) {
	hostile := "<script>alert(1)</script>]]>&\"'\x00\x1b[31m\u202eesrever\xff"
	var out strings.Builder
	writeSVG(&out, &plan.Plan{Pipeline: hostile, Nodes: []plan.Node{
		{Name: hostile, Step: &plan.Step{Script: hostile}},
		{Name: hostile + "2", Needs: []string{hostile}, More: &plan.More{Approve: &plan.Approve{Prompt: hostile}}},
		{Name: "שלום", More: &plan.More{Trigger: &plan.Trigger{Pipeline: hostile}}},
	}})
	elements := map[string]int{}
	var text strings.Builder
	for d := xml.NewDecoder(strings.NewReader(out.String())); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		switch token := token.(type) {
		case xml.StartElement:
			elements[token.Name.Local]++
		case xml.CharData:
			text.Write(token)
		}
	}
	require.Equal(t, map[string]int{"svg": 1, "style": 1, "title": 4, "marker": 1, "path": 2, "rect": 4, "g": 3, "text": 5}, elements)
	require.Contains(t, text.String(), "<script>alert(1)</script>]]>&\"'\uFFFD\uFFFD[31m\uFFFDesrever\uFFFD")
	require.Contains(t, text.String(), "<script>alert(1)</script>]]>&\"'…")
	require.Contains(t, text.String(), "שלום")
	require.NotContains(t, text.String(), "\u202e")
}
