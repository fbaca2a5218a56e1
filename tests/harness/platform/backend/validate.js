// The team's own queries over the data; where the database is, the environment says.
const { Client } = require("pg");
(async () => {
  const client = new Client();
  await client.connect();
  const { rows } = await client.query("select count(*)::int as n from projects where name is null or name = ''");
  await client.end();
  if (rows[0].n) throw new Error(`${rows[0].n} projects without a name`);
  console.log("data is valid");
})().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
