package elastic

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/elastic/go-elasticsearch/v8/esapi"
)

// mostPattern bounds the regular expressions that Elasticsearch takes by default
// (index.max_regex_length).
const mostPattern = 1000

type object = map[string]any

// fields are what a document is found by. What is beside them is only kept.
func fields(text string) object {
	of := func(kind string) object { return object{"type": kind} }
	search := of(text)
	if text == "keyword" {
		search["ignore_above"] = mostText // characters, which are bytes at least
	}
	return object{
		"@timestamp": of("date"), "created": of("date"),
		"build": of("keyword"), "project": of("keyword"), "pipeline": of("keyword"), "step": of("keyword"),
		"number": of("long"), "fence": of("long"), "order": of("integer"), "attempt": of("integer"),
		"line": of("long"), "begin": of("long"), "text": search, "whole": of("boolean"),
	}
}

// prepare sees to the templates, once. Nothing may be written before: the server
// would make an index after its own fancy.
func (x *Index) prepare(ctx context.Context) error {
	select {
	case x.preparing <- struct{}{}:
		defer func() { <-x.preparing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if x.prepared {
		return nil
	}
	// A server that knows wildcards finds text in them by what they are made of;
	// one that does not looks through all words that there are.
	err := x.putTemplate(ctx, "wildcard")
	if is(err, http.StatusBadRequest) && strings.Contains(err.Error(), "No handler for type [wildcard]") {
		err = x.putTemplate(ctx, "keyword")
	}
	if err == nil {
		err = x.ask(ctx, esapi.IndicesPutIndexTemplateRequest{Name: x.dead(), Body: encode(object{
			"index_patterns": []string{x.dead()},
			"template": object{"mappings": object{"dynamic": false, "properties": object{
				"@timestamp": object{"type": "date"}, "build": object{"type": "keyword"}, "document": object{"type": "object", "enabled": false},
			}}},
		})}, nil)
	}
	if is(err, http.StatusForbidden) { // somebody else may have made them
		err = x.ask(ctx, esapi.IndicesGetIndexTemplateRequest{Name: x.address.Stream}, nil)
	}
	if err != nil {
		return fmt.Errorf("make the index template %s: %w", x.address.Stream, err)
	}
	x.prepared = true
	return nil
}

func (x *Index) putTemplate(ctx context.Context, text string) error {
	lifecycle := object{}
	if x.address.Keeps > 0 {
		lifecycle["data_retention"] = fmt.Sprintf("%dd", x.address.Keeps/day)
	}
	return x.ask(ctx, esapi.IndicesPutIndexTemplateRequest{Name: x.address.Stream, Body: encode(object{
		"index_patterns": []string{x.address.Stream},
		"data_stream":    object{},
		"priority":       500, // above those that take all names
		"template": object{
			"settings":  object{"index": object{"refresh_interval": "5s"}},
			"mappings":  object{"dynamic": false, "properties": fields(text)},
			"lifecycle": lifecycle,
		},
	})}, nil)
}

// dead is the index of dead letters.
func (x *Index) dead() string { return x.address.Stream + "-dead" }
