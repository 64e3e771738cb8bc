// An echo server, or a client that checks its echoes, with the package `ws`.
const assert = require("assert");
const WebSocket = require("ws");

function client(uri, packing) {
  const ws = new WebSocket(uri, ["a", "b"], { perMessageDeflate: packing === "deflate" ? { threshold: 0 } : false });
  const messages = [];
  for (const size of [0, 1, 125, 126, 65535, 65536, 500000]) {
    messages.push(Buffer.alloc(size, 7), "ü".repeat(size));
  }
  let next = 0;
  ws.on("open", () => {
    assert.strictEqual(ws.protocol, "b");
    assert.strictEqual(ws.extensions, packing === "deflate" ? "permessage-deflate" : "");
    ws.send(messages[0]);
    ws.ping("there?");
  });
  ws.on("message", (data, binary) => {
    const sent = messages[next++];
    assert.strictEqual(binary, typeof sent !== "string");
    assert.ok(data.equals(Buffer.from(sent)), `echo ${next}`);
    ws.send(next === messages.length ? "close" : messages[next]);
  });
  let ponged = false;
  ws.on("pong", (data) => { ponged = data.toString() === "there?"; });
  ws.on("close", (code) => {
    assert.strictEqual(code, 1000);
    assert.ok(ponged);
    assert.strictEqual(next, messages.length);
    const other = new WebSocket(uri);
    other.on("open", () => other.close(4001, "enough"));
    other.on("close", (code) => { assert.strictEqual(code, 4001); console.log("done"); });
  });
}

function server(packing) {
  const options = { host: "127.0.0.1", port: 0, handleProtocols: () => "b", perMessageDeflate: packing === "deflate" };
  const listening = new WebSocket.Server(options, () => {
    console.log(`listening 127.0.0.1:${listening.address().port}`);
  });
  listening.on("connection", (ws) => ws.on("message", (data, binary) => ws.send(data, { binary })));
}

if (process.argv[2] === "client") client(process.argv[3], process.argv[4]);
else server(process.argv[3]);
