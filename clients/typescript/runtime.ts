/** A refusal, or (status 0) no answer however often it was asked for. */
export class VitrinaError extends Error {
  constructor(
    readonly detail: string,
    readonly status: number,
    readonly problem: Partial<ProblemDetails> = {},
    readonly requestId: string | null = null,
    readonly retryAfter = 0,
  ) {
    super(detail)
    this.name = "VitrinaError"
  }
}

export interface Options {
  /** An API key. One that can do more than record events belongs to servers, not into pages. */
  key?: string
  /** Milliseconds until a try is given up; 2000 by default. */
  timeout?: number
  /** How often to ask again what was refused for the moment, or got lost; 3 by default. */
  retries?: number
  /** Headers of every request, such as Deadline-Ms. */
  headers?: Record<string, string>
}

interface Sent {
  body?: unknown
  query?: Record<string, unknown>
}

/** Events with an id each, so that what has to be sent again counts once. */
function named(body: unknown): unknown {
  const events = Array.isArray(body) ? body : ((body as { events?: unknown[] }).events ?? [body])
  return { events: events.map((event) => ({ event_id: crypto.randomUUID(), ...event })) }
}

const LONGEST_SECONDS = 10
const AGAIN = [0, 429, 502, 503, 504]

/** The service at `url`. Every call rejects with a VitrinaError when it is refused. */
export class Vitrina {
  constructor(
    readonly url: string,
    readonly options: Options = {},
  ) {}

  // Calls

  private async call<T>(method: string, path: string, sent: Sent = {}): Promise<T> {
    if (path === "/v1/events") sent = { ...sent, body: named(sent.body) }
    for (let asked = 0; ; asked++) {
      try {
        return await this.send<T>(method, path, sent)
      } catch (error) {
        const refusal = error as VitrinaError
        const last = asked >= (this.options.retries ?? 3) || refusal.retryAfter > LONGEST_SECONDS
        if (last || !AGAIN.includes(refusal.status)) throw refusal
        // Random, so that clients that were refused together do not come back together.
        const pause = refusal.retryAfter + Math.random() * Math.min(0.1 * 2 ** asked, LONGEST_SECONDS)
        await new Promise((resolve) => setTimeout(resolve, pause * 1000))
      }
    }
  }

  private async send<T>(method: string, path: string, { body, query }: Sent): Promise<T> {
    const { key, timeout = 2000, headers } = this.options
    const url = new URL(this.url.replace(/\/$/, "") + path)
    for (const [name, value] of Object.entries(query ?? {}))
      for (const one of Array.isArray(value) ? value : [value])
        if (one !== undefined && one !== null) url.searchParams.append(name, String(one))
    let response: Response
    let text: string
    try {
      response = await fetch(url, {
        method,
        headers: {
          ...(key ? { Authorization: `Bearer ${key}` } : {}),
          ...(body === undefined ? {} : { "Content-Type": "application/json" }),
          ...headers,
        },
        body: body === undefined ? undefined : JSON.stringify(body),
        signal: AbortSignal.timeout(timeout),
      })
      text = await response.text()
    } catch (error) {
      throw new VitrinaError(`The service at ${this.url} did not answer: ${error}`, 0)
    }
    const isJson = (response.headers.get("content-type") ?? "").includes("json")
    const content = isJson ? JSON.parse(text) : text
    if (response.ok) return content as T
    throw new VitrinaError(
      isJson ? content.detail : `${response.status} ${response.statusText}`,
      response.status,
      isJson ? content : {},
      response.headers.get("x-request-id"),
      Number(response.headers.get("retry-after") ?? 0),
    )
  }
}
