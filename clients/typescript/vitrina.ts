// Made from the service's OpenAPI: python clients/typescript/generate.py

/** The process answers. */
export interface Alive {
  status: string
}

/** An answer, or a problem, for each request of a batch. */
export interface Batch {
  answers: (Recommendations | ProblemDetails)[]
}

/** How often an item was bought, and when last. */
export interface Bought {
  item_id: string
  count: number
  last: string
}

/** How many of each were deleted. */
export interface Deleted {
  events: number
  history: number
  purchases: number
  sessions: number
}

/** That a person was forgotten; it does not say who. */
export interface ErasureReceipt {
  receipt_id: string
  /** What happened up to then is not taken again. */
  erased_at: string
  deleted: Deleted
}

/** What became of the events of a request. */
export interface EventsTaken {
  accepted: number
  duplicates: number
  /** Events of items that the bundle lacks. */
  unknown_items: number
}

/** Everything that is held of a person. */
export interface Export {
  user_id: string
  sessions: string[]
  /** Of the log, newest last. */
  events: LoggedEvent[]
  history: HistoryEvent[]
  purchases: Bought[]
}

/** One event of a history. */
export interface HistoryEvent {
  item_id: string
  event_type: string
  timestamp: string
}

/** Who a session's visitor is. */
export interface Identity {
  session_id: string
  user_id: string
  /** False if they were known to be one already. */
  joined: boolean
}

/** A catalog row. Fields without a value are left out. */
export interface Item {
  item_id: string
  title?: string
  description?: string
  /** Broadest level first. */
  category_path?: string[]
  price?: number
  currency?: string
  brand?: string
  location?: string
  condition?: string
  image_url?: string
  available?: boolean
  attributes?: Record<string, unknown>
}

/** What became of deletions. */
export interface ItemsDeleted {
  accepted: number
}

/** What became of changes to the catalog. */
export interface ItemsTaken {
  accepted: number
  /** Items to be shown with the next bundle. */
  waiting: string[]
}

/** An event as it was sent. Fields without a value are left out. */
export interface LoggedEvent {
  event_id: string
  item_id: string
  event_type: string
  timestamp: string
  user_id?: string
  session_id?: string
  device_type?: string
  value?: number
  request_id?: string
  position?: number
  purposes: ("personalisation" | "training" | "audiences")[]
}

/** RFC 9457 problem details. */
export interface ProblemDetails {
  type: string
  title: string
  status: number
  /** What is wrong and what to do. */
  detail: string
  errors?: Record<string, unknown>[]
}

/** Whether there is anything to recommend from. */
export interface Readiness {
  status: string
  bundle: string | null
  problem: string | null
  breakers: Record<string, string>
}

/** A list for a shopper. */
export interface Recommendations {
  /** Send it with the events that answer this. */
  request_id: string
  user_id: string | null
  session_id: string | null
  /** As the request had it; events may send it along. */
  device_type: "desktop" | "mobile" | "tablet" | "tv" | "other" | null
  shelf: "for_you" | "discover" | "buy_again"
  /** The rung of the ladder, or `popular`. */
  served_by: string
  /** What failed, and was done without. */
  degraded: string[]
  user_embedding_version: string
  item_embedding_version: string
  bundle: string
  items: ShownItem[]
  /** The next page's; null on the last. */
  cursor: string | null
  timings_ms: Record<string, number>
  /** Why there are no items. */
  message?: string
}

/** An item of a list; the id alone, if the catalog could not be read. */
export interface ShownItem {
  item_id: string
  title?: string
  description?: string
  /** Broadest level first. */
  category_path?: string[]
  price?: number
  currency?: string
  brand?: string
  location?: string
  condition?: string
  image_url?: string
  available?: boolean
  attributes?: Record<string, unknown>
  score: number | null
  /** Which source of candidates named it. */
  source: string
  /** Its place; pages count on. */
  position: number
}

/** Items near one, nearest first. */
export interface SimilarItems {
  item_id: string
  degraded: string[]
  item_embedding_version: string
  bundle: string
  items: ShownItem[]
}

/** What a user vector depends on. */
export interface Space {
  item_embedding_version: string
}

/** The vector a shopper is served with. */
export interface UserEmbedding {
  user_embedding: VectorFacts
  user_embedding_version: string
  depends_on: Space
  rung: string
}

/** A shopper's newest events, oldest first. */
export interface UserHistory {
  user_id: string
  events: HistoryEvent[]
}

/** A user vector's measures, and itself if it was asked for. */
export interface VectorFacts {
  dim: number
  norm: number
  vector?: number[]
}

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

  /** Record what shoppers did: one event, a list, or {events: [...]}. */
  postEvents(body: {
    /** Makes the event idempotent: sent twice, it counts once. */
    event_id?: string | null
    user_id?: string | null
    session_id?: string | null
    item_id: string
    event_type: string
    /** Default: now. */
    timestamp?: string | null
    device_type?: string | null
    value?: number | null
    /** The recommendation this event answers. */
    request_id?: string | null
    /** The item's position in it. */
    position?: number | null
    /** What the person has agreed to that this event be used for; the shop's default if left out. Without personalisation it is in no history, without training in no model. */
    purposes?: ("personalisation" | "training" | "audiences")[] | null
  } | ({
    /** Makes the event idempotent: sent twice, it counts once. */
    event_id?: string | null
    user_id?: string | null
    session_id?: string | null
    item_id: string
    event_type: string
    /** Default: now. */
    timestamp?: string | null
    device_type?: string | null
    value?: number | null
    /** The recommendation this event answers. */
    request_id?: string | null
    /** The item's position in it. */
    position?: number | null
    /** What the person has agreed to that this event be used for; the shop's default if left out. Without personalisation it is in no history, without training in no model. */
    purposes?: ("personalisation" | "training" | "audiences")[] | null
  })[] | {
    events: ({
      /** Makes the event idempotent: sent twice, it counts once. */
      event_id?: string | null
      user_id?: string | null
      session_id?: string | null
      item_id: string
      event_type: string
      /** Default: now. */
      timestamp?: string | null
      device_type?: string | null
      value?: number | null
      /** The recommendation this event answers. */
      request_id?: string | null
      /** The item's position in it. */
      position?: number | null
      /** What the person has agreed to that this event be used for; the shop's default if left out. Without personalisation it is in no history, without training in no model. */
      purposes?: ("personalisation" | "training" | "audiences")[] | null
    })[]
  }): Promise<EventsTaken> {
    return this.call("POST", `/v1/events`, { body })
  }

  /** Items for a shopper, a session, or someone nobody knows yet. */
  getRecommendations(query: {
    user_id?: string | null
    /** An anonymous visitor's session. */
    session_id?: string | null
    /** Items wanted. */
    k?: number
    /** discover: nothing seen before; buy_again: purchases; for_you: both. */
    shelf?: "for_you" | "discover" | "buy_again"
    /** Where it is shown. On a product_page, for_you brings no past purchases. */
    surface?: "home" | "product_page" | "cart" | "browse"
    /** What it is shown on. It changes no answer yet: it is counted, and comes back in the answer for the events that follow it. */
    device_type?: "desktop" | "mobile" | "tablet" | "tv" | "other" | null
    /** Items that it is shown beside: the product looked at; what lies in the cart, newest last. What is near them is shown too; they themselves are not. */
    seed?: string[]
    /** Items never to be shown. */
    exclude?: string[]
    /** Of the answer before: go on behind it, and repeat nothing. */
    cursor?: string | null
    /** Category paths ('A > B'); subtrees are included. */
    category?: string[]
    /** Brands. */
    brand?: string[]
    /** Conditions, such as new or used, as the catalog has it. */
    condition?: string[]
    /** Where the items are, as the catalog has it; others are not shown. */
    location?: string[]
    min_price?: number | null
    max_price?: number | null
    /** Only items that are available. */
    available?: boolean
    /** Leave out the shopper's history. Default: on the shelf discover only. */
    exclude_seen?: boolean | null
  } = {}): Promise<Recommendations> {
    return this.call("GET", `/v1/recommendations`, { query })
  }

  /** The same with a JSON body, which may carry the history itself. */
  postRecommendations(body: {
    user_id?: string | null
    /** An anonymous visitor's session. */
    session_id?: string | null
    /** Used instead of the stored history; oldest first. */
    history?: ({
      item_id: string
      event_type?: string
      /** Default: now. */
      timestamp?: string | null
    })[] | null
    /** Items wanted. */
    k?: number
    /** discover: nothing seen before; buy_again: purchases; for_you: both. */
    shelf?: "for_you" | "discover" | "buy_again"
    /** Where it is shown. On a product_page, for_you brings no past purchases. */
    surface?: "home" | "product_page" | "cart" | "browse"
    /** What it is shown on. It changes no answer yet: it is counted, and comes back in the answer for the events that follow it. */
    device_type?: "desktop" | "mobile" | "tablet" | "tv" | "other" | null
    /** Items that it is shown beside: the product looked at; what lies in the cart, newest last. What is near them is shown too; they themselves are not. */
    seed?: string[]
    /** Items never to be shown. */
    exclude?: string[]
    /** Of the answer before: go on behind it, and repeat nothing. */
    cursor?: string | null
    /** Category paths ('A > B'); subtrees are included. */
    category?: string[]
    /** Brands. */
    brand?: string[]
    /** Conditions, such as new or used, as the catalog has it. */
    condition?: string[]
    /** Where the items are, as the catalog has it; others are not shown. */
    location?: string[]
    min_price?: number | null
    max_price?: number | null
    /** Only items that are available. */
    available?: boolean
    /** Leave out the shopper's history. Default: on the shelf discover only. */
    exclude_seen?: boolean | null
  }): Promise<Recommendations> {
    return this.call("POST", `/v1/recommendations`, { body })
  }

  /** Several requests at once; one that cannot be used fails alone. */
  postBatch(body: {
    requests: ({
      user_id?: string | null
      /** An anonymous visitor's session. */
      session_id?: string | null
      /** Used instead of the stored history; oldest first. */
      history?: ({
        item_id: string
        event_type?: string
        /** Default: now. */
        timestamp?: string | null
      })[] | null
      /** Items wanted. */
      k?: number
      /** discover: nothing seen before; buy_again: purchases; for_you: both. */
      shelf?: "for_you" | "discover" | "buy_again"
      /** Where it is shown. On a product_page, for_you brings no past purchases. */
      surface?: "home" | "product_page" | "cart" | "browse"
      /** What it is shown on. It changes no answer yet: it is counted, and comes back in the answer for the events that follow it. */
      device_type?: "desktop" | "mobile" | "tablet" | "tv" | "other" | null
      /** Items that it is shown beside: the product looked at; what lies in the cart, newest last. What is near them is shown too; they themselves are not. */
      seed?: string[]
      /** Items never to be shown. */
      exclude?: string[]
      /** Of the answer before: go on behind it, and repeat nothing. */
      cursor?: string | null
      /** Category paths ('A > B'); subtrees are included. */
      category?: string[]
      /** Brands. */
      brand?: string[]
      /** Conditions, such as new or used, as the catalog has it. */
      condition?: string[]
      /** Where the items are, as the catalog has it; others are not shown. */
      location?: string[]
      min_price?: number | null
      max_price?: number | null
      /** Only items that are available. */
      available?: boolean
      /** Leave out the shopper's history. Default: on the shelf discover only. */
      exclude_seen?: boolean | null
    })[]
  }): Promise<Batch> {
    return this.call("POST", `/v1/recommendations:batch`, { body })
  }

  /** The vector a shopper is served with, its versions and its rung. */
  getEmbedding(userId: string, query: {
    include_vector?: boolean
  } = {}): Promise<UserEmbedding> {
    return this.call("GET", `/v1/users/${encodeURIComponent(userId)}/embedding`, { query })
  }

  /** A shopper's newest events, oldest first. */
  getHistory(userId: string, query: {
    limit?: number
  } = {}): Promise<UserHistory> {
    return this.call("GET", `/v1/users/${encodeURIComponent(userId)}/history`, { query })
  }

  /** Change items, or add them: one item, a list, or {items: [...]}. */
  putItems(body: {
    item_id: string
    title?: string | null
    description?: string | null
    /** Levels, broadest first, or one text: 'A > B > C'. */
    category_path?: string[] | string | null
    price?: number | null
    currency?: string | null
    brand?: string | null
    location?: string | null
    condition?: string | null
    image_url?: string | null
    /** False: sold out. Null: to be had. */
    available?: boolean | null
    /** A JSON object. */
    attributes?: Record<string, unknown> | null
  } | ({
    item_id: string
    title?: string | null
    description?: string | null
    /** Levels, broadest first, or one text: 'A > B > C'. */
    category_path?: string[] | string | null
    price?: number | null
    currency?: string | null
    brand?: string | null
    location?: string | null
    condition?: string | null
    image_url?: string | null
    /** False: sold out. Null: to be had. */
    available?: boolean | null
    /** A JSON object. */
    attributes?: Record<string, unknown> | null
  })[] | {
    items: ({
      item_id: string
      title?: string | null
      description?: string | null
      /** Levels, broadest first, or one text: 'A > B > C'. */
      category_path?: string[] | string | null
      price?: number | null
      currency?: string | null
      brand?: string | null
      location?: string | null
      condition?: string | null
      image_url?: string | null
      /** False: sold out. Null: to be had. */
      available?: boolean | null
      /** A JSON object. */
      attributes?: Record<string, unknown> | null
    })[]
  }): Promise<ItemsTaken> {
    return this.call("PUT", `/v1/items`, { body })
  }

  /** Delete items: from the next answer on they are nowhere to be seen. */
  deleteItems(body: {
    item_ids: string[]
  }): Promise<ItemsDeleted> {
    return this.call("POST", `/v1/items:delete`, { body })
  }

  /** Delete one item. */
  deleteItem(itemId: string): Promise<ItemsDeleted> {
    return this.call("DELETE", `/v1/items/${encodeURIComponent(itemId)}`)
  }

  /** An item as the shop's catalog has it now. */
  getItem(itemId: string): Promise<Item> {
    return this.call("GET", `/v1/items/${encodeURIComponent(itemId)}`)
  }

  /** Available items that are near this one. */
  getSimilar(itemId: string, query: {
    k?: number
  } = {}): Promise<SimilarItems> {
    return this.call("GET", `/v1/items/${encodeURIComponent(itemId)}/similar`, { query })
  }

  /** Say who a session's visitor is, when they sign in. */
  postIdentities(body: {
    session_id: string
    user_id: string
  }): Promise<Identity> {
    return this.call("POST", `/v1/identities`, { body })
  }

  /** Everything that is held of a person. */
  getExport(userId: string): Promise<Export> {
    return this.call("GET", `/v1/users/${encodeURIComponent(userId)}/export`)
  }

  /** Forget a person. */
  deleteUser(userId: string): Promise<ErasureReceipt> {
    return this.call("DELETE", `/v1/users/${encodeURIComponent(userId)}`)
  }

  /** Is the process alive? */
  healthz(): Promise<Alive> {
    return this.call("GET", `/healthz`)
  }

  /** Can it recommend? Which bundle serves, and is anything wrong with the next one? */
  readyz(): Promise<Readiness> {
    return this.call("GET", `/readyz`)
  }

  /** Counters and histograms for Prometheus. */
  metrics(): Promise<string> {
    return this.call("GET", `/metrics`)
  }

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
