// The smoke tests: projects can be read, and one of them alone.
const settings = require("./src/settings");
const base = `http://127.0.0.1:${settings.PORT}`;
(async () => {
  const projects = await fetch(`${base}/api/projects`);
  if (!projects.ok) throw new Error(`projects: ${projects.status}`);
  const [first] = await projects.json();
  const one = await fetch(`${base}/api/projects/${first.id}`);
  if ((await one.json()).name !== first.name) throw new Error("one project differs from the list");
  console.log("smoke tests passed");
})().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
