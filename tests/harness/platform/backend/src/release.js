// What tells one release from another.
module.exports = { version: "v1", broken: false, scenesBroken: false };
