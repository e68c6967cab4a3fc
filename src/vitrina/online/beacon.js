(() => {
  let queue = [], who = {}, script = document.currentScript
  const url = new URL("/v1/events", script.src), key = script.dataset.key
  const id = () => crypto.randomUUID?.() ?? Date.now().toString(36) + Math.random().toString(36)
  if (key) url.searchParams.set("key", key)
  try { who.session_id = localStorage.vitrina ||= id() } catch { who.session_id = id() }
  const send = () => {
    if (queue[0] && navigator.sendBeacon(url, JSON.stringify({ events: queue }))) queue = []
  }
  window.vitrina = (event_type, item_id, more) => {
    queue.push({ event_id: id(), event_type, item_id, ...who, ...more })
    queue.length > 19 ? send() : setTimeout(send, 2e3)
  }
  vitrina.session = who.session_id
  vitrina.user = user_id => { who.user_id = user_id }
  addEventListener("pagehide", send)
  addEventListener("visibilitychange", () => document.hidden && send())
})()
