const fs = require("fs");
const Redis = require("ioredis");
const { Worker } = require("bullmq");
const settings = require("./settings");
const jobs = require("./queues/jobs");

const connection = new Redis(settings.REDIS_URL, { maxRetriesPerRequest: null });
const counters = new Redis(settings.REDIS_URL);
const workers = jobs.names.map((name) => {
  const worker = new Worker(name, jobs.work, { connection, concurrency: 2 });
  worker.on("completed", () => counters.incr(`platform:done:${name}`));
  worker.on("failed", () => counters.multi().incr(`platform:done:${name}`).incr(`platform:failed:${name}`).exec());
  worker.on("error", () => {});
  return worker;
});
for (const one of [connection, counters]) one.on("error", () => {});
counters.set("platform:worker", jobs.version);
process.on("SIGINT", async () => {
  await Promise.all(workers.map((worker) => worker.close()));
  process.exit(0);
});
fs.appendFileSync(settings.LOG, `INFO worker ${jobs.version} is up\n`);
