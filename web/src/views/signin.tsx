import {useEffect, useState} from "preact/hooks"
import {post, Problem} from "../api"
import {parse} from "../route"
import {go, session} from "../state"
import type {Session} from "../types"

export function SignInView({to}: {to?: string}) {
  const [problem, setProblem] = useState("")
  const [busy, setBusy] = useState(false)
  useEffect(() => {
    document.title = "Sign in · Piper"
  }, [])
  const submit = async (e: SubmitEvent) => {
    e.preventDefault()
    const token = String(new FormData(e.currentTarget as HTMLFormElement).get("token")).trim()
    setBusy(true)
    setProblem("")
    try {
      session.value = await post<Session>("/v1/session", {token})
      go(/^\/(?![/\\])/.test(to ?? "") ? parse(to!) : {view: "builds"}, true) // nowhere else
    } catch (err) {
      setProblem(err instanceof Problem && err.status === 401 ? "This token is not known." : (err as Error).message)
    }
    setBusy(false)
  }
  return (
    <main id="main" class="signin" tabIndex={-1}>
      <h1 tabIndex={-1}>Piper</h1>
      <form onSubmit={submit}>
        <label for="token">Token</label>
        <input id="token" name="token" type="password" autocomplete="current-password" required autofocus aria-describedby="where" aria-invalid={problem !== ""} />
        {problem && (
          <p class="trouble" role="alert">
            {problem}
          </p>
        )}
        <button class="primary" disabled={busy}>
          Sign in
        </button>
      </form>
      <p id="where">
        The agent's first token is in the file <code>token</code> of its data directory. An admin makes more with <code>piper token add</code>.
      </p>
    </main>
  )
}
