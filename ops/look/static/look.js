// The page of inv look. Whatever comes from a database or from AWS is set as text, never as markup.
const byId = (id) => document.getElementById(id);
const [main, status, select, parts, again, which] = ["main", "status", "target", "parts", "again", "which"].map(byId);
const saved = byId("saved") ? JSON.parse(byId("saved").textContent) : null;
const MOST = 200; // rows of a table that are drawn
const MOST_TABLES = 1000;
const PERIOD = 2000;
let targets = [];
let round = 0; // of what is shown: an answer that comes for an older one is dropped

// --- what is asked -----------------------------------------------------------------------

const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

async function ask(path, waiting = () => {}) {
  if (saved) {
    const found = saved.answers[path];
    if (found?.error) throw new Error(found.error);
    return found?.answer ?? null;
  }
  const mine = round;
  for (let wait = 300; ; wait = Math.min(2 * wait, PERIOD)) {
    let response;
    try {
      response = await fetch(`api/${path}`, { headers: { Accept: "application/json" } });
    } catch {
      throw new Error("inv look has ended: start it again.");
    }
    if (response.status === 401) throw new Error("This window is not let in any more: open the address that inv look has printed.");
    const body = await response.json().catch(() => null);
    if (response.status === 202) {
      waiting(body?.waiting_seconds ?? 0);
      await pause(wait);
      if (mine !== round) throw new Error("nobody looks any more"); // at what this was for
      continue;
    }
    if (!response.ok) throw new Error(body?.error ?? `inv look answers with ${response.status}.`);
    return body;
  }
}

// --- how it is said ----------------------------------------------------------------------

// Letters that would turn those behind them round: a statement is to be read as it runs
const plain = (text) => String(text).replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, "\ufffd");

function el(name, about, ...children) {
  const made = document.createElement(name);
  const { className, ...more } = about ?? {};
  if (className) made.className = className;
  for (const [key, value] of Object.entries(more)) made.setAttribute(key, plain(value));
  made.append(...children.filter((each) => each != null && each !== "").map((each) => (each instanceof Node ? each : plain(each))));
  return made;
}

const number = (value) => (value == null ? "" : value.toLocaleString("en"));
const percent = (value) => (value == null ? "" : `${(100 * value).toFixed(value > 0.999 ? 2 : 1)}%`);

function size(bytes) {
  if (bytes == null) return "";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let step = 0;
  while (bytes >= 1024 && step < units.length - 1) { bytes /= 1024; step += 1; }
  return `${bytes.toFixed(step ? 1 : 0)} ${units[step]}`;
}

function span(seconds) {
  if (seconds == null) return "";
  if (seconds < 1) return `${(1000 * seconds).toFixed(seconds < 0.01 ? 2 : 0)} ms`;
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60]])
    if (seconds >= length) return `${(seconds / length).toFixed(seconds < 10 * length ? 1 : 0)} ${unit}`;
  return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
}

const moment = (text) => (text ? new Date(text).toLocaleString() : "");
const remaining = (text) => (!text ? "" : new Date(text) > Date.now() ? `for ${span((new Date(text) - Date.now()) / 1000)} more` : "expired");
const yes = (value) => (value == null ? "" : value ? "yes" : "no");

function facts(pairs) {
  const made = el("dl");
  for (const [about, value] of pairs) if (value !== "" && value != null) made.append(el("dt", null, about), el("dd", null, value));
  return made;
}

// columns: [title, function of a row, "number"?]
function table(caption, columns, rows) {
  const head = el("tr", null, ...columns.map(([title, , kind]) => el("th", { scope: "col", className: kind ?? "" }, title)));
  const body = rows.slice(0, MOST).map((row) => el("tr", null, ...columns.map(([, cell, kind]) => el("td", { className: kind ?? "" }, ...[cell(row)].flat()))));
  const made = el("table", null, el("caption", null, caption), el("thead", null, head), el("tbody", null, ...body));
  const box = el("div", { className: "scroll", tabindex: "0", role: "region", "aria-label": caption }, made);
  return rows.length > MOST ? el("div", null, box, el("p", { className: "quiet" }, `and ${number(rows.length - MOST)} more`)) : box;
}

// Lengths beside each other, of the most that there is; the numbers stand in the row, so a screen reader passes it over
function bar(parts, most) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [key, value] of Object.entries({ class: "bar", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" })) svg.setAttribute(key, value);
  let x = 0;
  for (const [value, name] of parts) {
    if (!value) continue;
    const width = Math.max(1, (100 * value) / most);
    const rect = document.createElementNS(SVG, "rect");
    for (const [key, each] of Object.entries({ class: name, x, y: 0, width: width.toFixed(2), height: 10 })) rect.setAttribute(key, each);
    svg.append(rect);
    x += width;
  }
  return svg;
}

function problem(error) {
  return el("p", { className: "problem" }, error.message);
}

// A part of the page that is asked for by itself: what one target does not answer holds up no other
function panel(title, path, draw) {
  const box = el("div", { "aria-busy": "true" }, el("p", { className: "quiet" }, "Looking…"));
  const made = el("section", null, el("h2", null, title), box);
  const mine = round;
  const show = (...nodes) => { if (mine === round) box.replaceChildren(...nodes); };
  ask(path, (seconds) => show(el("p", { className: "quiet" }, `Waiting for an answer for ${seconds} s…`)))
    .then((answer) => show(...[draw(answer)].flat()))
    .catch((error) => show(problem(error)))
    .finally(() => box.removeAttribute("aria-busy"));
  return made;
}

// --- now ---------------------------------------------------------------------------------

const SVG = "http://www.w3.org/2000/svg";

function plot(title, looks, value, shown, most) {
  const values = looks.map(value);
  const known = values.filter((each) => each != null);
  const last = values.at(-1);
  const top = Math.max(most ?? 0, ...known) || 1;
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "plot");
  svg.setAttribute("viewBox", "0 0 600 100");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `${title}: ${shown(last) || "unknown"}, at most ${shown(known.length ? Math.max(...known) : null) || "unknown"} in the last ten minutes`);
  const end = looks.length ? new Date(looks.at(-1).looked_at) : 0;
  let path = "";
  let open = false;
  let area = "";
  let from = 0;
  looks.forEach((look, place) => {
    const x = (600 - Math.min(600, (end - new Date(look.looked_at)) / 1000)).toFixed(1);
    if (values[place] == null) {
      if (open) area += `L${from} 100Z`;
      open = false;
      return;
    }
    const point = `${x} ${(96 - 92 * (values[place] / top)).toFixed(1)}`;
    path += `${open ? "L" : "M"}${point}`;
    area += open ? `L${point}` : `M${x} 100L${point}`;
    if (!open) from = x;
    if (place === looks.length - 1 || values[place + 1] == null) { area += `L${x} 100L${from} 100Z`; open = false; if (place !== looks.length - 1) return; }
    open = true;
  });
  for (const [d, name] of [[area, "area"], [path, ""]]) {
    const line = document.createElementNS(SVG, "path");
    line.setAttribute("d", d);
    line.setAttribute("class", name);
    svg.append(line);
  }
  return el("figure", null, el("figcaption", null, el("span", null, title), el("b", null, shown(last) || "–")), svg);
}

function perSecond(look, place, looks) {
  const before = looks[place - 1];
  if (look.transactions == null || !before?.reachable) return null;
  return look.transactions / Math.max(0.1, (new Date(look.looked_at) - new Date(before.looked_at)) / 1000);
}

function live(looks) {
  const now = looks.at(-1);
  if (!now) return [el("p", { className: "quiet" }, "Waiting for an answer…")];
  if (!now.reachable) return [el("p", null, el("span", { className: "badge red" }, "not reachable")), el("p", { className: "problem" }, now.problem)];
  const late = !saved && Date.now() - new Date(now.looked_at) > 8000;
  return [
    el("p", null, el("span", { className: late ? "badge red" : "badge green" }, late ? `no answer since ${span((Date.now() - new Date(now.looked_at)) / 1000)}` : "answers")),
    facts([
      ["Size", size(now.size_bytes)],
      ["Sessions", `${number(now.connections)} of ${number(now.connections_most)}, ${number(now.active)} at work, ${number(now.waiting)} waiting for a lock`],
      ["Replica", now.is_replica ? `yes, ${span(now.replica_lag_seconds) || "an unknown time"} behind` : now.replicas ? `${now.replicas} stream from it, ${span(now.replica_lag_seconds) || "none"} behind` : ""],
    ]),
    plot("Sessions", looks, (look) => look.connections, number),
    plot("Transactions in a second", looks, (look, place) => perSecond(look, place, looks), (value) => (value == null ? "" : value.toFixed(1))),
    plot("Found in the cache", looks, (look) => look.hit_ratio, percent, 1),
    plot("Oldest transaction", looks, (look) => (look.reachable ? look.oldest_transaction_seconds ?? 0 : null), (value) => (value === 0 ? "none" : span(value))),
  ];
}

function card(target) {
  const about = el("div", null, el("p", { className: "quiet" }, "Looking…"));
  const moving = el("div", { className: "live" }, el("p", { className: "quiet" }, "Waiting for an answer…"));
  const made = el("section", { "aria-label": target.name, "data-target": target.name }, el("h2", null, target.name), about, moving);
  const mine = round;
  ask(`${target.name}/status`, (seconds) => about.replaceChildren(el("p", { className: "quiet" }, `Waiting for an answer for ${seconds} s…`)))
    .then((found) => {
      if (found.production) made.querySelector("h2").append(" ", el("span", { className: "badge red" }, "PRODUCTION"));
      about.replaceChildren(
        facts([
          ["Where", found.address ?? "the embedded server, which does not run"],
          ["Locked", found.note],
          ["Kept by", { embedded: "the suite", compose: "docker-compose.yml", rds: "RDS", server: "its own" }[found.kind]],
          ["Version", found.version && `PostgreSQL ${found.version}${found.tls ? ", TLS" : ""}`],
          ["Database", found.exists === false ? "not there yet" : ""],
          ["Tables", found.tables && `${found.tables.length}, about ${number(found.tables.reduce((sum, each) => sum + (each.rows ?? 0), 0))} rows`],
          ["Kept beside", found.previous_database],
        ]),
      );
    })
    .catch(() => about.replaceChildren()); // what is live says why
  (async () => {
    while (mine === round) {
      if (!document.hidden) {
        try {
          const looks = await ask(`${target.name}/now`);
          if (mine === round) moving.replaceChildren(...live(looks ?? []));
          if (!saved) status.textContent = "";
        } catch (error) {
          if (saved) moving.replaceChildren(problem(error));
          else status.textContent = error.message;
        }
      }
      if (saved) return;
      await pause(moving.querySelector(".badge") ? PERIOD : 400);
    }
  })();
  return made;
}

// --- health ------------------------------------------------------------------------------

function health(found) {
  const told = [["red", found.red], ["yellow", found.yellow], ["unseen", found.unseen], ["green", found.green]];
  const line = (each) =>
    el("div", { className: `line ${each.status}` },
      el("p", null, el("span", { className: `badge ${each.status}` }, each.status), " ", el("strong", null, each.check)),
      el("p", null, each.object && el("code", null, each.object), each.object ? ": " : "", each.what),
      each.cost && el("p", { className: "quiet" }, `costs: ${each.cost}`),
      ...each.mend.map((text) => el("pre", null, text)));
  const bad = found.lines.filter((each) => each.status === "red" || each.status === "yellow");
  const rest = found.lines.filter((each) => each.status !== "red" && each.status !== "yellow");
  return [
    el("p", null, ...told.flatMap(([word, count]) => [el("span", { className: `badge ${word}` }, `${count} ${word}`), " "])),
    ...(bad.length ? bad.slice(0, MOST).map(line) : [el("p", null, "Nothing is wrong.")]),
    el("details", null, el("summary", null, `What is in order or could not be seen (${rest.length})`), ...rest.map(line)),
  ];
}

// --- schema ------------------------------------------------------------------------------

function tables(found) {
  const filter = el("input", { type: "search", id: "filter", autocomplete: "off" });
  const list = el("div");
  const draw = () => {
    const text = filter.value.toLowerCase();
    const kept = found.filter((each) => `${each.schema}.${each.name}`.toLowerCase().includes(text));
    list.replaceChildren(...kept.slice(0, MOST_TABLES).map(oneTable));
    if (kept.length > MOST_TABLES) list.append(el("p", { className: "quiet" }, `and ${number(kept.length - MOST_TABLES)} more: write a part of the name above`));
    list.setAttribute("aria-label", `${kept.length} tables`);
  };
  filter.addEventListener("input", draw);
  draw();
  return [el("div", { className: "tools" }, el("label", null, `${number(found.length)} tables. Those with `, filter)), list];
}

function oneTable(one) {
  const unused = one.indexes.filter((each) => each.scans === 0 && !each.unique);
  const rows = one.rows == null ? "rows not counted" : `about ${number(one.rows)} rows`;
  const made = el("details", null, el("summary", null, el("strong", null, `${one.schema}.${one.name}`), el("span", { className: "quiet" }, `  ${rows}, ${size(one.size_bytes)}${unused.length ? `, ${unused.length} unused index${unused.length > 1 ? "es" : ""}` : ""}${one.missing_indexes.length ? `, ${one.missing_indexes.length} missing` : ""}`)));
  made.addEventListener("toggle", () => {
    if (!made.open || made.childNodes.length > 1) return;
    made.append(
      ...(one.comment ? [el("p", null, one.comment)] : []),
      table(`Columns of ${one.name}`, [["column", (each) => each.name], ["type", (each) => each.type], ["null", (each) => yes(each.nullable)], ["default", (each) => (each.identity ? "identity" : each.generated ? "generated" : each.default)], ["comment", (each) => each.comment]], one.columns),
      table(`Indexes of ${one.name}`, [["index", (each) => each.name], ["definition", (each) => el("code", null, each.definition)], ["size", (each) => size(each.size_bytes), "number"], ["empty", (each) => (each.empty_bytes ? `~${size(each.empty_bytes)}` : ""), "number"], ["read", (each) => (each.scans === 0 ? "never" : `${number(each.scans)} times`), "number"], ["", (each) => (each.valid ? "" : "invalid")]], one.indexes),
      ...one.missing_indexes.map((each) => el("div", { className: "line yellow" }, el("p", null, each.what), el("p", { className: "quiet" }, `costs: ${each.cost}`), el("pre", null, each.statement))),
      facts([["Empty", one.empty_bytes == null ? "unknown" : `about ${size(one.empty_bytes)} of it, by the statistics`], ["Last vacuum", moment(one.vacuumed_at) || "never"], ["Last analyze", moment(one.analyzed_at) || "never"], ["Dead rows", number(one.dead_rows)], ["Read whole", one.scans == null ? "" : `${number(one.scans)} times`]]),
    );
  });
  return made;
}

function diagram(picture) {
  const image = el("img", { alt: "Diagram of the tables and their foreign keys; the tables themselves are listed below", src: `data:image/svg+xml,${encodeURIComponent(picture)}` });
  const box = el("div", { className: "diagram", tabindex: "0", role: "region", "aria-label": "Diagram" }, image);
  let scale = 0; // 0: as wide as the page
  const fit = () => { image.style.width = scale ? `${image.naturalWidth * scale}px` : "100%"; };
  const by = (factor) => () => {
    scale = factor ? (scale || image.clientWidth / (image.naturalWidth || 1) || 1) * factor : 0;
    fit();
  };
  fit();
  const button = (text, factor) => {
    const made = el("button", { type: "button" }, text);
    made.addEventListener("click", by(factor));
    return made;
  };
  const keys = { "+": 1.25, "-": 0.8, 0: 0 };
  box.addEventListener("keydown", (event) => { if (event.key in keys) by(keys[event.key])(); });
  let held = null;
  box.addEventListener("pointerdown", (event) => { held = event.pointerType === "mouse" ? event : null; });
  box.addEventListener("pointermove", (event) => { if (held && event.buttons) box.scrollBy(-event.movementX, -event.movementY); });
  image.draggable = false;
  return [el("div", { className: "tools" }, button("Larger", 1.25), button("Smaller", 0.8), button("Whole", 0)), box];
}

// --- change ------------------------------------------------------------------------------

function migrations(found) {
  if (!found.length) return el("p", null, "There are none.");
  const calm = { applied: "green", pending: "yellow" };
  const rows = [...found].reverse();
  return table(`${found.length} migrations, the newest first`, [
    ["migration", (each) => `${each.version}${each.name ? `_${each.name}` : ""}`],
    ["state", (each) => el("span", { className: `badge ${calm[each.state] ?? "red"}` }, each.state.replaceAll("_", " "))],
    ["applied", (each) => moment(each.applied_at)], ["by", (each) => each.applied_by], ["took", (each) => span(each.duration_seconds), "number"],
    ["on main", (each) => yes(each.on_main)],
  ], rows);
}

function statements(one) {
  const most = Math.max(...one.steps.map((each) => each.estimate_seconds), 0.001);
  return table(`Statements of ${one.version}: the strongest lock, and the time that the target will take`, [
    ["line", (each) => each.line, "number"], ["statement", (each) => el("code", null, each.text)],
    ["lock", (each) => each.level && `${each.level.replaceAll("_", " ")} on ${each.relation}`],
    ["keeps out", (each) => each.keeps_out && el("span", { className: `badge ${each.keeps_out === "writers" ? "yellow" : "red"}` }, each.keeps_out)],
    ["held here", (each) => span(each.held_seconds), "number"], ["time", (each) => span(each.estimate_seconds), "number"],
    ["", (each) => bar([[each.estimate_seconds, each.keeps_out ? "bad" : "calm"]], most)],
  ], one.steps);
}

const rehearsals = (found) => found.length
  ? [
    table("The last rehearsal of each", [["migration", (each) => each.version], ["rehearsed", (each) => moment(each.at)], ["found", (each) => each.told]], found),
    ...found.filter((each) => each.steps?.length).map(statements),
  ]
  : el("p", null, "None is kept here: ", el("code", null, "inv db.rehearse"), " tries what is pending.");

function drift(found) {
  if (found.same) return el("p", null, `They are the same: ${number(found.objects)} objects.`);
  const side = (value) => (value == null ? "" : el("code", null, value));
  return table(`${number(found.differences.length)} differences`, [
    ["object", (each) => `${each.kind} ${each.name}`],
    ["what", (each) => [each.what, each.in_words ? el("span", { className: "quiet" }, " (may be the same in other words)") : ""]],
    [found.target, (each) => side(each.here)], [found.other, (each) => side(each.there)],
  ], found.differences);
}

// Each pair by itself: a target that is dead or slow says so in its own panel
const drifts = (name) => targets.filter((each) => each.name !== name).map((each) => panel(`Drift: ${name} and ${each.name}`, `${name}/drift/${each.name}`, drift));

const branches = (found) => found?.length
  ? table("Databases of git branches", [["branch", (each) => each.branch ?? "(main)"], ["database", (each) => each.database], ["size", (each) => size(each.size_bytes), "number"], ["", (each) => (each.is_current ? "checked out" : each.in_git === false ? "the git branch is gone" : "")]], found)
  : el("p", null, "Only the target local has databases of git branches.");

// --- work --------------------------------------------------------------------------------

function sessionText(each) {
  const about = [each.application, each.user, each.database, each.client_address].filter(Boolean).join(", ");
  return el("span", null, el("strong", null, `pid ${each.pid}`), ` ${about} `, el("span", { className: "badge" }, each.state ?? "hidden"), " ", each.query && el("code", null, each.query));
}

function waits(found) {
  const known = new Map(found.map((each) => [each.pid, each]));
  const behind = new Map();
  for (const each of found) for (const pid of each.blocked_by) {
    if (!behind.has(pid)) behind.set(pid, []);
    behind.get(pid).push(each);
  }
  const waiting = new Set(found.filter((each) => each.blocked_by.length).map((each) => each.pid));
  // Each session once: the server names for each also those who stand before it in the queue, and all their ways would be two to the power of its length
  const drawn = new Set();
  const drawFrom = (roots) => {
    const top = [];
    let level = roots.filter((pid) => !drawn.has(pid)).map((pid) => [pid, top]);
    for (const [pid] of level) drawn.add(pid);
    while (level.length) {
      const next = [];
      for (const [pid, above] of level) {
        const below = (behind.get(pid) ?? []).filter((each) => !drawn.has(each.pid)).slice(0, Math.max(0, MOST - drawn.size));
        const one = el("li", null, known.has(pid) ? sessionText(known.get(pid)) : el("strong", null, pid ? `pid ${pid}` : "a prepared transaction"));
        above.push(one);
        if (!below.length) continue;
        const list = el("ul", { className: "tree", "aria-label": `wait for pid ${pid}` });
        one.append(list);
        for (const each of below) {
          drawn.add(each.pid);
          next.push([each.pid, { push: (item) => list.append(item) }]);
        }
      }
      level = next;
    }
    return top;
  };
  const tree = drawFrom([...behind.keys()].filter((pid) => !waiting.has(pid)).slice(0, MOST));
  for (const pid of behind.keys()) if (drawn.size < MOST) tree.push(...drawFrom([pid])); // they wait for each other, until the server ends one
  const left = waiting.size - [...drawn].filter((pid) => waiting.has(pid)).length;
  return tree.length
    ? [el("h3", null, "Who waits for whom"), el("ul", { className: "tree blocked" }, ...tree), ...(left > 0 ? [el("p", { className: "quiet" }, `and ${number(left)} more`)] : [])]
    : [el("p", null, "Nobody waits for a lock.")];
}

function sessions(found) {
  return [
    ...waits(found),
    table(`${number(found.length)} sessions`, [
      ["pid", (each) => each.pid, "number"], ["who", (each) => [each.application, each.user].filter(Boolean).join(", ")], ["database", (each) => each.database],
      ["state", (each) => each.state ?? "hidden"], ["for", (each) => span(each.age_seconds), "number"], ["last query", (each) => each.query && el("code", null, each.query)],
    ], found),
  ];
}

const slow = (found) => found.statements
  ? table("Those that took the most time in all", [
    ["query", (each) => el("code", null, each.query)], ["calls", (each) => number(each.calls), "number"], ["in all", (each) => span(each.total_seconds), "number"],
    ["each", (each) => span(each.mean_seconds), "number"], ["rows", (each) => number(each.rows), "number"], ["cache", (each) => percent(each.hit_ratio), "number"],
  ], found.statements)
  : el("p", null, found.note);

function node(plan) {
  const about = [plan["Relation Name"] && `on ${plan["Relation Name"]}`, plan["Index Name"] && `by ${plan["Index Name"]}`].filter(Boolean).join(" ");
  const more = ["Filter", "Index Cond", "Hash Cond", "Join Filter", "Recheck Cond"].filter((key) => plan[key]);
  const keys = (plan["Sort Key"] ?? []).join(", ");
  const one = el("li", null, el("strong", null, plan["Node Type"]), ` ${about} `,
    el("span", { className: "quiet" }, `about ${number(plan["Plan Rows"])} rows, cost ${number(plan["Total Cost"])}`),
    ...more.map((key) => el("div", null, `${key}: `, el("code", null, plan[key]))), keys && el("div", null, "Sort Key: ", el("code", null, keys)));
  if (plan.Plans?.length) one.append(el("ul", { className: "tree" }, ...plan.Plans.map(node)));
  return one;
}

const queries = (found) => found.length
  ? found.map((each) => el("details", { open: "" }, el("summary", null, el("strong", null, each.name)),
    each.plan ? el("ul", { className: "tree" }, node(each.plan[0]["QUERY PLAN"][0].Plan)) : problem({ message: each.error })))
  : el("p", null, "There are no files in paths.queries.");

const advice = (found) => found.length
  ? table("Indexes that were tried on a copy of its shape", [
    ["query", (each) => each.query], ["index", (each) => el("code", null, each.statement)],
    ["cost before", (each) => number(each.before_cost), "number"], ["after", (each) => number(each.after_cost), "number"],
    ["", (each) => (each.used ? bar([[each.after_cost, "calm"], [Math.max(0, each.before_cost - each.after_cost), "quiet"]], Math.max(each.before_cost, each.after_cost)) : el("span", { className: "badge yellow" }, "not taken"))],
    ["of its rows", (each) => percent(each.rows_ratio), "number"], ["tried", (each) => moment(each.at)],
  ], found)
  : el("p", null, "None is kept here: ", el("code", null, "inv db.diagnose --prove"), " tries what it advises for your queries.");

// --- cloud -------------------------------------------------------------------------------

// Whatever its keys are: names as they stand in docs/json.md
function anything(value) {
  if (value == null) return "";
  if (Array.isArray(value)) return value.length ? el("ul", { className: "tree" }, ...value.map((each) => el("li", null, anything(each)))) : "none";
  if (typeof value === "object") return facts(Object.entries(value).map(([key, each]) => [key.replaceAll("_", " "), anything(each)]));
  return typeof value === "boolean" ? yes(value) : String(value);
}

function instance(found) {
  const { pending, ...rest } = found;
  return [
    ...(found.cluster?.pauses_after_seconds
      ? [el("p", null, `It pauses after ${number(found.cluster.pauses_after_seconds / 60)} minutes without a session, and wakes in about 15 s: Cognito gives a function 5.`)]
      : []),
    pending.length
      ? table("Changes that wait for the maintenance window", [["what", (each) => each.field], ["becomes", (each) => each.value ?? "a new one"]], pending)
      : el("p", null, "No change is pending."),
    anything(rest),
  ];
}

function signUps(found) {
  const all = (each) => (each.failed == null ? null : each.inserted + each.present + each.failed);
  const most = Math.max(1, ...found.days.map(all));
  return [
    table(`Sign-ups of ${found.function}, by days of UTC`, [
      ["day", (each) => each.day_on],
      ["inserted", (each) => number(each.inserted), "number"], ["present", (each) => number(each.present), "number"],
      ["failed", (each) => (each.failed ? el("span", { className: "badge red" }, each.failed) : number(each.failed)), "number"],
      ["", (each) => (all(each) == null ? "not read" : bar([[each.inserted + each.present, "calm"], [each.failed, "bad"]], most))],
    ], [...found.days].reverse()),
    found.failures.length
      ? table("The last ones that left no row: inv lambda.sync-users makes it", [
        ["when", (each) => moment(each.failed_at)], ["error", (each) => [each.error, each.sqlstate].filter(Boolean).join(" ")], ["reason", (each) => each.reason],
      ], [...found.failures].reverse())
      : el("p", null, "None has failed."),
  ];
}

const rules = (found) => table(`${found.length} rules let somebody in`, [
  ["owner", (each) => each.owner ?? each.description], ["address", (each) => each.address],
  ["port", (each) => (each.from_port == null ? "all" : each.from_port === each.to_port ? each.from_port : `${each.from_port}-${each.to_port}`)],
  ["stays", (each) => remaining(each.expires_at) || (each.ours ? "" : "not ours")],
  ["", (each) => (each.wide_open ? el("span", { className: "badge red" }, "WIDE OPEN") : each.mine ? "you" : "")],
], found);

// --- the page ----------------------------------------------------------------------------

const PARTS = {
  now: ["Now", () => [el("div", { className: "cards" }, ...targets.map(card))]],
  health: ["Health", (name) => [panel("Health", `${name}/diagnose`, health)]],
  schema: ["Schema", (name) => [panel("Diagram", `${name}/diagram`, diagram), panel("Tables", `${name}/tables`, tables)]],
  change: ["Change", (name) => [panel("Migrations", `${name}/migrations`, migrations), panel("Rehearsals", `${name}/rehearsals`, rehearsals), ...drifts(name), panel("Branches", `${name}/branches`, branches)]],
  work: ["Work", (name) => [panel("Sessions", `${name}/sessions`, sessions), panel("Slow queries", `${name}/slow`, slow), panel("The application's own queries", `${name}/queries`, queries), panel("Index advice", `${name}/advice`, advice)]],
  cloud: ["Cloud", (name) => [panel("Instance", `${name}/instance`, instance), panel("Door", `${name}/rules`, rules), panel("Sign-ups", `${name}/sign_ups`, signUps), panel("Function", `${name}/function`, anything)]],
};

function show() {
  round += 1;
  const part = location.hash.slice(1) in PARTS ? location.hash.slice(1) : "now";
  const cloud = part === "cloud";
  const names = targets.filter((each) => !cloud || each.cloud).map((each) => each.name);
  const before = select.value;
  select.replaceChildren(...names.map((name) => el("option", { value: name }, name)));
  if (names.includes(before)) select.value = before;
  which.hidden = part === "now";
  for (const link of parts.querySelectorAll("a")) {
    if (link.hash === `#${part}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `inv look: ${PARTS[part][0]}`;
  status.textContent = saved ? `Saved at ${moment(saved.saved_at)}; nothing here is live.` : "";
  main.replaceChildren(...PARTS[part][1](select.value));
}

async function begin() {
  try {
    targets = saved ? saved.targets : await ask("targets");
  } catch (error) {
    main.replaceChildren(problem(error));
    return;
  }
  for (const [name, [title]] of Object.entries(PARTS)) if (name !== "cloud" || targets.some((each) => each.cloud)) parts.append(el("li", null, el("a", { href: `#${name}` }, title)));
  again.hidden = Boolean(saved);
  addEventListener("hashchange", () => { if (location.hash !== "#main") show(); });
  select.addEventListener("change", show);
  again.addEventListener("click", show);
  show();
}

begin();
