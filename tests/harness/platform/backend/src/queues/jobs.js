// What the workers do. A job takes `ms` milliseconds.
module.exports = {
  version: "v1",
  names: ["ai-analysis", "document-processing"],
  work: async (job) => new Promise((done) => setTimeout(done, job.data.ms || 0)),
};
