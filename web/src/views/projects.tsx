import {useEffect} from "preact/hooks"
import {ask, path} from "../api"
import {Copy} from "../parts/copy"
import {Link} from "../parts/link"
import {Trouble, useLoad} from "../parts/load"
import type {Project} from "../types"

export function ProjectsView() {
  const list = useLoad(
    async from => {
      const {value, at} = await ask<Project[]>(path(["projects"]))
      from(at)
      return value
    },
    [],
    ["projects"],
    (m, {set}) => {
      if (m.kind === "project") set(all => [...all.filter(p => p.name !== m.data.name), m.data as Project].sort((a, b) => (a.name < b.name ? -1 : 1)))
      if (m.kind === "gone" && m.data.project) set(all => all.filter(p => p.name !== m.data.project))
    },
  )
  useEffect(() => {
    document.title = "Projects · Piper"
  }, [])
  return (
    <main id="main" tabIndex={-1}>
      <div class="head">
        <h1 tabIndex={-1}>Projects</h1>
      </div>
      <Trouble problem={list.problem} what="The projects are not known" />
      {list.value?.length === 0 && (
        <div class="empty">
          <p>There is no project yet. Make a repository with a PIPER.star one:</p>
          <Copy text="piper project add shop --repo /srv/git/shop" />
        </div>
      )}
      {list.value && list.value.length > 0 && (
        <table>
          <thead>
            <tr>
              <th scope="col">Project</th>
              <th scope="col">Repository</th>
              <th scope="col">Branch</th>
              <th scope="col">
                <span class="hidden">Builds</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {list.value.map(p => (
              <tr key={p.name}>
                <th scope="row">
                  <Link to={{view: "project", project: p.name}}>{p.name}</Link>
                </th>
                <td class="repo">{p.repo}</td>
                <td>{p.ref ?? <span class="dim">default branch</span>}</td>
                <td>
                  <Link to={{view: "builds", project: p.name}} label={`Builds of ${p.name}`}>
                    Builds
                  </Link>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </main>
  )
}
