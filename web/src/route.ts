// Where one is: a URL as data, and back.

export type Route =
  | {view: "builds"; project?: string; pipeline?: string; state?: string} // a BuildState, or "asking"
  | {view: "build"; build: string; as?: "list" | "graph" | "timeline"; step?: string}
  | {view: "log"; build: string; step: string; attempt?: number; fence?: number; against?: string; search?: string; regex?: boolean; exact?: boolean; lines?: string}
  | {view: "projects"}
  | {view: "project"; project: string; of?: string; pipeline?: string}
  | {view: "agents"; agent?: string}
  | {view: "search"; text?: string; regex?: boolean; exact?: boolean; since?: string; project?: string; pipeline?: string; step?: string}
  | {view: "signin"; to?: string}
  | {view: "unknown"; path: string}

// last stands in a Route for the newest build before that one of its pipeline that
// succeeded.
export const last = "last"

// parse reads what format writes. lines is the fragment, as in #L120-L140.
export function parse(url: string): Route {
  const u = new URL(url, "page:/")
  const q = (name: string) => u.searchParams.get(name) ?? undefined
  const number = (name: string) => Number(q(name)) || undefined
  const yes = (name: string) => q(name) === "true" || undefined
  let at: string[]
  try {
    at = u.pathname.split("/").slice(1).map(decodeURIComponent)
  } catch {
    return {view: "unknown", path: u.pathname.replace(/^[/\\]+/, "/")}
  }
  const lines = u.hash.startsWith("#L") ? u.hash.slice(1) : undefined
  switch (true) {
    case at.length === 1 && at[0] === "":
      return clean<Route>({view: "builds", project: q("project"), pipeline: q("pipeline"), state: q("state")})
    case at.length === 2 && at[0] === "builds" && at[1] !== "": {
      const as = q("view")
      return clean<Route>({view: "build", build: at[1]!, as: as === "graph" || as === "timeline" ? as : undefined, step: q("step")})
    }
    case at.length === 3 && at[0] === "builds" && at[2] === "log" && u.searchParams.has("step"):
      return clean<Route>({view: "log", build: at[1]!, step: q("step")!, attempt: number("attempt"), fence: number("fence"), against: q("against") || undefined, search: q("search"), regex: yes("regex"), exact: yes("exact"), lines})
    case at.length === 1 && at[0] === "projects":
      return {view: "projects"}
    case at.length === 2 && at[0] === "projects" && at[1] !== "":
      return clean<Route>({view: "project", project: at[1]!, of: q("of"), pipeline: q("pipeline")})
    case at.length === 1 && at[0] === "agents":
      return clean<Route>({view: "agents", agent: q("agent")})
    case at.length === 1 && at[0] === "search":
      return clean<Route>({view: "search", text: q("text"), regex: yes("regex"), exact: yes("exact"), since: q("since"), project: q("project"), pipeline: q("pipeline"), step: q("step")})
    case at.length === 1 && at[0] === "signin":
      return clean<Route>({view: "signin", to: q("to")})
  }
  return {view: "unknown", path: u.pathname.replace(/^[/\\]+/, "/")}
}

// clean leaves out what is not set.
function clean<T extends object>(route: T extends unknown ? {[K in keyof T]: T[K] | undefined} : never): T {
  return Object.fromEntries(Object.entries(route).filter(([, value]) => value !== undefined)) as T
}

export function format(r: Route): string {
  switch (r.view) {
    case "builds":
      return "/" + query({project: r.project, pipeline: r.pipeline, state: r.state})
    case "build":
      return `/builds/${encodeURIComponent(r.build)}` + query({view: r.as === "list" ? undefined : r.as, step: r.step})
    case "log":
      return `/builds/${encodeURIComponent(r.build)}/log` + query({step: r.step, attempt: r.attempt, fence: r.fence, against: r.against, search: r.search, regex: r.regex, exact: r.exact}) + (r.lines ? "#" + r.lines : "")
    case "projects":
      return "/projects"
    case "project":
      return `/projects/${encodeURIComponent(r.project)}` + query({of: r.of, pipeline: r.pipeline})
    case "agents":
      return "/agents" + query({agent: r.agent})
    case "search":
      return "/search" + query({text: r.text, regex: r.regex, exact: r.exact, since: r.since, project: r.project, pipeline: r.pipeline, step: r.step})
    case "signin":
      return "/signin" + query({to: r.to})
    case "unknown":
      return r.path
  }
}

export type Query = Record<string, string | number | boolean | undefined>

// query is that of a URL, without what is not set.
export function query(values: Query): string {
  const q = new URLSearchParams()
  for (const [name, value] of Object.entries(values)) {
    if (value !== undefined && value !== "" && value !== false) q.set(name, String(value))
  }
  const text = q.toString()
  return text && "?" + text
}
