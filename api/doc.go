// Package api is what programs, people and pages ask of Piper over HTTP.
//
// A Server is a handler over a Store: whatever it answers is in the store, and
// whatever it is told goes there, so any number of them may stand beside each
// other, and none has to be asked first. README.md is for those who program
// against it, openapi.yaml says every route, and package client speaks it.
//
// Routes are rows of one table (routes.go), with the role that each wants. The
// table is what is registered, what is authorised and what the tests walk
// through; what is not in it does not exist. A handler is given a call and
// returns an answer or an error: what HTTP is made of stays in serve.go, and
// the router that is used in router.go alone.
//
// What is sent has the names that "piper exec --json" prints, and every error
// is a Problem.
package api
