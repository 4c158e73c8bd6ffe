// The shapes of api/openapi.yaml, as far as the page reads them.

export type BuildState = "queued" | "running" | "success" | "failed" | "cancelled" | "timed_out" | "lost" | "rejected"
export type StepState = "pending" | "waiting" | "running" | "success" | "failed" | "cancelled" | "timed_out" | "skipped"
export type Role = "read" | "trigger" | "admin"

export interface Session {
  name: string
  role: Role
  projects?: string[]
  expires?: string
}

export interface Progress {
  total: number
  running: number
  done: number
  failed: number
  skipped: number
  asking?: number // approvals that wait for a person
}

export interface Cause {
  kind: string
  build?: string
  number?: number // of that build
  node?: string
  by?: string
  trust?: string
}

export interface Diagnostic {
  file?: string
  line?: number
  column?: number
  severity: string
  code: string
  message: string
  hint?: string
  excerpt?: string
}

export interface Build {
  id: string
  number: number
  project: string
  pipeline?: string
  environment?: string
  state: BuildState
  reason?: string
  commit?: string
  ref?: string
  patch?: string
  params?: Record<string, unknown>
  plan_digest?: string
  parent?: string
  cause: Cause
  agent?: {id: string; name?: string}
  attempt?: number
  fence?: number
  priority?: number
  here?: boolean // by piper exec
  progress: Progress
  created?: string
  started?: string
  ended?: string
  cancel?: {by?: string; reason?: string; force?: boolean}
  usual_ms?: number
  rev: number
  // Of one build, not in a list.
  steps?: Step[]
  triggered?: Triggered[]
  approvals?: Approval[]
  diagnostics?: Diagnostic[]
}

export interface Step {
  name: string
  state: StepState
  attempt?: number
  started?: string
  ready?: string
  ended?: string
  not_before?: string
  exit?: number
  signal?: string
  reason?: string
  infra?: boolean
  allowed?: boolean
  outputs?: Record<string, string>
  child?: string
  by?: string
  why?: string
}

export interface Triggered {
  node: string
  id: string
  number?: number
  project: string
  pipeline?: string
  state?: BuildState
  wait?: boolean
}

export interface Approval {
  node: string
  state: "waiting" | "approved" | "refused"
  prompt?: string
  by?: string
  reason?: string
  at?: string
}

export interface BuildEvent {
  build: string
  fence: number
  seq: number
  time: string
  kind: string
  node?: string
  attempt?: number
  state?: string
  exit?: number
  signal?: string
  reason?: string
  infra?: boolean
  final?: boolean
  child?: string
  by?: string
}

export interface Line {
  number: number
  time?: string
  text: string
  offset?: number // where in the line this part begins, in bytes
  partial?: boolean // more of it is to come
  cut?: number // bytes that were left out here
}

export interface Log {
  step: string
  attempt: number
  fence: number
  total: number
  bytes: number
  next: number
  ended: boolean
  lines: Line[]
  notice?: string // that the index of logs is away
}

// LogGrew is the stream's event "log".
export interface LogGrew {
  build: string
  step: string
  attempt: number
  fence: number
  total: number
  bytes: number
  ended: boolean
}

export interface Match extends Line {
  step: string
  attempt: number
  spans: [number, number][] // of text
  before?: Line[]
  after?: Line[]
}

export interface Found {
  lines: number
  matches: number
  hits: Match[]
}

// LogDiff is what a build wrote that the base has nothing like.
export interface LogDiff {
  base: BuildRef
  steps: StepDiff[]
}

export interface StepDiff {
  step: string
  attempt: number
  new: number // lines, all of them
  base: boolean // it wrote something in the base
  capped?: boolean // so much that not all was looked at
  hits: Match[] // the first
}

// FoundEverywhere is the answer to a search over all builds.
export interface FoundEverywhere {
  builds: number
  lines: number
  matches: number
  index?: string // that was asked; without it the store was read
  total?: number // lines in all pages, where the index knows
  fell_back?: string // why the index was not asked
  hits: (Match & {build: string; build_number: number; project: string; pipeline?: string; fence: number})[]
}

// LogIndex is the index of logs, and how it does.
export interface LogIndex {
  name: string
  behind?: number // of the newest 100 builds that ended, those that it has not all of
  dead_letters?: number // lines that it refused; not known while it is away
  letters?: {reason: string}[] // the newest of them first
}

export interface BuildRef {
  id: string
  number: number
  project: string
  pipeline?: string
}

export interface Agent {
  id: string
  name: string
  host: string
  version: string
  started?: string
  seen?: string
  slots: number
  free: number
  draining?: boolean
  ending?: boolean // it drains for good
  labels?: Record<string, string>
  facts?: Record<string, string>
  running: BuildRef[]
}

export interface Project {
  name: string
  repo: string
  ref?: string
  zone?: string
  rev: number
  created?: string
}

export interface Param {
  name: string
  type: "string" | "int" | "bool" | "enum" | "list"
  doc?: string
  default?: unknown
  required?: boolean
  pattern?: string
  choices?: string[]
}

export interface Pipeline {
  name: string
  doc?: string
  params?: Param[]
  on?: {kind: string; branches?: string[]; tags?: string[]; schedule?: string; pipeline?: string; project?: string; name?: string}[]
}

export interface Pipelines {
  project: string
  commit: string
  pipelines: Pipeline[] | null
  environments?: {name: string}[]
}

export interface Candidate {
  id: string
  name: string
  eligible: boolean
  free: number
  reasons?: string[]
  checks?: {wanted: string; met: boolean; found?: string; reason?: string; hint?: string}[]
}

export interface Why {
  state: BuildState
  summary: string
  queue?: string[]
  agents?: Candidate[]
  nearest?: string
  step?: string
  steps?: Step[]
}

export interface PlanNode {
  name: string
  needs?: string[]
  group?: string
  pos?: string // file:line:column
  run_on?: string
  allow_failure?: string
  step?: {retry?: Retry; doc?: string; script?: string; argv?: unknown[]; dir?: string; service?: unknown; services?: string[]; timeout?: unknown}
  trigger?: {project?: string; pipeline: string; wait?: boolean}
  approve?: {prompt?: string}
  expand?: unknown
}

export interface Retry {
  attempts: number // in all
  on?: string[] // exit codes, "timeout", "signal"; none is any failure
}

export interface Plan {
  digest?: string
  pipeline: string
  nodes: PlanNode[]
  groups?: {name: string; group?: string; limit?: number}[]
}

export interface Graph {
  width: number
  height: number
  nodes: {name: string; kind: string; x: number; y: number; width: number; height: number}[]
  edges: {from: string; to: string; points: [number, number][]}[]
}
