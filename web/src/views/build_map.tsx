import {Link} from "../parts/link"
import {State} from "../parts/state"
import type {Build} from "../types"

// MapOfBuilds has what caused a build to the left, and what it triggered to the
// right.
export function MapOfBuilds({build: b}: {build: Build}) {
  const {build: cause, number, kind, node} = b.cause
  const down = b.triggered ?? []
  if (!cause && down.length === 0) return null
  return (
    <section class="map" aria-label="What caused this build, and what it caused">
      {cause && (
        <>
          <Link to={{view: "build", build: String(number ?? cause), ...(node && {step: node})}} class="box">
            {`${kind === "rerun" ? "rerun of " : kind === "after" ? "after " : ""}${number ? `#${number}` : "a build"}${node ? `, ${node}` : ""}`}
          </Link>
          <span aria-hidden="true">→</span>
        </>
      )}
      <span class="box here">{`#${b.number}`}</span>
      {down.length > 0 && (
        <>
          <span aria-hidden="true">→</span>
          <ul>
            {down.map(t => (
              <li key={t.node}>
                {t.number ? (
                  <Link to={{view: "build", build: String(t.number)}} class="box">
                    {`#${t.number} ${t.project}${t.pipeline ? " / " + t.pipeline : ""}`}
                  </Link>
                ) : (
                  <span class="box">{`${t.project}${t.pipeline ? " / " + t.pipeline : ""}`}</span>
                )}{" "}
                {t.state ? <State state={t.state} /> : <span class="dim">being made</span>}
                <span class="dim">{` by ${t.node}${t.wait ? ", which waits for it" : ""}`}</span>
              </li>
            ))}
          </ul>
        </>
      )}
    </section>
  )
}
