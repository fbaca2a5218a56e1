const fs = require("fs");
const http = require("http");
const Redis = require("ioredis");
const { Pool } = require("pg");
const { Queue } = require("bullmq");
const settings = require("./settings");
const release = require("./release");
const { names } = require("./queues/jobs");

const log = (line) => fs.appendFileSync(settings.LOG, `${line}\n`);
const redis = new Redis(settings.REDIS_URL, { maxRetriesPerRequest: null });
const cache = new Redis(settings.CACHE_URL);
const database = new Pool({
  host: settings.PGHOST, port: settings.PGPORT, user: settings.PGUSER, password: settings.PGPASSWORD, database: settings.PGDATABASE,
});
for (const one of [redis, cache, database]) one.on("error", () => {}); // it comes back
const queues = Object.fromEntries(names.map((name) => [name, new Queue(name, { connection: redis })]));
const all = (work) => Promise.all(Object.values(queues).map(work));

const bounds = [0.01, 0.05, 0.1, 0.3, 1, 5];
const seen = { statuses: {}, buckets: bounds.map(() => 0), count: 0, hit: 0, miss: 0 };

async function stats() {
  const found = { active: 0, waiting: 0, failed: 0, paused: 0, stuck: 0, workers: 0, queues: {} };
  for (const [name, queue] of Object.entries(queues)) {
    const counts = await queue.getJobCounts("active", "waiting", "paused", "failed", "completed");
    const one = { ...counts, waiting: counts.waiting + counts.paused, paused: await queue.isPaused() };
    const jobs = await queue.getActive();
    one.stuck = jobs.filter((job) => Date.now() - job.processedOn > 60000).length;
    found.queues[name] = one;
    found.active += one.active;
    found.waiting += one.waiting;
    found.failed += one.failed;
    found.paused += one.paused ? 1 : 0;
    found.stuck += one.stuck;
    found.workers = Math.max(found.workers, (await queue.getWorkers()).length);
  }
  return found;
}

async function metrics() {
  const lines = Object.entries(seen.statuses).map(([status, n]) => `http_requests_total{status="${status}"} ${n}`);
  bounds.forEach((bound, i) => lines.push(`http_request_duration_seconds_bucket{le="${bound}"} ${seen.buckets[i]}`));
  lines.push(`http_request_duration_seconds_bucket{le="+Inf"} ${seen.count}`);
  for (const result of ["hit", "miss"]) lines.push(`cache_requests_total{result="${result}"} ${seen[result]}`);
  for (const [name, one] of Object.entries((await stats()).queues)) {
    lines.push(`queue_jobs_waiting{queue="${name}"} ${one.waiting}`);
    for (const what of ["done", "failed"])
      lines.push(`queue_jobs_${what}_total{queue="${name}"} ${(await redis.get(`platform:${what}:${name}`)) || 0}`);
  }
  return lines.join("\n") + "\n";
}

async function warm() {
  const { rows } = await database.query("select id, name, status from projects");
  for (const row of rows) await cache.set(`project:${row.id}`, JSON.stringify(row));
  return rows.length;
}

async function project(id) {
  const known = await cache.get(`project:${id}`);
  seen[known ? "hit" : "miss"] += 1;
  if (known) return JSON.parse(known);
  const { rows } = await database.query("select id, name, status from projects where id = $1", [id]);
  return rows[0];
}

async function answer(request, path, body) {
  const what = `${request.method} ${path}`;
  const id = path.split("/")[3];
  if (what === "GET /health") return release.broken ? [500, { status: "down" }] : [200, { status: "ok", version: release.version }];
  if (what === "GET /api/version") return [200, { version: release.version }];
  if (what === "GET /metrics") return [200, await metrics()];
  if (what === "GET /api/analysis") return [200, []];
  if (what === "GET /api/projects" || what === "POST /api/projects") {
    if (release.broken) throw new Error("no connection pool");
    if (release.scenesBroken && (await redis.hget("platform:features", "scenes")) !== "off") throw new Error("scenes");
    if (request.method === "GET") return [200, (await database.query("select id, name, status from projects order by id")).rows];
    if (await redis.get("platform:maintenance")) return [503, { maintenance: true }];
    await database.query("insert into projects (id, name) values ($1, $2)", [body.id, body.name]);
    return [201, {}];
  }
  if (/^GET \/api\/projects\/\d+$/.test(what)) return [200, await project(id)];
  if (what === "GET /api/queue/stats") return [200, await stats()];
  if (what === "POST /api/queue/pause-all") return [200, await all((queue) => queue.pause()).then(() => ({ paused: names.length }))];
  if (what === "POST /api/queue/resume-all") return [200, await all((queue) => queue.resume()).then(() => ({ paused: 0 }))];
  if (what === "POST /api/queue/clean-all") return [200, await all((queue) => queue.clean(0, 10000, "failed"))];
  if (/^POST \/api\/queue\/[a-z-]+\/resume$/.test(what) && queues[id]) return [200, await queues[id].resume().then(() => ({ resumed: id }))];
  if (/^POST \/api\/queue\/[a-z-]+\/jobs$/.test(what) && queues[id]) return [201, { id: (await queues[id].add("job", body)).id }];
  if (what === "POST /api/maintenance/enable") return [200, { maintenance: await redis.set("platform:maintenance", "on") }];
  if (what === "POST /api/maintenance/disable") return [200, { maintenance: await redis.del("platform:maintenance") }];
  if (what === "POST /api/cache/warm") return [200, { warmed: await warm() }];
  if (what === "DELETE /api/cache") return [200, { invalidated: await cache.del(body.entity) }];
  if (what === "PUT /api/features/scenes") return [200, { changed: await redis.hset("platform:features", "scenes", body.enabled ? "on" : "off") }];
  if (what === "PUT /api/features") return [200, { changed: await redis.hset("platform:features", body.name, body.enabled ? "on" : "off") }];
  return [404, {}];
}

http.createServer((request, response) => {
  const began = process.hrtime.bigint();
  let text = "";
  request.on("data", (part) => (text += part));
  request.on("end", async () => {
    let status, found;
    try {
      [status, found] = await answer(request, request.url, text ? JSON.parse(text) : {});
      if (request.url !== "/metrics") log(`INFO ${request.method} ${request.url} ${status}`);
    } catch (error) {
      [status, found] = [500, { error: error.message }];
      log(`ERROR ${request.method} ${request.url} ${error.message}`);
    }
    if (request.url !== "/metrics") {
      const seconds = Number(process.hrtime.bigint() - began) / 1e9;
      seen.statuses[status] = (seen.statuses[status] || 0) + 1;
      seen.count += 1;
      bounds.forEach((bound, i) => (seen.buckets[i] += seconds <= bound ? 1 : 0));
    }
    const plain = typeof found === "string";
    response.writeHead(status, { "Content-Type": plain ? "text/plain; version=0.0.4" : "application/json" });
    response.end(plain ? found : JSON.stringify(found));
  });
}).listen(Number(settings.PORT), "127.0.0.1", () => log(`INFO api ${release.version} is up`));
