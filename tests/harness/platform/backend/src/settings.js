// Settings of this machine: .env beside package.json, which git does not know.
const fs = require("fs");
const path = require("path");
const text = fs.readFileSync(path.join(process.cwd(), ".env"), "utf8").trim();
module.exports = Object.fromEntries(text.split("\n").map((line) => [line.split("=")[0], line.slice(line.indexOf("=") + 1)]));
