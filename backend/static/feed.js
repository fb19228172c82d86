// The home feed. Whatever comes from the API is set as text, never as markup.
const HOME = "api/activities/home?limit=20";
const [feed, status, error, older, newest, retry] = ["feed", "status", "error", "older", "newest", "retry"].map((id) =>
  document.getElementById(id),
);
let next = null; // the URL of the page after the last one shown
let failed = null; // what "Try again" does
let busy = false; // a disabled button would lose the keyboard's focus

const STEPS = [["year", 31536000], ["month", 2592000], ["day", 86400], ["hour", 3600], ["minute", 60]];
const AGES = new Intl.RelativeTimeFormat("en", { style: "narrow" });

function moment(text) {
  // A column without a time zone holds UTC
  return new Date(/(Z|[+-]\d\d(:\d\d)?)$/.test(text) ? text.replace(/([+-]\d\d)$/, "$1:00") : `${text}Z`);
}

function age(date) {
  const seconds = (date - Date.now()) / 1000;
  if (Number.isNaN(seconds)) return "";
  const [unit, size] = STEPS.find(([, least]) => Math.abs(seconds) >= least) ?? [];
  return unit ? AGES.format(Math.trunc(seconds / size), unit) : "just now";
}

function element(name, className, text) {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  made.dir = "auto";
  return made;
}

function count(number, one, many) {
  return element("span", "", `${number ?? 0} ${number === 1 ? one : many}`);
}

function card(activity) {
  const made = document.createElement("article");
  made.id = `activity-${activity.uuid}`;
  made.tabIndex = -1;
  const name = activity.display_name ?? "Somebody who has left";
  const heading = element("h2", "", "");
  heading.append(element("span", "name", name));
  if (activity.handle != null) heading.append(element("span", "handle", `@${activity.handle}`));
  const date = moment(activity.created_at);
  const time = element("time", "", age(date));
  if (time.textContent) {
    time.dateTime = date.toISOString();
    time.title = date.toLocaleString();
  }
  heading.append(time);
  made.append(heading);
  if (activity.reply_to_activity_uuid != null) {
    made.dataset.replyTo = activity.reply_to_activity_uuid;
    made.append(element("span", "reply", "↩ A reply"));
  }
  made.append(element("p", "message", activity.message));
  const counts = element("p", "counts", "");
  counts.append(
    count(activity.replies_count, "reply", "replies"),
    count(activity.reposts_count, "repost", "reposts"),
    count(activity.likes_count, "like", "likes"),
  );
  if (activity.expires_at != null && moment(activity.expires_at) < Date.now()) {
    made.classList.add("expired");
    counts.append(element("span", "over", "expired"));
  }
  made.append(counts);
  return made;
}

function nameReplies() {
  // What a reply replies to is older, so it may come with a later page
  for (const reply of feed.querySelectorAll("article[data-reply-to]")) {
    const to = document.getElementById(`activity-${reply.dataset.replyTo}`);
    if (!to) continue;
    const link = element("a", "", (to.querySelector(".handle") ?? to.querySelector(".name")).textContent);
    link.href = `#${to.id}`;
    reply.querySelector(".reply").replaceChildren("↩ A reply to ", link);
    delete reply.dataset.replyTo;
  }
}

function show(activities) {
  const items = activities.map((activity) => {
    const item = document.createElement("li");
    item.append(card(activity));
    return item;
  });
  feed.append(...items);
  nameReplies();
  return items[0]?.firstChild;
}

async function load(url) {
  let response;
  try {
    response = await fetch(url, { headers: { Accept: "application/json" } });
  } catch {
    throw new Error("The server does not answer.");
  }
  const body = await response.json().catch(() => null);
  if (!response.ok) throw new Error(body?.error ? `The feed cannot be shown: ${body.error}.` : `The server answers with ${response.status}.`);
  if (!Array.isArray(body)) throw new Error("The server's answer is not a feed.");
  const link = /<([^>]+)>; *rel="?next"?/.exec(response.headers.get("Link") ?? "");
  return [body, link ? new URL(link[1], response.url).href : null];
}

async function fill(url, fresh) {
  if (busy) return;
  busy = true;
  status.textContent = "Loading…";
  try {
    const [activities, after] = await load(url);
    if (fresh) feed.replaceChildren();
    const first = show(activities);
    next = after;
    failed = null;
    error.hidden = true;
    older.hidden = !next;
    if (!feed.children.length) status.textContent = "Nothing has been posted yet.";
    else status.textContent = next ? "" : "That is all.";
    if (!fresh) first?.focus();
  } catch (problem) {
    failed = () => fill(url, fresh);
    error.querySelector("p").textContent = problem.message;
    error.hidden = false;
    status.textContent = "";
  }
  busy = false;
}

older.addEventListener("click", () => fill(next, false));
newest.addEventListener("click", () => fill(HOME, true));
retry.addEventListener("click", () => failed?.());
setInterval(() => {
  for (const time of feed.querySelectorAll("time[datetime]")) time.textContent = age(new Date(time.dateTime));
}, 30_000);
fill(HOME, true);
