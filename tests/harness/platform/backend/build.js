// The build: what runs is in dist/, so that a checkout without a build changes nothing.
const fs = require("fs");
fs.rmSync("dist", { recursive: true, force: true });
fs.cpSync("backend/src", "dist", { recursive: true });
