import {render} from "preact"
import {useEffect, useRef} from "preact/hooks"
import {overdue, send, withPage} from "./api"
import {Link} from "./parts/link"
import {attempt, Notices} from "./parts/notice"
import {format, type Route} from "./route"
import {go, loadSession, route, session, start} from "./state"
import {contact, watchVisibility} from "./stream"
import {AgentsView} from "./views/agents"
import {BuildView} from "./views/build"
import {BuildsView} from "./views/builds"
import {Keys} from "./views/keys"
import {NewsView} from "./log/news"
import {LogView} from "./log/view"
import {ProjectView} from "./views/project"
import {ProjectsView} from "./views/projects"
import {SearchView} from "./views/search"
import {SignInView} from "./views/signin"

function View({at}: {at: Route}) {
  switch (at.view) {
    case "builds":
      return <BuildsView {...at} />
    case "build":
      return <BuildView key={at.build} {...at} />
    case "log":
      return at.against ? <NewsView key={format(at)} {...at} against={at.against} /> : <LogView key={`${at.build} ${at.step}`} {...at} />
    case "projects":
      return <ProjectsView />
    case "project":
      return <ProjectView key={at.project} {...at} />
    case "agents":
      return <AgentsView {...at} />
    case "search":
      return <SearchView {...at} />
    case "signin":
      return <SignInView {...at} />
    case "unknown":
      return (
        <main id="main" class="narrow" tabIndex={-1}>
          <h1 tabIndex={-1}>There is nothing here</h1>
          <p>
            The page knows no <code>{at.path}</code>. <Link to={{view: "builds"}}>All builds</Link>
          </p>
        </main>
      )
  }
}

const places: [string, Route][] = [
  ["Builds", {view: "builds"}],
  ["Projects", {view: "projects"}],
  ["Agents", {view: "agents"}],
  ["Search", {view: "search"}],
]

function Frame() {
  const at = route.value
  const who = session.value
  const begun = useRef(false)
  useEffect(() => {
    // Somebody who listens rather than looks is told where he is, unless there is
    // something to be typed at once. Where a browser begins, it tells him itself.
    const begins = !begun.current
    begun.current = true
    if (begins && at.view !== "signin") return
    const main = document.querySelector("main")
    ;(main?.querySelector<HTMLElement>("[autofocus]") ?? main?.querySelector("h1"))?.focus()
  }, [at.view, "build" in at ? at.build : "", "against" in at])
  if (at.view === "signin") return <SignInView {...at} />
  if (who === null) return null
  if (!who && contact.value === "lost") {
    return (
      <main class="narrow">
        <p class="trouble" role="alert">
          The server does not answer. Trying again…
        </p>
      </main>
    )
  }
  const home = at.view === "build" || at.view === "log" ? "builds" : at.view === "project" ? "projects" : at.view
  return (
    <>
      <a class="skip" href="#main" onClick={e => (e.preventDefault(), document.querySelector<HTMLElement>("main")?.focus())}>
        Skip to the content
      </a>
      <header class="top">
        <Link to={{view: "builds"}} class="brand">
          Piper
        </Link>
        <nav aria-label="Main">
          {places.map(([name, to]) => (
            <Link to={to} current={to.view === home ? "page" : undefined}>
              {name}
            </Link>
          ))}
        </nav>
        <span class="grow" />
        <span role="status">
          {contact.value === "lost" ? <span class="chip lost">reconnecting…</span> : overdue.value > 0 && <span class="chip lost">waiting for the server…</span>}
        </span>
        <Keys />
        {who && (
          <>
            <span class="who" title={`This token may ${who.role}`}>
              {who.name}
            </span>
            <button class="plain" onClick={signOut}>
              Sign out
            </button>
          </>
        )}
      </header>
      <View at={at} />
      <Notices />
    </>
  )
}

function signOut() {
  return attempt("Sign out", async () => {
    await send("DELETE", "/v1/session")
    session.value = null
    go({view: "signin"})
  })
}

// know finds out who is signed in, and asks until somebody answers.
async function know() {
  try {
    await loadSession()
    if (contact.value === "lost") contact.value = "none"
  } catch {
    contact.value = "lost"
    setTimeout(know, 2000)
  }
}

start()
watchVisibility()
void withPage(() => {
  if (route.value.view !== "signin") void know()
  render(<Frame />, document.getElementById("app")!)
})
