// CouchDB played by express-pouchdb, in memory: its own databases, documents and replication. Beside that, what CouchDB has and it
// has not: /_up, and a password for everything else (require_valid_user).
//
//   node server.js PORT PASSWORD LOG
const express = require("express");
const PouchDB = require("pouchdb-core")
  .plugin(require("pouchdb-adapter-memory"))
  .plugin(require("pouchdb-replication"))
  .plugin(require("pouchdb-mapreduce"))
  .defaults({ adapter: "memory" });

const [port, password, log] = process.argv.slice(2);
const admin = `Basic ${Buffer.from(`admin:${password}`).toString("base64")}`;
const app = express();
app.get("/_up", (_, answer) => answer.json({ status: "ok" }));
app.use((request, answer, next) => {
  if (request.headers.authorization === admin) {
    delete request.headers.authorization; // it knows no users of its own
    next();
  } else answer.status(401).json({ error: "unauthorized" });
});
app.use("/", require("express-pouchdb")(PouchDB, { inMemoryConfig: true, logPath: log }));
app.listen(Number(port), "127.0.0.1");
