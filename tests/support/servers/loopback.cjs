// Preloaded into server-everything over HTTP, which would listen on every interface of the machine
// and go on when whoever started it is gone.
"use strict";
const net = require("node:net");

process.stdin.on("end", () => process.exit(0)).resume();

const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (port, ...rest) {
  if (typeof port === "string" || typeof port === "number") {
    return listen.call(this, Number(port), "127.0.0.1", ...rest);
  }
  return listen.call(this, port, ...rest);
};
