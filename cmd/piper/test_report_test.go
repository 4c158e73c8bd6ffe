package main

import (
	"encoding/xml"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestXMLText: what the JUnit report is given, a reader of XML gets.
func TestXMLText(t *testing.T) {
	type element struct {
		A    string `xml:"a,attr"`
		Text string `xml:",chardata"`
	}
	read := func(t require.TestingT, s string) string {
		var e element
		require.NoError(t, xml.Unmarshal([]byte(`<e a="`+xmlText(s)+`">`+xmlText(s)+`</e>`), &e))
		require.Equal(t, e.A, e.Text)
		return e.Text
	}
	require.Equal(t, "<&>\"'\n\t\r é ?[31m", read(t, "<&>\"'\n\t\r é \x1b[31m"))
	rapid.Check(t, func(t *rapid.T) { read(t, rapid.String().Draw(t, "text")) })
}
