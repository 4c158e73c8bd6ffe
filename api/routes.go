package api

import (
	"github.com/piper-build/piper/runtime/store"
)

// anyone may use a route without a token.
const anyone store.Role = ""

// A route is one thing that a Server can be asked.
type route struct {
	method string
	path   string // {name} is a segment
	role   store.Role
	whole  bool // only for tokens that are good for every project
	body   body
	handle func(*call) (*answer, error)
}

// A body is what a route reads.
type body int

const (
	noBody    body = iota
	jsonBody       // at most maxJSON
	patchBody      // bytes, at most MaxPatch
	hookBody       // what a forge sends, at most maxHook
)

const (
	maxJSON = 1 << 20
	maxHook = 25 << 20 // the most that GitHub sends
)

// routes are all there are.
var routes = []route{
	{"GET", "/healthz", anyone, false, noBody, (*call).health},
	{"GET", "/metrics", store.Read, true, noBody, (*call).metrics},
	{"GET", "/openapi.yaml", store.Read, false, noBody, (*call).openAPI},
	{"GET", "/v1/version", store.Read, false, noBody, (*call).version},

	{"GET", "/v1/session", store.Read, false, noBody, (*call).showSession},
	{"POST", "/v1/session", anyone, false, jsonBody, (*call).signIn},
	{"DELETE", "/v1/session", anyone, false, noBody, (*call).signOut},

	{"GET", "/v1/projects", store.Read, false, noBody, (*call).listProjects},
	{"GET", "/v1/projects/{name}", store.Read, false, noBody, (*call).showProject},
	{"PUT", "/v1/projects/{name}", store.Admin, false, jsonBody, (*call).putProject},
	{"DELETE", "/v1/projects/{name}", store.Admin, false, noBody, (*call).deleteProject},
	{"GET", "/v1/projects/{name}/pipelines", store.Read, false, noBody, (*call).pipelines},

	{"GET", "/v1/builds", store.Read, false, noBody, (*call).listBuilds},
	{"POST", "/v1/builds", store.Trigger, false, jsonBody, (*call).createBuild},
	{"POST", "/v1/patches", store.Trigger, false, patchBody, (*call).putPatch},
	{"GET", "/v1/builds/{build}", store.Read, false, noBody, (*call).showBuild},
	{"POST", "/v1/builds/{build}/cancel", store.Trigger, false, jsonBody, (*call).cancelBuild},
	{"POST", "/v1/builds/{build}/rerun", store.Trigger, false, jsonBody, (*call).rerunBuild},
	{"POST", "/v1/builds/{build}/approve", store.Trigger, false, jsonBody, (*call).approveBuild},
	{"POST", "/v1/builds/{build}/pin", store.Trigger, false, jsonBody, (*call).pinBuild},
	{"GET", "/v1/builds/{build}/plan", store.Read, false, noBody, (*call).showPlan},
	{"GET", "/v1/builds/{build}/graph", store.Read, false, noBody, (*call).showGraph},
	{"GET", "/v1/builds/{build}/request", store.Read, false, noBody, (*call).showRequest},
	{"GET", "/v1/builds/{build}/patch", store.Read, false, noBody, (*call).showPatch},
	{"GET", "/v1/builds/{build}/events", store.Read, false, noBody, (*call).listEvents},
	{"GET", "/v1/builds/{build}/log", store.Read, false, noBody, (*call).showLog},
	{"GET", "/v1/builds/{build}/log/raw", store.Read, false, noBody, (*call).rawLog},
	{"GET", "/v1/builds/{build}/log/export", store.Read, false, noBody, (*call).exportLog},
	{"GET", "/v1/builds/{build}/log/search", store.Read, false, noBody, (*call).searchLog},
	{"GET", "/v1/builds/{build}/log/diff", store.Read, false, noBody, (*call).diffLog},
	{"GET", "/v1/logs/search", store.Read, false, noBody, (*call).searchLogs},
	{"GET", "/v1/logs/index", store.Read, true, noBody, (*call).showIndex},
	{"GET", "/v1/builds/{build}/why", store.Read, false, noBody, (*call).why},
	{"GET", "/v1/events", store.Read, false, noBody, (*call).stream},

	{"GET", "/v1/agents", store.Read, false, noBody, (*call).listAgents},
	{"GET", "/v1/agents/{id}", store.Read, false, noBody, (*call).showAgent},
	{"POST", "/v1/agents/{id}/drain", store.Admin, true, noBody, (*call).drainAgent},
	{"POST", "/v1/agents/{id}/resume", store.Admin, true, noBody, (*call).resumeAgent},

	{"GET", "/v1/tokens", store.Admin, true, noBody, (*call).listTokens},
	{"POST", "/v1/tokens", store.Admin, true, jsonBody, (*call).createToken},
	{"DELETE", "/v1/tokens/{name}", store.Admin, true, noBody, (*call).revokeToken},

	{"POST", "/v1/gc", store.Admin, true, jsonBody, (*call).collect},

	{"POST", "/v1/webhooks/{project}", anyone, false, hookBody, (*call).webhook},
}

// rank orders the roles.
func rank(r store.Role) int {
	switch r {
	case store.Read:
		return 1
	case store.Trigger:
		return 2
	case store.Admin:
		return 3
	}
	return 0 // anyone, and what nobody knows
}
